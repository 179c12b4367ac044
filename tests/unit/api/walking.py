"""One server with what others have, and one request to each of its routes that is aimed at that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec

from petiole.access.keys import Keys
from petiole.access.principal import Principal, Scope
from petiole.audit.entry import Origin
from petiole.bulk.job import Job, Wanted
from petiole.bulk.kept import KeptJobs
from petiole_stores.records import RunFilter
from tests.unit.api.asking import asking
from tests.unit.api.serving import API, Served, serving
from tests.unit.driving import Switch, counting

THEIRS = "other"
#: Who may do all, and two who have nothing of what the others have.
ADMIN = Principal(name="key:admin", scopes=frozenset({"admin"}))
STRANGERS = (
    Principal(name="key:acme", scopes=frozenset({"admin"}), namespaces=("acme",)),
    Principal(name="key:counting", scopes=frozenset({"admin"}), graphs=("counting",)),
)


class Case(NamedTuple):
    """A request. Names in braces are those of :class:`World`; ``shows``: it is answered, without anything of others."""

    scope: Scope | None
    json: Any = None
    form: dict[str, Any] | None = None
    query: dict[str, str] | None = None
    path: dict[str, str] = {}
    shows: bool = False
    refusal: tuple[int, ...] = (403, 404)


ASKS, FAILED = {"run_id": "{asking}"}, {"run_id": "{failed}"}
ASKED, QUEUED, PAUSED = {"thread_id": "other:asks"}, {"run_id": "other:queued"}, {"run_id": "other:paused"}

#: Leads to the page of a form, whatever is there; that page says to whom it is shown.
BACK = Case("read", refusal=(303, 404))

#: What each route is asked for, by method and path.
CASES: dict[str, Case] = {
    "GET /livez": Case(None, shows=True),
    "GET /readyz": Case(None, shows=True),
    "GET /login": Case(None, shows=True),
    "GET /reference": Case("read", shows=True),
    "POST /login": Case(None, form={"key": "nothing"}, shows=True),
    "POST /logout": Case(None, form={}, refusal=(403,)),
    "GET /metrics": Case(None, refusal=(403,)),
    # ------------------------------------------------------------ keys, audit
    f"GET {API}/keys": Case("admin", shows=True),
    f"POST {API}/keys": Case("admin", {"name": "x", "scopes": ["read"]}, refusal=(422,)),
    f"DELETE {API}/keys/{{key_id}}": Case("admin"),
    f"GET {API}/audit": Case("admin", shows=True),
    f"GET {API}/audit/export": Case("admin", shows=True),
    # ------------------------------------------------------------ schedules
    f"GET {API}/schedules": Case("read", shows=True),
    f"POST {API}/schedules": Case(
        "operate", {"name": "new", "graph": "theirs", "input": {}, "every": 60, "thread_id": "other:new"}
    ),
    f"GET {API}/schedules/{{name}}": Case("read"),
    f"PATCH {API}/schedules/{{name}}": Case("operate", {"jitter": 1}),
    f"DELETE {API}/schedules/{{name}}": Case("operate"),
    f"POST {API}/schedules/{{name}}/pause": Case("operate"),
    f"POST {API}/schedules/{{name}}/unpause": Case("operate"),
    f"POST {API}/schedules/{{name}}/trigger": Case("operate"),
    # ------------------------------------------------------------ runs
    f"POST {API}/runs": Case("submit", {"graph": "theirs", "input": {"n": 1}, "thread_id": "other:new"}),
    f"GET {API}/runs": Case("read", shows=True),
    f"GET {API}/runs/counts": Case("read", shows=True),
    f"GET {API}/runs/diff": Case("read", query={"a": "{checkpoint_id}", "b": "other:done"}),
    f"POST {API}/runs/import": Case("operate", "{file}", query={"thread_id": "other:new"}),
    f"GET {API}/runs/{{run_id}}": Case("read"),
    f"GET {API}/runs/{{run_id}}/export": Case("read"),
    f"GET {API}/runs/{{run_id}}/tasks": Case("read"),
    f"GET {API}/runs/{{run_id}}/logs": Case("read"),
    f"GET {API}/runs/{{run_id}}/task-counts": Case("read"),
    f"GET {API}/runs/{{run_id}}/wait": Case("read", query={"timeout": "0"}),
    f"GET {API}/runs/{{run_id}}/result": Case("read", path={"run_id": "other:done"}),
    f"GET {API}/runs/{{run_id}}/explain": Case("read"),
    f"GET {API}/runs/{{run_id}}/interrupts": Case("read", path=ASKS),
    f"GET {API}/runs/{{run_id}}/events": Case("read"),
    f"GET {API}/events": Case("read"),  # a stream without an end: it is only refused here
    f"POST {API}/runs/{{run_id}}/cancel": Case("operate", {"reason": "x"}, path=QUEUED),
    f"POST {API}/runs/{{run_id}}/pause": Case("operate", path=QUEUED),
    f"POST {API}/runs/{{run_id}}/unpause": Case("operate", path=PAUSED),
    f"POST {API}/runs/{{run_id}}/resume": Case("operate", {"value": 1}, path=ASKS),
    f"POST {API}/runs/{{run_id}}/replay": Case("operate", path=FAILED),
    f"POST {API}/runs/{{run_id}}/fork": Case(
        "operate", {"checkpoint_id": "{checkpoint_id}"}, path={"run_id": "other:done"}
    ),
    # ------------------------------------------------------------ threads
    f"GET {API}/threads/{{thread_id}}/checkpoints": Case("read"),
    f"POST {API}/threads/{{thread_id}}/checkpoints": Case("operate", {"state": {"n": 1}, "graph": "theirs"}),
    f"POST {API}/threads/{{thread_id}}/checkpoints/clear": Case("operate"),
    f"GET {API}/checkpoints/{{checkpoint_id}}": Case("read"),
    f"DELETE {API}/checkpoints/{{checkpoint_id}}": Case("operate"),
    f"GET {API}/threads/{{thread_id}}/snapshot": Case("read"),
    f"GET {API}/threads/{{thread_id}}/snapshots": Case("read"),
    f"GET {API}/threads/{{thread_id}}/interrupts": Case("read", path=ASKED),
    f"POST {API}/threads/{{thread_id}}/resume": Case("operate", {"value": 1}, path=ASKED),
    f"POST {API}/threads/{{thread_id}}/fork": Case("operate", {"checkpoint_id": "{checkpoint_id}"}),
    f"POST {API}/threads/{{thread_id}}/replay": Case("operate", path={"thread_id": "other:failed"}),
    f"GET {API}/threads/{{thread_id}}/state": Case("read"),
    f"GET {API}/threads/{{thread_id}}/history": Case("read"),
    f"GET {API}/threads/{{thread_id}}/runs": Case("read"),
    f"POST {API}/threads/{{thread_id}}/state": Case("operate", {"values": {"n": 1}, "as_node": "last"}),
    f"POST {API}/threads/{{thread_id}}/signals": Case("operate", {"name": "x", "payload": 1}),
    f"DELETE {API}/threads/{{thread_id}}": Case("operate"),
    # ------------------------------------------------------------ graphs, fleet; of no namespace
    f"GET {API}/graphs": Case("read", shows=True),
    f"GET {API}/graphs/{{graph}}": Case("read", shows=True),
    f"GET {API}/graphs/{{graph}}/schema": Case("read", shows=True),
    f"GET {API}/graphs/{{graph}}/mermaid": Case("read", shows=True),
    f"POST {API}/graphs/{{graph}}/cache/clear": Case("operate", {}),
    f"GET {API}/workers": Case("read", shows=True),
    f"GET {API}/queues": Case("read", shows=True),
    # ------------------------------------------------------------ dead letters, bulk
    f"GET {API}/dead-letters": Case("read", shows=True),
    f"GET {API}/dead-letters/{{run_id}}/{{task_id}}": Case("read"),
    f"POST {API}/dead-letters/{{run_id}}/{{task_id}}/replay": Case("operate"),
    f"POST {API}/dead-letters/{{run_id}}/{{task_id}}/drop": Case("operate"),
    f"POST {API}/bulk": Case(
        "operate", {"action": "cancel", "filter": {"thread_id": "other:asks"}, "dry_run": False}, shows=True
    ),
    f"GET {API}/bulk": Case("read", shows=True),
    f"GET {API}/bulk/{{job_id}}": Case("read"),
    f"POST {API}/bulk/{{job_id}}/cancel": Case("operate"),
    # ------------------------------------------------------------ pages
    "GET /": Case("read", shows=True),
    "GET /threads/{thread_id}/tree": Case("read"),
    "GET /threads/{thread_id}": Case("read"),
    "GET /threads/{thread_id}/newest": Case("read"),
    "GET /runs/{run_id}": Case("read"),
    "GET /runs/{run_id}/waterfall": Case("read", query={"node": "add"}),
    "GET /runs/{run_id}/tasks/{task_id}": Case("read"),
    "GET /runs/{run_id}/explain": Case("read"),
    "GET /runs/{run_id}/checkpoints": Case("read"),
    "GET /runs/{run_id}/checkpoints/{checkpoint_id}": Case("read", path={"run_id": "other:done"}),
    "GET /runs/{run_id}/events": Case("read"),
    "GET /runs/{run_id}/logs": Case("read"),
    "POST /runs/{run_id}/cancel": Case("operate", form={"reason": "x"}, path=QUEUED),
    "POST /runs/{run_id}/pause": Case("operate", form={}, path=QUEUED),
    "POST /runs/{run_id}/unpause": Case("operate", form={}, path=PAUSED),
    "POST /runs/{run_id}/replay": Case("operate", form={"what": "failed"}),
    "POST /runs/{run_id}/resume": Case("operate", form={"id": "{question}", "value": "1"}, path=ASKS),
    "POST /runs/{run_id}/fork": Case(
        "operate", form={"checkpoint": "{checkpoint_id}"}, path={"run_id": "other:done"}
    ),
    "POST /bulk": Case("operate", form={"action": "cancel", "run": "{asking}"}),
    "POST /bulk/start": Case("operate", form={"action": "cancel", "run": "{asking}", "seen": "9e9"}),
    "GET /bulk": Case("read", shows=True),
    "GET /bulk/{job_id}": Case("read"),
    "POST /bulk/{job_id}/cancel": Case("operate", form={}),
    "GET /graphs": Case("read", shows=True),
    "GET /graphs/{graph}": Case("read", shows=True),
    "POST /graphs/{graph}/runs": Case("submit", form={"json": '{"n": 1}', "thread_id": "other:new"}),
    "GET /workers": Case("read", shows=True),
    "GET /workers/{worker_id}": Case("read", shows=True),
    "GET /dead-letters": Case("read", shows=True),
    "POST /dead-letters": Case(
        "operate", form={"action": "drop", "sure": "1", "letter": "{failed}/{task_id}"}
    ),
    "GET /schedules": Case("read", shows=True),
    "POST /schedules/{name}": Case("operate", form={"action": "pause"}),
    "GET /audit": Case("admin", shows=True),
    "GET /keys": Case("admin", shows=True),
    "POST /keys": Case("admin", form={"name": "x", "scope": "read"}, refusal=(422,)),
    "POST /keys/{key_id}/revoke": Case("admin", form={}),
    # ------------------------------------------------------------ where forms are posted to
    **{
        f"GET /runs/{{run_id}}/{verb}": BACK
        for verb in ("cancel", "pause", "unpause", "replay", "resume", "fork")
    },
    "GET /graphs/{graph}/runs": BACK,
    "GET /schedules/{name}": BACK,
    "GET /keys/{key_id}/revoke": BACK,
}
#: Those that a walk cannot wait for, or that ask nothing of their caller.
ENDLESS = frozenset({f"GET {API}/events"})


class World(NamedTuple):
    """What others have: ids of their runs, tasks, checkpoints, keys …"""

    served: Served
    names: dict[str, str]

    @property
    def secrets(self) -> set[str]:
        """What no stranger may read in an answer."""
        kept = {
            self.names[one]
            for one in ("failed", "asking", "task_id", "checkpoint_id", "key_id", "job_id", "name")
        }
        return kept | {"other:asks", "other:failed", "other:done", "key-of-theirs"}

    def ask(self, where: str, case: Case, **options: Any) -> Any:
        """The answer to a case's request."""
        method, path = where.split()
        names = self.names | {name: self.filled(value) for name, value in case.path.items()}
        options |= {"json": self.filled(case.json)} if case.json is not None else {}
        options |= {"data": self.filled(case.form)} if case.form is not None else {}
        return self.served.http.request(
            method, path.format_map(names), params=self.filled(case.query), follow_redirects=False, **options
        )

    def kept(self) -> bytes:
        """All that is stored, but the audit log and bulk jobs."""
        store = self.served.client.store
        runs = store.list_runs(RunFilter(limit=1000)).runs
        tasks = [store.list_tasks(run.run_id) for run in runs]
        points = [store.list_checkpoints(one, limit=100) for one in sorted({run.thread_id for run in runs})]
        keys = [msgspec.structs.replace(key) for key in Keys(store).list()]
        signals = store.search_items(("petiole", "signals"), limit=100)
        return msgspec.json.encode([runs, tasks, points, keys, self.served.client.list_schedules(), signals])

    def filled(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.filled(one) for key, one in value.items()}
        if value == "{file}":
            return msgspec.json.decode(self.names["file"])
        if isinstance(value, str):
            return re.sub(r"\{(\w+)\}", lambda found: self.names[found[1]], value)
        return value


@contextmanager
def world() -> Iterator[World]:
    """Runs that asked, failed and ended, a schedule, a bulk job and a key: all of others."""
    switch = Switch()
    with serving(counting(), asking(), counting(switch, name="theirs")) as served:
        client = served.client
        client.submit("theirs", {"n": 1}, thread_id="other:done", tags=["t"])
        served.work()
        switch.broken = True
        failed = client.submit("theirs", {"n": 1}, thread_id="other:failed").run_id
        asks = client.submit("asking", {"n": 1}, thread_id="other:asks").run_id
        served.work()
        client.submit("counting", {"n": 1}, thread_id="acme:mine")
        for name in ("queued", "paused"):
            client.submit("theirs", {"n": 1}, thread_id=f"other:{name}")
        client.pause("other:paused")
        client.create_schedule(
            "nightly-of-theirs", "theirs", {"n": 1}, every=3600, thread_id="other:scheduled"
        )
        client.pause_schedule("nightly-of-theirs")
        [letter] = client.dead_letters()
        key, _ = Keys(client.store).create("key-of-theirs", ["read"], graphs=["theirs"], namespaces=[THEIRS])
        KeptJobs(client.store).add(job := _job(client.now()))
        KeptJobs(client.store).claim(job.id, "a server elsewhere")
        point = client.history("other:done")[2].checkpoint
        assert point is not None
        names = {
            "failed": failed,
            "asking": asks,
            "run_id": failed,
            "thread_id": "other:done",
            "task_id": letter.task.task_id,
            "checkpoint_id": point.id,
            "question": client.interrupts("other:asks")[0].id,
            "name": "nightly-of-theirs",
            "graph": "theirs",
            "job_id": job.id,
            "key_id": key.key_id,
            "worker_id": client.workers()[0].worker_id,
            "file": client.export_thread("other:done").decode(),
        }
        yield World(served, names)


def _job(now: float) -> Job:
    filter = RunFilter(graphs=["theirs"], namespaces=[THEIRS], thread_id="other:none")
    return Job(
        id="job-of-theirs",
        wanted=Wanted(action="cancel", filter=filter),
        origin=Origin(actor="key:theirs", via="api"),
        graphs=("theirs",),
        namespaces=(THEIRS,),
        created_at=now,
        beat_at=now,
    )
