"""Random programs on real worker processes: a client sees of them what LangGraph shows in process."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from petiole.client import Client
from petiole_stores.ids import new_id
from petiole_workers.settings import Settings
from tests.cluster.worker import WorkerProcess
from tests.parity import libraries
from tests.parity.budget import ON_WORKERS, SEED
from tests.parity.playing import Play, Seen, differences, theirs
from tests.parity.program import Program
from tests.parity.programs import sample, written
from tests.parity.remote import Remote
from tests.parity.served import KINDS, PROGRAMS, VARIABLE, Folder, graph_name

pytestmark = [
    pytest.mark.slow,
    pytest.mark.postgres,
    pytest.mark.redis,
    pytest.mark.timeout(120 + 20 * ON_WORKERS),
    pytest.mark.filterwarnings("default"),
]
AT_ONCE = 8


@dataclass
class Site:
    """Workers that serve all programs in both kinds, and a client."""

    client: Client
    folder: Folder
    programs: list[Program]
    wanted: list[Seen]


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, module_postgres_url: str, module_redis_url: str
) -> Iterator[Site]:
    folder: Path = tmp_path_factory.mktemp("parity")
    mended = folder / "mended"
    mended.mkdir()
    programs = sample(SEED, ON_WORKERS)
    (mended / PROGRAMS).write_text(written(programs))
    names = [graph_name(kind, number) for kind in KINDS for number in range(ON_WORKERS)]
    settings = Settings(
        store=module_postgres_url,
        broker=module_redis_url,
        data_dir=str(folder),
        graphs=[f"tests.parity.served:{name}" for name in names],
        concurrency=2,
        sweep=0.3,
        max_checkpoints=0,  # whole histories are compared
        in_process_wait=0.0,  # a retry leaves the worker
    )
    with Client(settings=settings) as client:
        given = {VARIABLE: str(mended)}
        workers = [WorkerProcess(name, settings, folder, given) for name in ("one", "two")]
        try:
            wanted = [theirs(program) for program in programs]
            for worker in workers:
                worker.await_registered(client.store, 60 + ON_WORKERS)
            yield Site(client, Folder(mended), programs, wanted)
        finally:
            for worker in workers:
                worker.kill()


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_client_sees_the_same(site: Site, kind: str) -> None:
    library = libraries.langgraph() if kind == "ported" else libraries.petiole(site.client.store)

    def different(number: int, program: Program) -> str:
        graph = KINDS[kind](program, graph_name(kind, number), site.folder, site.client.store)
        thread = new_id()
        play = Play(program, Remote(site.client, graph, thread), library, site.folder, thread)
        # A client is not told the values of what a worker did before it was answered.
        reference = [one for one in site.wanted[number] if one[0] != "values"]
        found = differences([one for one in play.play() if one[0] != "values"], reference)
        return f"{program!r}{found}" if found else ""

    programs = site.programs
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = [one for one in pool.map(different, range(len(programs)), programs) if one]
    assert not found, "\n\n".join([f"{len(found)} of {len(programs)} differ", *found])
