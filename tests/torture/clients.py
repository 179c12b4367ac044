"""Who submits: threads of work that begin over the time of a run, each by a script of its own."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from petiole.client import Client
from petiole_stores.errors import ConflictError, NotFoundError, StoreUnavailableError
from petiole_stores.records import SETTLED, Run
from tests.torture.graphs import MENDED, run_input
from tests.torture.plans import GraphPlan

T = TypeVar("T")
#: A script: what it yields is how many seconds it wants to be left alone.
Script = Generator[float, None, None]
#: How often a script looks at its run, in seconds.
LOOK = 0.3
KINDS = {"plain": 10, "several": 3, "cancel": 2, "doomed": 2, "fork": 2}


@dataclass
class Ticket:
    """A run whose submit has returned: from here on it must not be lost."""

    run_id: str
    thread_id: str
    graph: str
    salts: tuple[int, ...]  #: of this run and those before it on its thread
    desk: Path
    kind: str
    may_be_cancelled: bool = False
    replayed: bool = False
    submitted_at: float = field(default_factory=time.time)


class Clients:
    """Runs the scripts of ``count`` threads of work, begun evenly over ``seconds``.

    Parameters
        client   a client on a link of its own
        plans    the graphs
        folder   for the desks
        hands    how many calls may be on their way at once
    """

    def __init__(
        self,
        client: Client,
        plans: list[GraphPlan],
        folder: Path,
        *,
        seed: int,
        count: int,
        seconds: float,
        hands: int = 6,
    ) -> None:
        self._client, self._plans, self._folder, self._seed = client, plans, folder, seed
        self.tickets: list[Ticket] = []
        self.faults: list[str] = []  #: scripts that met an error which they should not have
        self.unavailable = 0  #: calls that were made again because the store could not be reached
        self._orders = itertools.count()
        now = time.monotonic()
        self._due: list[tuple[float, int, Script]] = [
            (now + number * seconds / count, next(self._orders), self._script(number))
            for number in range(count)
        ]
        heapq.heapify(self._due)
        self._open = count
        self._turn = threading.Condition()
        self._stopping = False
        self._hands = [
            threading.Thread(target=self._work, name=f"client {number}", daemon=True)
            for number in range(hands)
        ]
        for hand in self._hands:
            hand.start()

    # ---------------------------------------------------------------- running the scripts

    @property
    def open(self) -> int:
        """How many scripts are not at their end."""
        return self._open

    def stop(self) -> None:
        """Leave the scripts where they are."""
        with self._turn:
            self._stopping = True
            self._turn.notify_all()
        for hand in self._hands:
            hand.join(15)

    def _work(self) -> None:
        while (script := self._take()) is not None:
            try:
                pause = next(script)
            except StopIteration:
                pause = None
            except Exception:  # noqa: BLE001 - whatever it is, the report must have it
                pause = None
                self.faults.append(traceback.format_exc())
            with self._turn:
                if pause is None:
                    self._open -= 1
                else:
                    heapq.heappush(self._due, (time.monotonic() + pause, next(self._orders), script))
                self._turn.notify()

    def _take(self) -> Script | None:
        with self._turn:
            while not self._stopping:
                now = time.monotonic()
                if self._due and self._due[0][0] <= now:
                    return heapq.heappop(self._due)[2]
                self._turn.wait(min(self._due[0][0] - now, 1.0) if self._due else 0.2)
            return None

    # ---------------------------------------------------------------- scripts

    def _script(self, number: int) -> Script:
        rng = random.Random(f"{self._seed}/thread/{number}")
        kind = rng.choices([*KINDS], [*KINDS.values()])[0]
        plan = rng.choice(self._plans)
        desk = self._folder / f"desk{number}"
        work = _Work(self, plan, desk, kind, f"{self._seed}-{number}", rng)
        yield 0.0
        desk.mkdir()
        yield from getattr(work, kind)()

    def call(self, operation: Callable[[Client], T], pauses: list[float]) -> T | None:
        """The operation's answer, or ``None`` (and how long to wait) while the store cannot be reached."""
        try:
            return operation(self._client)
        except StoreUnavailableError:
            self.unavailable += 1
            pauses.append(0.5)
            return None

    def accepted(self, ticket: Ticket) -> Ticket:
        self.tickets.append(ticket)
        return ticket


class _Work:
    """The script of one thread of work, for each kind."""

    def __init__(
        self, clients: Clients, plan: GraphPlan, desk: Path, kind: str, key: str, rng: random.Random
    ) -> None:
        self._clients, self._plan, self._desk, self._kind, self._key = clients, plan, desk, kind, key
        self._random = rng
        self._salts: tuple[int, ...] = ()
        self._slow = (
            {rng.choice(plan.nodes).name: round(rng.uniform(0.3, 5.0), 1)} if rng.random() < 0.35 else {}
        )

    def plain(self) -> Script:
        ticket = yield from self._submit()
        yield from self._ended(ticket)

    def several(self) -> Script:
        """Runs on one thread, each enqueued behind the one before it."""
        ticket = yield from self._submit()
        for _ in range(self._random.randint(1, 2)):
            yield self._random.uniform(0.0, 1.0)
            ticket = yield from self._submit(thread_id=ticket.thread_id)
        yield from self._ended(ticket)

    def cancel(self) -> Script:
        ticket = yield from self._submit()
        yield self._random.uniform(0.0, 3.0)
        ticket.may_be_cancelled = True

        def cancel(client: Client) -> bool:
            try:
                client.cancel(ticket.thread_id, run=ticket.run_id)
            except ConflictError:
                pass  # it has ended before
            return True

        yield from self._surely(cancel)
        yield from self._ended(ticket)

    def doomed(self) -> Script:
        """Fails at a node, is mended and replayed."""
        node = self._random.choice(self._plan.nodes).name
        ticket = yield from self._submit(doomed=node)
        run = yield from self._ended(ticket)
        (self._desk / MENDED).touch()
        if run.status != "failed":
            return  # its way did not lead past that node
        yield self._random.uniform(0.0, 1.0)

        def replay(client: Client) -> bool:
            try:
                client.replay(ticket.thread_id, run=ticket.run_id)
            except ConflictError:
                # Asked again after an answer that was lost: it is under way.
                if client.get_run(ticket.run_id, thread_id=ticket.thread_id).status == "failed":
                    raise
            return True

        ticket.replayed = True
        yield from self._surely(replay)
        yield from self._ended(ticket)

    def fork(self) -> Script:
        """Runs to its end, and then anew from a checkpoint of its past."""
        ticket = yield from self._submit()
        run = yield from self._ended(ticket)
        if run.status != "succeeded":
            return  # the checker says so
        history = yield from self._surely(lambda client: client.store.list_checkpoints(ticket.thread_id))
        passed = [record for record in history if record.next != "[]"]
        base = self._random.choice(passed).checkpoint_id

        def fork(client: Client) -> Run:
            newest = client.store.newest_run(ticket.thread_id)
            assert newest is not None
            if newest.run_id != ticket.run_id:
                return newest  # asked again after an answer that was lost
            try:
                return client.replay(ticket.thread_id, run=ticket.run_id, checkpoint=base).run
            except (NotFoundError, ConflictError):
                if client.store.get_checkpoint(base) is None:
                    return newest  # trimmed meanwhile
                raise

        forked = yield from self._surely(fork)
        if forked.run_id == ticket.run_id:
            return
        again = Ticket(
            forked.run_id,
            ticket.thread_id,
            ticket.graph,
            ticket.salts,
            ticket.desk,
            ticket.kind,
            replayed=True,
        )
        yield from self._ended(self._clients.accepted(again))

    # ---------------------------------------------------------------- parts

    def _submit(self, *, thread_id: str | None = None, doomed: str = "") -> Generator[float, None, Ticket]:
        salt = self._random.randrange(4)
        given = run_input(self._plan, salt, desk=str(self._desk), slow=self._slow, doomed=doomed)
        key = f"{self._key}-{len(self._salts)}"
        handle = yield from self._surely(
            lambda client: client.submit(
                self._plan.name,
                given,
                thread_id=thread_id,
                idempotency_key=key,
                if_busy="enqueue",
                tags=[self._kind],
            )
        )
        self._salts = (*self._salts, salt)
        return self._clients.accepted(
            Ticket(handle.run_id, handle.thread_id, self._plan.name, self._salts, self._desk, self._kind)
        )

    def _ended(self, ticket: Ticket) -> Generator[float, None, Run]:
        while True:
            run = yield from self._surely(
                lambda client: client.get_run(ticket.run_id, thread_id=ticket.thread_id)
            )
            if run.status in SETTLED:
                return run
            yield LOOK

    def _surely(self, operation: Callable[[Client], T]) -> Generator[float, None, T]:
        """The operation's answer, however often it takes: it must be safe to call again."""
        while True:
            pauses: list[float] = []
            answer = self._clients.call(operation, pauses)
            if not pauses:
                return answer  # type: ignore[return-value]
            yield from pauses
