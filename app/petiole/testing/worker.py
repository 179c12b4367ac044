"""``LocalWorker``: a worker in this process that does one thing after the other, when a test says so."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from petiole.client import Client
from petiole.testing.clock import Clock
from petiole.testing.hooks import Hook, Hooks, SimulatedCrash
from petiole.testing.messages import Messages
from petiole.testing.runner import LocalRunner
from petiole.testing.site import LocalClient, Site
from petiole_stores.errors import InputError
from petiole_stores.ids import new_id
from petiole_stores.records import QueueBacklog, TaskRef, Worker
from petiole_stores.store import Store
from petiole_workers.active import OPEN
from petiole_workers.children import wake_parents
from petiole_workers.fitting import Fleet, Wanted, misfit
from petiole_workers.hop import Hint
from petiole_workers.misfits import note_misfits, unblock_served
from petiole_workers.queues import INLINE_PREFIX
from petiole_workers.registry import Registry, load_graph
from petiole_workers.runner import Stats
from petiole_workers.schedules.firing import Firer
from petiole_workers.settings import Settings
from petiole_workers.signals import wake_unheard

if TYPE_CHECKING:
    from petiole_workers.compiled import CompiledGraph

#: Waits longer than this leave the worker and so go by the clock that is moved; shorter ones are slept through.
IN_PROCESS_WAIT = 0.05
SLOT = "1"
#: A lease or timer is over a little after its end.
MOMENT = 0.001


class LocalWorker:
    """A worker with one slot. It claims, runs, commits, publishes and sweeps by the code of real ones.

    Parameters
        graphs    compiled graphs, or their import paths
        store     open store or URL; nothing: a memory store of its own
        clock     the store's time from now on; nothing: the store's own clock if it has one, else a ``Clock`` at now
        settings  lease, retry settings and all else; nothing: the defaults, with waits above 50 ms left to the clock
        queues    what it consumes; nothing: its graphs' queues
        name      how it is shown; nothing: ``local-1@test`` and so on
        worker_id the id of its first incarnation; nothing: a new one

    A worker that crashed is at once there again as a new incarnation, as under ``petiole worker``; one that was killed is
    not. Not to be used by several threads.
    """

    def __init__(
        self,
        graphs: Sequence[CompiledGraph | str],
        store: Store | str | None = None,
        clock: Callable[[], float] | None = None,
        *,
        settings: Settings | None = None,
        queues: Sequence[str] = (),
        name: str | None = None,
        worker_id: str | None = None,
        site: Site | None = None,
    ) -> None:
        self._site = site or Site(store, clock)
        self.settings = settings or Settings(in_process_wait=IN_PROCESS_WAIT)
        self.registry = Registry([load_graph(one) if isinstance(one, str) else one for one in graphs])
        self.queues = list(queues) or self.registry.queues(self.settings.queue)
        self.name = name or f"local-{len(self._site.workers) + 1}@test"
        self.crashes = 0  #: how often it has crashed
        self._given: tuple[Sequence[CompiledGraph | str], Settings | None, Sequence[str]] = (
            graphs,
            settings,
            queues,
        )
        self._hooks = Hooks()
        self._alive, self._paused = True, False
        self._acting = 0
        self.holder = worker_id or new_id()
        self._stats: list[Stats] = []
        self._runner: LocalRunner | None = None
        store = self._site.store
        store.grace, store.max_crashes = self.settings.publish_grace, self.settings.max_crashes
        for graph in self.registry:
            graph.register_types(store.serde)
        self._site.workers.append(self)
        self.beat()

    def __repr__(self) -> str:
        state = "killed" if not self._alive else "paused" if self._paused else "alive"
        return f"<LocalWorker {self.name} {state}>"

    # ---------------------------------------------------------------- what it works on

    @property
    def store(self) -> Store:
        return self._site.store

    @property
    def clock(self) -> Clock:
        """The clock to be moved. Raises InputError where the store goes by one that is no ``Clock``."""
        return self._site.clock

    @property
    def messages(self) -> Messages:
        """The broker that this worker shares with its client and the workers made by ``another``."""
        return self._site.messages

    @cached_property
    def client(self) -> Client:
        """A client on the same store and broker."""
        return LocalClient(self._site, self.settings)

    @property
    def stats(self) -> Stats:
        """Its counts over all incarnations; ``refused``: outputs that came too late and were dropped."""
        names = [field.name for field in dataclasses.fields(Stats)]
        return Stats(**{name: sum(getattr(one, name) for one in self._stats) for name in names})

    def another(
        self,
        graphs: Sequence[CompiledGraph | str] | None = None,
        *,
        settings: Settings | None = None,
        queues: Sequence[str] | None = None,
        name: str | None = None,
    ) -> LocalWorker:
        """One more worker on the same store, clock and broker; what is not given is as with this one."""
        own_graphs, own_settings, own_queues = self._given
        return LocalWorker(
            own_graphs if graphs is None else graphs,
            settings=settings or own_settings,
            queues=(own_queues if graphs is None else ()) if queues is None else queues,
            name=name,
            site=self._site,
        )

    # ---------------------------------------------------------------- working

    def step(self) -> bool:
        """Take one message and run what it names, to its commit and the publishing of what follows.

        ``False``: there is no message for it, or it is paused. A run's first node is run with its start.
        """
        self._check_alive()
        if self._paused:
            return False
        self._site.beat()
        ref = self.messages.take(self.queues)
        if ref is not None:
            self._act(lambda: self._run(Hint.of(ref)))
        return ref is not None

    def sweep(self) -> bool:
        """Sweep once: wake timers, fire schedules, take from dead workers, end late runs, publish what has lost its message.

        ``True``: something was published.
        """
        self._check_alive()
        if self._paused:
            return False
        self._site.beat()
        before = len(self.messages)
        self._act(self._sweep)
        return len(self.messages) > before

    def run_until_idle(self, *, limit: int = 100_000) -> int:
        """Work until no message waits and a sweep finds nothing to publish; gives the number of messages taken.

        Timers that are not due stay; move the clock and call it again, or see ``run_through_timers``. Raises
        AssertionError after ``limit`` messages.
        """
        taken = 0
        while self.step() or self.sweep():
            taken += 1
            if taken > limit:
                raise AssertionError(
                    f"{self.name} is not idle after {limit} messages: {self.messages.nodes[:5]} wait"
                )
        return taken

    def run_through_timers(self, *, within: float = 366 * 86400.0) -> float:
        """As ``run_until_idle``, moving the clock to whatever falls due next, by at most ``within`` seconds in all.

        Gives how far the clock was moved. Timers, retries, leases of lost workers and delayed starts fall due; a deadline
        does when a run waits for nothing else.
        """
        began = self.clock()
        self.run_until_idle()
        while (due := self._next_due()) is not None and due - began <= within:
            self.clock.advance_to(max(due, self.clock()) + MOMENT)
            self.run_until_idle()
        return self.clock() - began

    @property
    def is_beating(self) -> bool:
        """Whether it lives and is not paused, so that its lease is renewed whatever it does."""
        return self._alive and not self._paused

    def beat(self) -> None:
        """Renew its lease, if it is beating. Steps and sweeps do so for all workers of the site."""
        if self.is_beating:
            self._act(lambda: self.store.beat(self._described()))

    # ---------------------------------------------------------------- trouble

    def at(self, point: str, do: Callable[[], object], *, node: str | None = None, times: int = 1) -> None:
        """Call ``do`` the next ``times`` times that this worker gets to a point (``petiole.testing.POINTS``).

        With ``node``, only while it is busy with that node. Other workers may be run in it, and the clock be moved.
        """
        self._hooks.add(Hook(point, do, node, times))

    def crash_at(
        self,
        point: str,
        *,
        node: str | None = None,
        times: int = 1,
        process: Literal["worker", "child"] = "worker",
    ) -> None:
        """Crash at a point, as by SIGKILL: what is not committed is gone, its claims stay until its lease is over.

        ``process="child"``: only the pool's process dies; the worker sees it, and its task is charged with a crash and
        ready again at once.
        """
        if process not in ("worker", "child"):
            raise InputError(f"process is {process!r}: take 'worker' or 'child'")

        def crash() -> None:
            raise SimulatedCrash(self, process)

        self.at(point, crash, node=node, times=times)

    def kill(self) -> None:
        """End it as by SIGKILL; it stays away until ``restart``."""
        self._alive = False
        if self._acting:
            raise SimulatedCrash(self, "worker")
        self._abandon()

    def restart(self) -> None:
        """Start it again as a new incarnation."""
        self._abandon()
        self.holder = new_id()
        self._alive, self._paused = True, False
        self.beat()

    def pause(self) -> None:
        """Stop it as by SIGSTOP: it neither works nor renews its lease. In a hook, what it is busy with goes on after it."""
        self._paused = True

    def unpause(self) -> None:
        """Let it go on as by SIGCONT."""
        self._paused = False

    # ---------------------------------------------------------------- life

    def close(self) -> None:
        """Stop it cleanly and leave its store; one that was opened for it is closed with the last worker."""
        if self._alive:
            if self._runner is not None:
                self._runner.close()
            self._act(lambda: self.store.release(self.holder, final=True))
        self._alive = False
        self._site.leave(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---------------------------------------------------------------- parts

    def _act(self, work: Callable[[], object]) -> None:
        """Do something as this worker; it may crash at it, with whatever it is busy with further out."""
        self._acting += 1
        crash: SimulatedCrash | None = None
        try:
            with self._hooks.watching():
                work()
        except SimulatedCrash as error:
            if error.worker is not self or self._acting > 1:
                raise
            crash = error
        finally:
            self._acting -= 1
        if crash is not None:
            self._crashed(crash)

    def _crashed(self, crash: SimulatedCrash) -> None:
        self.crashes += 1
        if crash.process == "child":
            self._abandon()
            self.messages.publish(self.store.release(self.holder, slots=[SLOT], crashed=True))
        elif self._alive:
            self.restart()
        else:
            self._abandon()

    def _run(self, hint: Hint) -> None:
        offers = {graph.name: graph.offer for graph in self.registry}
        reason = misfit(offers, Wanted(hint.graph, hint.version, hint.node))
        if reason is not None:
            note_misfits(self.store, [(hint, reason)], Fleet(self.store))
            return
        if self._runner is None:
            self._runner = LocalRunner(
                self._hooks,
                store=self.store,
                registry=self.registry,
                settings=self.settings,
                holder=self.holder,
                slot=SLOT,
                publish=self.messages.publish,
                serves=self.queues.__contains__,
            )
            self._stats.append(self._runner.stats)
        self._runner.run([hint])

    def _sweep(self) -> None:
        report = self.store.sweep()
        self.messages.publish(wake_parents(self.store, report.expired))
        self.messages.publish(unblock_served(self.store, Fleet(self.store)))
        self.messages.publish(wake_unheard(self.store, report.now))
        for backlog in report.backlogs:
            if not backlog.queue.startswith(INLINE_PREFIX):
                self._refill(backlog, report.now)
        Firer(self.store, Fleet(self.store), self.settings.queue, self.messages.publish).fire_due(report.now)

    def _refill(self, backlog: QueueBacklog, now: float) -> None:
        """Publish what the broker lacks. Nothing else runs meanwhile, so what is ready and not there has lost its message."""
        missing = backlog.ready - self.messages.depth(backlog.queue, backlog.priority)
        if missing > 0:
            refs: list[TaskRef] = self.store.due(
                limit=missing, queue=backlog.queue, priority=backlog.priority, published_before=now + MOMENT
            )
            self.messages.publish(refs)

    def _next_due(self) -> float | None:
        """When the next thing falls due that open runs wait for."""
        working = {worker.holder for worker in self._site.workers if worker.is_beating}
        leases = {worker.worker_id: worker.expires_at for worker in self.store.list_workers()}
        found: list[float] = []
        for run in self.client.list_runs(status=OPEN):
            times = []
            for task in self.store.list_tasks(run.run_id):
                if task.status == "parked":
                    times.append(task.run_at)
                elif task.status == "claimed" and task.holder not in working:
                    times.append(leases.get(task.holder or ""))
            due = [at for at in times if at is not None]
            found += due or ([] if run.deadline is None else [run.deadline])
        return min(found, default=None)

    def _abandon(self) -> None:
        if self._runner is not None:
            self._runner.abandon()
        self._runner = None

    def _check_alive(self) -> None:
        if not self._alive:
            raise InputError(f"{self.name} was killed: restart() it, or let another() work")

    def _described(self) -> Worker:
        return Worker(
            worker_id=self.holder,
            name=self.name,
            host="test",
            lease=self.settings.lease,
            graphs={
                one.name: f"{one.definition.version or ''}/{one.definition.fingerprint}"
                for one in self.registry
            },
            offers={graph.name: graph.offer for graph in self.registry},
            queues=sorted(self.queues),
            pool="solo",
        )
