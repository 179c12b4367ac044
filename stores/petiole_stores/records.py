"""What a ledger takes and gives: plain records, the same for every backend.

All of them are msgspec Structs, so that a backend may pass them through JSON or msgpack as they are. A *document* is a
``str`` of JSON text made by :mod:`petiole_stores.serde`; ledgers store and return it without looking inside (a JSONB
column may reorder its keys). Times are seconds since the Unix epoch by the *store's* clock; ids are made by clients.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from petiole_stores.serde.blob import Blob as Blob

RunStatus = Literal[
    "queued", "running", "waiting", "interrupted", "paused", "blocked", "succeeded", "failed", "cancelled"
]
TaskStatus = Literal["ready", "claimed", "parked", "interrupted", "done", "failed", "cancelled"]
TaskKind = Literal["node", "advance"]
Priority = Literal["high", "default", "low"]
Result = Literal["committed", "already", "refused"]
Ending = Literal["done", "failed", "interrupted", "cancelled", "retry", "parked"]

#: A run in one of these will never run again unless it is replayed.
SETTLED: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})
#: A run in one of these has tasks that workers may claim.
RUNNABLE: frozenset[str] = frozenset({"queued", "running"})
#: A run in one of these is held back: nothing of it is claimed, what is claimed already may finish and settle.
HELD_BACK: frozenset[str] = frozenset({"paused", "blocked"})
#: A task in one of these has been counted down.
ENDED: frozenset[str] = frozenset({"done", "failed", "interrupted", "cancelled"})

#: What the error of a run says that had not ended in time.
DEADLINE_OVER = "the run had not ended when its deadline was over: replay it, or submit it with a later one"

#: Path and node of the ``advance`` task that opens a run: it applies the input and plans the first superstep.
START_PATH = "start"
#: Path of the ``advance`` task that settles a superstep of several tasks.
ADVANCE_PATH = "advance"


class NewTask(msgspec.Struct, kw_only=True):
    """A task to be inserted: ready to be claimed, unless ``status`` or ``token`` says otherwise."""

    task_id: str
    path: str
    node: str
    kind: TaskKind = "node"
    ns: str = ""
    queue: str = "petiole"
    priority: Priority = "default"
    arg: str | None = None  #: document of a Send's argument
    timeout: str | None = None  #: document of a Send's own timeout, which stands in place of the node's
    status: Literal["ready", "interrupted"] = "ready"
    #: set: inserted as already claimed under this token by the finish's holder and slot (``chain = "inline"``)
    token: str | None = None


class NewCheckpoint(msgspec.Struct, kw_only=True):
    """A checkpoint to be inserted. ``state``, ``next``, ``control`` and ``metadata`` are documents."""

    checkpoint_id: str
    parent_id: str | None
    ns: str = ""
    step: int
    source: str
    node_names: list[str]
    state: str
    next: str = "[]"
    control: str = "{}"
    metadata: str = "{}"
    digest: str  #: digest of the state document, see :func:`petiole_stores.serde.digest_document`
    seal: str = ""  #: digest of the rest of the row, see :func:`petiole_stores.integrity.seal_of`; empty: none was made
    version: int = 1


class Checkpointed(NewCheckpoint, kw_only=True):
    """A stored checkpoint."""

    thread_id: str
    run_id: str | None
    created_at: float
    seq: int  #: rises with every insert in the same thread; history is ordered by it
    quarantined: str | None = None  #: why nothing may start from it (it is damaged); ``None``: it is sound


class NewRun(msgspec.Struct, kw_only=True):
    """A run to be accepted. ``start`` is its first task (kind ``advance``, path ``start``)."""

    run_id: str
    thread_id: str
    graph: str
    start: NewTask
    input: str | None = None  #: document of the input; ``None``: go on from the base checkpoint
    version: str | None = None
    fingerprint: str | None = None
    if_busy: Literal["reject", "enqueue"] = "reject"
    idempotency_key: str | None = None
    request_digest: str | None = None  #: two submits under one run_id must agree in it
    base_id: str | None = None  #: the checkpoint to go on from; ``None``: the thread's head
    config: str = "{}"  #: JSON: recursion_limit, durability, … (the engine's)
    tags: list[str] = []
    metadata: str = "{}"
    run_at: float | None = None  #: not to start before this time
    delay: float | None = (
        None  #: not to start before so many seconds from now, by the store's clock (``run_at`` is set)
    )
    deadline: float | None = None  #: when it fails if it has not settled
    lifetime: float | None = (
        None  #: the same in seconds, from the time at which it may start (``deadline`` is set)
    )
    blobs: list[Blob] = []


class Run(msgspec.Struct, kw_only=True):
    """A stored run."""

    run_id: str
    thread_id: str
    graph: str
    status: RunStatus
    version: str | None = None
    fingerprint: str | None = None
    input: str | None = None
    base_id: str | None = None
    idempotency_key: str | None = None
    request_digest: str | None = None
    config: str = "{}"
    tags: list[str] = []
    metadata: str = "{}"
    error: str | None = None  #: JSON: type, message, traceback, node, attempt
    reason: str | None = None  #: JSON: type and message; why it is paused or blocked
    checkpoint_id: str | None = None  #: the newest checkpoint that this run made in the root namespace
    run_at: float | None = None
    deadline: float | None = None
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None
    replays: int = 0
    seq: int  #: rises with every submit (in the same thread, on Redis)


#: How many earlier attempts a task remembers: half of them its first ones, the others its newest.
ATTEMPTS_KEPT = 100


class Attempt(msgspec.Struct, kw_only=True):
    """One earlier try at a task, as it ended without ending the task."""

    attempt: int
    holder: str | None
    slot: str | None
    claimed_at: float | None
    ended_at: float
    outcome: Literal["lost", "crashed", "released", "retry", "parked"]
    error: str | None = None


class Task(msgspec.Struct, kw_only=True):
    """A stored task."""

    task_id: str
    run_id: str
    thread_id: str
    ns: str
    checkpoint_id: (
        str | None
    )  #: the checkpoint whose superstep it belongs to (``None``: a thread's very first task)
    path: str
    kind: TaskKind
    node: str
    queue: str
    priority: Priority
    status: TaskStatus
    arg: str | None = None
    timeout: str | None = None
    token: str | None = None
    done_token: str | None = None
    holder: str | None = None
    slot: str | None = None
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    started: bool = False
    recovered: bool = False
    output: str | None = None
    error: str | None = None
    run_at: float | None = None
    next_publish: float | None = None
    publishes: int = 0  #: how often a sweep (or a ``published``) has pushed ``next_publish`` on
    published_at: float | None = None  #: when it was last handed to somebody for publishing
    replaced: bool = False  #: a failed task that a replay has put a new one in place of
    dropped: bool = False  #: a failed task that somebody has taken off the dead letters
    child: str = ""  #: the namespace that it has opened and whose end it waits for, or has waited for
    awaits: str = ""  #: parked: the name of the signal that makes it ready (see ``Ledger.wake``)
    woken: bool = False  #: a signal came during this claim: parking it makes it ready again at once
    progress: str | None = (
        None  #: document that an attempt left for the next one: heartbeat details, timers passed
    )
    created_at: float
    claimed_at: float | None = None
    ended_at: float | None = None
    attempts: list[Attempt] = []


class TaskRef(msgspec.Struct, kw_only=True, frozen=True):
    """What a message needs to know of a task."""

    task_id: str
    run_id: str
    thread_id: str
    queue: str
    priority: Priority
    graph: str
    node: str
    version: str | None = None


class Output(msgspec.Struct, kw_only=True):
    """The kept output of one ended task, as an ``advance`` needs it."""

    path: str
    node: str
    output: str


class Claim(msgspec.Struct, kw_only=True):
    """The right to run a task, with all that running it needs."""

    task: Task
    run: Run
    base: Checkpointed | None  #: the checkpoint the task starts from (``None``: a new thread's first task)
    width: int  #: how many tasks its superstep has; 1: its finish may settle
    outputs: list[Output] = []  #: for an ``advance``: its siblings' outputs, in path order
    child: Checkpointed | None = None  #: the head of the namespace that the task has waited for


class ClaimAnswer(msgspec.Struct, kw_only=True):
    task_id: str
    result: Result
    reason: str = ""  #: why it was refused: "missing", "run <status>", "<task status>"
    claim: Claim | None = None


class Settle(msgspec.Struct, kw_only=True):
    """The end of a superstep: the next checkpoints of one namespace and the tasks that come after the last of them.

    Where a task owns the namespace, ``run_status`` tells what becomes of the namespace, not of the run.
    """

    checkpoints: list[NewCheckpoint]
    tasks: list[NewTask] = []
    #: what the run becomes: ``running`` with tasks to come, ``interrupted`` with tasks that wait, ``succeeded`` with none
    run_status: Literal["running", "interrupted", "succeeded"] = "running"
    #: of the graph that settles: what the run remembers if it has no version or fingerprint yet
    version: str | None = None
    fingerprint: str | None = None


class Outcome(msgspec.Struct, kw_only=True):
    """How one attempt ended.

    ``retry`` (it failed) and ``parked`` (it waits, or another worker is to do it) end the attempt alone; every other
    ending ends the task and counts down.
    """

    task_id: str
    token: str
    ending: Ending
    output: str | None = None
    error: str | None = None
    delay: float = 0.0  #: for ``retry`` and ``parked``: parked for so many seconds; 0 makes it ready at once
    progress: str | None = (
        None  #: for ``retry``, ``parked`` and ``interrupted``: document for the next attempt; ``None``: as it is
    )
    nest: Settle | None = None  #: for ``parked``: the beginning of a namespace whose end the task waits for
    awaits: str = (
        ""  #: for ``parked``: a signal's name; with ``delay`` 0 nothing but the signal ends the wait
    )
    #: a power cut, and on Postgres a crash of the server, may lose this commit (a batch is relaxed if all outcomes are)
    relaxed: bool = False
    settle: Settle | None = None
    #: id and token for the ``advance`` task, should this outcome be the superstep's last (made by the client, always)
    advance_id: str = ""
    advance_token: str = ""
    advance_queue: str = "petiole"
    blobs: list[Blob] = []


class Resumption(msgspec.Struct, kw_only=True, frozen=True):
    """One interrupted task that is to run again.

    ``token`` is the ``done_token`` under which it was interrupted (empty for one that was born interrupted), so that an
    answer to one interrupt never serves for the next; ``progress`` is what its next attempt finds (``None``: as it is).
    """

    task_id: str
    token: str = ""
    progress: str | None = None


class Amendment(msgspec.Struct, kw_only=True):
    """Checkpoints made by hand that a thread's namespace is to go on from, and the tasks that come after the last.

    All are of the one namespace ``ns``.
    """

    thread_id: str
    ns: str = ""
    head_id: str | None  #: the head that the caller saw (``None``: there was none)
    checkpoints: list[
        NewCheckpoint
    ]  #: the first one's parent is any checkpoint of the namespace, or ``None``
    tasks: list[
        NewTask
    ] = []  #: in place of the active run's; they are interrupted or ready as the run is: see ``Ledger.amend``
    blobs: list[Blob] = []


class FinishAnswer(msgspec.Struct, kw_only=True):
    task_id: str
    result: Result
    #: why it was refused: "missing", "fenced", "run <status>", "head moved", "not alone", "busy"
    reason: str = ""
    open: int = 0  #: tasks of the superstep still to end
    run_status: RunStatus = "running"
    publish: list[
        TaskRef
    ] = []  #: what else to publish: a queued run's first task (the settle's own tasks the caller knows)
    advance: Claim | None = None  #: set when this outcome was the last: the caller now holds the advance task


class SubmitAnswer(msgspec.Struct, kw_only=True):
    run_id: str
    thread_id: str
    result: Result
    reason: str = ""  #: "busy" (``active_run`` names the run), "conflict" (same id, other request), "no base"
    active_run: str | None = None
    publish: list[TaskRef] = []


class Offer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One graph as a worker serves it."""

    version: str | None = None
    fingerprint: str = ""
    policy: Literal["upgrade", "pin"] = "upgrade"  #: ``pin``: runs of this very version alone
    nodes: list[str] = []


class Worker(msgspec.Struct, kw_only=True):
    """One worker incarnation (a holder)."""

    worker_id: str
    name: str
    host: str = ""
    pid: int = 0
    lease: float = 15.0
    status: Literal["alive", "stopping", "dead", "stopped"] = "alive"
    graphs: dict[str, str] = {}  #: graph name -> "version/fingerprint"
    offers: dict[str, Offer] = {}  #: graph name -> what is served of it
    queues: list[str] = []
    pool: str = ""
    concurrency: int = 1
    stats: dict[str, float] = {}
    started_at: float = 0.0
    beat_at: float = 0.0
    expires_at: float = 0.0


class BeatAnswer(msgspec.Struct, kw_only=True):
    now: float
    revived: bool = False  #: it had been declared dead; claims that nobody took since are its own again
    claims: list[str] = []  #: ids of the tasks it holds now


class QueueBacklog(msgspec.Struct, kw_only=True):
    queue: str
    priority: Priority
    ready: int  #: tasks waiting to be claimed
    due: int  #: of those, the ones whose ``next_publish`` is past
    oldest: float | None  #: ``created_at`` of the oldest ready one


class SweepReport(msgspec.Struct, kw_only=True):
    now: float
    died: list[str] = []  #: ids of the workers declared dead by this sweep
    woken: int = 0  #: timers that fell due
    expired: list[str] = []  #: ids of the runs that failed because their deadline was over
    backlogs: list[QueueBacklog] = []


class Trimmed(msgspec.Struct, kw_only=True):
    """What ``trim`` has removed of one thread."""

    checkpoints: int = 0
    tasks: int = 0
    blobs: int = 0


class Answer(msgspec.Struct, kw_only=True):
    """The answer for one run of ``cancel``, ``replay``, ``resume``, ``amend``, ``pause``, ``unpause``, ``block`` and
    ``unblock``."""

    run_id: str
    result: Result
    reason: str = ""
    publish: list[TaskRef] = []


class RunFilter(msgspec.Struct, kw_only=True, frozen=True):
    """Which runs ``list_runs`` gives, newest first, and ``count_runs`` counts."""

    graph: str | None = None
    status: list[str] = []
    thread_id: str | None = None
    tag: str | None = None
    error_type: str | None = None  #: of the run's error: the qualified name, or the last part of it
    #: part of the thread's id, the run's, the graph's name or a tag; A to Z are the same as a to z
    text: str | None = None
    since: float | None = None  #: created at or after
    until: float | None = None  #: created before
    graphs: list[str] = []  #: of these graphs alone (empty: of any), beside ``graph``
    namespaces: list[str] = []  #: the same of threads' namespaces: what an id has before its first ``:``
    limit: int = 50
    cursor: str | None = None  #: the ``next`` of the page before
    brief: bool = False  #: without ``input``


class RunPage(msgspec.Struct, kw_only=True):
    runs: list[Run]
    next: str | None = None
    #: what ``count_runs`` says of the filter, where the list came by all that it counts; ``None``: it has to be asked
    counts: dict[RunStatus, int] | None = None


class TaskFilter(msgspec.Struct, kw_only=True, frozen=True):
    """Which tasks of a run ``tasks_page`` gives, in the order they were made."""

    ns: str | None = None  #: the namespace (empty: the root); ``None``: any
    node: str | None = None
    kind: TaskKind | None = None
    status: list[str] = []
    checkpoint_id: str | None = None  #: the checkpoint whose superstep they belong to
    limit: int = 100
    cursor: str | None = None  #: the ``next`` of the page before
    brief: bool = False  #: without ``arg``, ``output`` and ``progress``


class TaskPage(msgspec.Struct, kw_only=True):
    tasks: list[Task]
    next: str | None = None


class TaskCount(msgspec.Struct, kw_only=True):
    """The tasks of a run that share namespace, node, kind and status."""

    ns: str
    node: str
    kind: TaskKind
    status: TaskStatus
    count: int
    created_at: float  #: when the first was made
    ended_at: float | None = None  #: when the last ended
    crashes: int = 0  #: how often a process died under them
    failures: int = 0  #: how many attempts failed and were tried again
    recovered: int = 0  #: how many were taken over from a lost worker
    replaced: int = 0  #: how many a replay has put new ones in place of
