"""The fence and the head's compare-and-set as a model with few enough states to visit them all.

One thread whose run has a superstep of two tasks, ``a`` and ``b``, joined by an advance, ``j``. Two workers with a slot
each; a sweep; a client who may save a checkpoint by hand and replay what failed. Workers crash, come back as new ones, are
declared dead while they live on (zombies) and return; answers are lost and calls made again. Each step is one call of the
store, or something that happens to a worker.

A token is (number, is it an advance's). Numbers are only compared, so states that differ by a renaming are one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

Token = tuple[int, bool]
NOBODY = -1  #: a holder that is no worker of the model any more

BASE, BY_HAND, SETTLED = "base", "by hand", "settled"


class Task(NamedTuple):
    status: str  #: absent, ready, claimed, done, failed
    token: Token | None = None
    holder: int = NOBODY
    done_token: Token | None = None
    commits: int = 0  #: outputs that were taken


class Worker(NamedTuple):
    view: str = "alive"  #: as the store has it: alive, dead
    at: str = "idle"  #: idle, running, finishing (said, the answer is lost), counted (mutant), down
    task: int = 0
    token: Token | None = None
    ending: str = ""


class Luck(NamedTuple):
    """How often each misfortune may still happen."""

    crashes: int = 1
    expiries: int = 2
    lost: int = 1
    failures: int = 1
    saves: int = 1
    replays: int = 1


class State(NamedTuple):
    tasks: tuple[Task, Task, Task] = (Task("ready"), Task("ready"), Task("absent"))
    workers: tuple[Worker, Worker] = (Worker(), Worker())
    luck: Luck = Luck()
    run: str = "running"
    head: str = BASE
    open: int = 2
    fault: str = ""  #: what went wrong in the step that led here


A, B, J = 0, 1, 2
NAMES = "abj"

LOST_RIGHT, TWICE = "of a worker that had lost it", "committed twice"


@dataclass(frozen=True)
class Protocol:
    """The protocol, and what a mutant leaves out of it."""

    token_fence: bool = True  #: a finish must name the task's current token
    end_fence: bool = True  #: a task that has ended takes no finish
    head_fence: bool = True  #: a settle and a replay must find the head where their task has it
    atomic_advance: bool = True  #: the last finish makes the advance in its own transaction
    counts_failures: bool = True  #: a failed task counts down as any other

    # ---------------------------------------------------------------- steps

    def steps_from(self, state: State) -> Iterator[tuple[str, State]]:
        for name, after in self._steps(state):
            yield name, renamed(after)

    def _steps(self, state: State) -> Iterator[tuple[str, State]]:
        for w, worker in enumerate(state.workers):
            yield from self._worker_steps(state, w, worker)
            yield from self._fate_steps(state, w, worker)
        yield from self._sweep_steps(state)
        yield from self._client_steps(state)

    def _worker_steps(self, state: State, w: int, worker: Worker) -> Iterator[tuple[str, State]]:
        if worker.at == "idle" and worker.view == "alive":
            for t in (A, B, J):
                yield from self._claim(state, w, t)
        if worker.at == "running":
            endings = ["done", "failed"] if state.luck.failures else ["done"]
            for ending in endings:
                after = spend(state, "failures") if ending == "failed" else state
                yield from self._finish(after, w, worker, ending)
        if worker.at == "finishing":
            yield from self._finish(state, w, worker, worker.ending)
        if worker.at == "counted":
            yield f"{w} makes the advance", self._make_advance(state, w, worker)
        if worker.at != "down" and worker.view == "dead":
            yield f"{w} beats and is alive again", revive(state, w)

    def _claim(self, state: State, w: int, t: int) -> Iterator[tuple[str, State]]:
        """An idle slot holds nothing: what it is on record for (an answer was lost) is ready again first."""
        if state.run != "running":
            return
        for number, held in enumerate(state.tasks):
            if held.status == "claimed" and held.holder == w:
                state = with_task(state, number, held._replace(status="ready", token=None, holder=NOBODY))
        if state.tasks[t].status != "ready":
            return
        token = (fresh(state), False)
        after = with_task(state, t, state.tasks[t]._replace(status="claimed", token=token, holder=w))
        yield f"{w} claims {NAMES[t]}", with_worker(after, w, Worker("alive", "running", t, token))
        if state.luck.lost:
            yield f"{w} claims {NAMES[t]}, the answer is lost", spend(after, "lost")

    def _finish(self, state: State, w: int, worker: Worker, ending: str) -> Iterator[tuple[str, State]]:
        after, advance, refused = self._finished(state, w, worker, ending)
        idle = Worker(worker.view)
        said = f"{w} finishes {NAMES[worker.task]} as {ending}" + (f": {refused}" if refused else "")
        if after.workers[w].at == "counted":
            yield said, after
            return
        heard = Worker(worker.view, "running", J, advance) if advance else idle
        yield said, with_worker(after, w, heard)
        if state.luck.lost:
            waits = worker._replace(at="finishing", ending=ending)
            yield f"{said}, the answer is lost", spend(with_worker(after, w, waits), "lost")

    def _finished(self, state: State, w: int, worker: Worker, ending: str) -> tuple[State, Token | None, str]:
        """The store's answer to a finish: the state after it, the advance's token if it was given, the refusal."""
        task, token = state.tasks[worker.task], worker.token
        assert token is not None
        mine = (token[0], True)  # the advance's token, should this finish be the last
        if task.done_token == token:
            held = state.tasks[J].status == "claimed" and state.tasks[J].token == mine
            return state, mine if held and worker.task != J else None, ""
        if self.token_fence and task.token != token:
            return state, None, "fenced"
        if state.run != "running":
            return state, None, f"run {state.run}"
        if self.end_fence and task.status not in ("claimed", "ready"):
            return state, None, "fenced"
        if ending == "done" and worker.task == J and self.head_fence and state.head != BASE:
            return state, None, "head moved"
        if task.token != token:
            state = blame(state, f"{NAMES[worker.task]} took the output {LOST_RIGHT}")
        commits = task.commits + (ending == "done")
        if commits > 1:
            state = blame(state, f"{NAMES[worker.task]} was {TWICE}")
        ended = task._replace(status=ending, done_token=token, commits=commits)
        state = with_task(state, worker.task, ended)
        if ending == "done" or self.counts_failures:
            state = state._replace(open=state.open - 1)
        if worker.task == J and ending == "done":
            return self._settled(state), None, ""
        if state.open > 0:
            return state, None, ""
        if any(t.status == "failed" for t in state.tasks):
            return state._replace(run="failed"), None, ""
        if not self.atomic_advance:
            return with_worker(state, w, worker._replace(at="counted")), None, ""
        return advanced(state, w, mine), mine, ""

    def _settled(self, state: State) -> State:
        if state.head != BASE:
            state = blame(state, f"the head left its line: {state.head} is lost")
        if [state.tasks[t].commits for t in (A, B)] != [1, 1]:
            state = blame(state, "a settle without every output")
        return state._replace(head=SETTLED, run="succeeded")

    def _make_advance(self, state: State, w: int, worker: Worker) -> State:
        assert worker.token is not None
        mine = (worker.token[0], True)
        if state.open > 0 or state.run != "running" or state.tasks[J].status != "absent":
            return with_worker(state, w, Worker(worker.view))
        return with_worker(advanced(state, w, mine), w, Worker(worker.view, "running", J, mine))

    # ---------------------------------------------------------------- what happens to workers

    def _fate_steps(self, state: State, w: int, worker: Worker) -> Iterator[tuple[str, State]]:
        if worker.at != "down" and state.luck.crashes:
            yield f"{w} crashes", spend(with_worker(state, w, Worker(worker.view, "down")), "crashes")
        if worker.at == "down" and worker.view == "dead":
            orphaned = tuple(t._replace(holder=NOBODY) if t.holder == w else t for t in state.tasks)
            after = state._replace(tasks=orphaned)  # type: ignore[arg-type]
            yield f"a new worker in the place of {w}", with_worker(after, w, Worker())
        if worker.view == "alive" and (worker.at == "down" or state.luck.expiries):
            after = state if worker.at == "down" else spend(state, "expiries")
            dead = swept(with_worker(after, w, worker._replace(view="dead")))
            yield f"a sweep finds {w} dead", dead

    def _sweep_steps(self, state: State) -> Iterator[tuple[str, State]]:
        after = swept(state)
        if after != state:
            yield "a sweep frees what the dead have taken", after

    # ---------------------------------------------------------------- the client

    def _client_steps(self, state: State) -> Iterator[tuple[str, State]]:
        if state.run == "running":
            return
        if state.luck.saves and state.head == BASE:
            yield "a checkpoint is saved by hand", spend(state._replace(head=BY_HAND), "saves")
        if state.run == "failed" and state.luck.replays and (state.head == BASE or not self.head_fence):
            failed = [t for t in (A, B, J) if state.tasks[t].status == "failed"]
            for t in failed:
                state = with_task(state, t, Task("ready"))
            yield "a replay", spend(state._replace(run="running", open=len(failed)), "replays")

    # ---------------------------------------------------------------- what is looked for

    def broken(self, state: State) -> str | None:
        if state.fault:
            return state.fault
        unended = sum(task.status in ("ready", "claimed") for task in state.tasks)
        if state.run == "running" and self.atomic_advance and state.open != unended:
            return f"open is {state.open}, and {unended} tasks have not ended"
        return None

    def is_end(self, state: State) -> bool:
        """It has succeeded, or failed and waits for a client who has used up his replays or moved the head."""
        gone_on = state.head != BASE or not state.luck.replays
        return state.run == "succeeded" or (state.run == "failed" and gone_on)


def advanced(state: State, w: int, token: Token) -> State:
    """The advance is there, claimed by the last finisher."""
    return with_task(state, J, Task("claimed", token, w))._replace(open=1)


def revive(state: State, w: int) -> State:
    """What nobody has claimed in between is the worker's own again."""
    for number, task in enumerate(state.tasks):
        if task.status == "ready" and task.token is not None and task.holder == w:
            state = with_task(state, number, task._replace(status="claimed"))
    return with_worker(state, w, state.workers[w]._replace(view="alive"))


def swept(state: State) -> State:
    """Tasks that are claimed by who is not alive are ready; they keep their token until somebody claims."""
    for number, task in enumerate(state.tasks):
        living = task.holder != NOBODY and state.workers[task.holder].view == "alive"
        if task.status == "claimed" and not living:
            state = with_task(state, number, task._replace(status="ready"))
    return state


def with_task(state: State, number: int, task: Task) -> State:
    return state._replace(tasks=(*state.tasks[:number], task, *state.tasks[number + 1 :]))


def with_worker(state: State, number: int, worker: Worker) -> State:
    return state._replace(workers=(*state.workers[:number], worker, *state.workers[number + 1 :]))


def spend(state: State, name: str) -> State:
    return state._replace(luck=state.luck._replace(**{name: getattr(state.luck, name) - 1}))


def blame(state: State, fault: str) -> State:
    return state._replace(fault=fault)


def tokens(state: State) -> list[Token]:
    found = [token for task in state.tasks for token in (task.token, task.done_token)]
    found += [worker.token for worker in state.workers]
    return [token for token in found if token is not None]


def fresh(state: State) -> int:
    return max((number for number, _ in tokens(state)), default=0) + 1


def renamed(state: State) -> State:
    """The same state with its tokens numbered in the order in which they stand there."""
    names: dict[int, int] = {}
    for number, _ in tokens(state):
        names.setdefault(number, len(names) + 1)
    if all(old == new for old, new in names.items()):
        return state

    def new(token: Token | None) -> Token | None:
        return None if token is None else (names[token[0]], token[1])

    tasks = tuple(t._replace(token=new(t.token), done_token=new(t.done_token)) for t in state.tasks)
    workers = tuple(w._replace(token=new(w.token)) for w in state.workers)
    return state._replace(tasks=tasks, workers=workers)  # type: ignore[arg-type]
