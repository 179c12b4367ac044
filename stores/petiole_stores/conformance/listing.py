"""Checks of lists and counts: what each filter means, and that pages lose and repeat nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from petiole_stores.conformance.report import same
from petiole_stores.conformance.rules import LEDGER
from petiole_stores.conformance.scene import Scene, plain
from petiole_stores.errors import InputError
from petiole_stores.records import Run, RunFilter, Task, TaskFilter


@LEDGER
def list_runs_by_text(scene: Scene) -> None:
    """``text`` is a part of the thread's id, the run's, the graph's name or a tag; A to Z are a to z, nothing is a wildcard."""
    graph = scene.id("Bills")
    for name, tags in (("r1", ["Über 50%"]), ("r2", ["vip_a", "x"]), ("r3", [])):
        scene.submit(name, f"Order:{name}", graph=graph, tags=tags)

    def found(text: str) -> list[str]:
        filter = RunFilter(graph=graph, text=text)
        counts = scene.store.count_runs(filter)
        page = scene.store.list_runs(filter)
        names = _names(scene, page.runs)
        same(sum(counts.values()), len(names), f"the count of {text!r}")
        same(page.counts, counts, f"what the only page of {text!r} counts")
        return names

    everything = ["r3", "r2", "r1"]
    same(found(f"{scene.prefix}-bILLs"), everything, "the graph, whatever the case")
    same(found("oRDER:"), everything, "the thread")
    same(found("-r2"), ["r2"], "the run")
    same(found("VIP_"), ["r2"], "a tag")
    same(found("r 50%"), ["r1"], "a per cent sign is itself")
    same(found("vip%"), [], "a per cent sign is no wildcard")
    same(found("v_p"), [], "an underscore is no wildcard")
    same(found("Über"), ["r1"], "a letter beyond A to Z")
    same(found("über"), [], "which is not another one's capital")
    same(found('"x"'), [], "what tags are written with is no part of them")


@LEDGER
def list_runs_within_limits(scene: Scene) -> None:
    """``graphs`` and ``namespaces`` let nothing else through, whatever the other filters say."""
    ours, theirs = scene.id("ours"), scene.id("theirs")
    for name, thread, graph in (
        ("r1", "acme:1", ours),
        ("r2", "acme:2:x", theirs),
        ("r3", "acmes:1", ours),
        ("r4", "acme", ours),
    ):
        scene.submit(name, thread, graph=graph)

    def found(**filters: object) -> list[str]:
        filter = RunFilter(text=scene.prefix, **filters)  # type: ignore[arg-type]
        names = _names(scene, scene.store.list_runs(filter).runs)
        same(scene.store.count_runs(filter)["queued"], len(names), "their number")
        return names

    acme = scene.id("acme")
    same(found(namespaces=[acme]), ["r4", "r2", "r1"], "a namespace; an id without a colon is its own")
    same(found(namespaces=[acme, scene.id("acmes")], graphs=[ours]), ["r4", "r3", "r1"], "two, and a graph")
    same(found(graphs=[ours], graph=theirs), [], "another graph than the limit")
    same(found(graphs=[ours, theirs], graph=theirs), ["r2"], "a graph within the limit")
    same(found(namespaces=["x-none"]), [], "a namespace that nobody has")
    same(found(graphs=["x-none"], thread_id=scene.id("acme:1")), [], "a graph that nobody has")


@LEDGER
def list_runs_by_error_type(scene: Scene) -> None:
    """``error_type`` is the whole name of the error's type, or what comes after its last dot."""
    graph = scene.id("graph")
    scene.worker()
    for name, error in (
        ("r1", "shop.errors.Declined"),
        ("r2", "Declined"),
        ("r3", "shop.errors.NotDeclined"),
    ):
        scene.submit(name, f"t.{name}", graph=graph)
        scene.claimed(f"{name}.start", "k")
        scene.finished(f"{name}.start", "k", ending="failed", error=f'{{"type": "{error}", "message": "no"}}')
    scene.submit("r4", graph=graph)

    def found(error_type: str) -> list[str]:
        filter = RunFilter(graph=graph, error_type=error_type)
        same(scene.store.count_runs(filter)["queued"], 0, "runs without an error")
        return _names(scene, scene.store.list_runs(filter).runs)

    same(found("Declined"), ["r2", "r1"], "the last part")
    same(found("shop.errors.Declined"), ["r1"], "the whole name")
    same(found("errors.Declined"), [], "a middle part")
    same(found("Declin%"), [], "a pattern")


@LEDGER
def count_runs_by_status(scene: Scene) -> None:
    """Every status has its number, also 0; status, limit and cursor of the filter do not matter."""
    graph = scene.id("graph")
    for index in range(4):
        scene.submit(f"r{index}", f"t{index}", graph=graph, tags=["odd"] if index % 2 else [])
        scene.tick(1)
    scene.store.cancel(scene.ids("r0"))
    counts = scene.store.count_runs(RunFilter(graph=graph, status=["failed"], limit=1, cursor="0"))
    same(sorted(counts), sorted(_STATUSES), "the statuses")
    same({name: count for name, count in counts.items() if count}, {"queued": 3, "cancelled": 1}, "numbers")
    same(scene.store.count_runs(RunFilter(graph=graph, tag="odd"))["queued"], 2, "of a tag")
    same(scene.store.count_runs(RunFilter(graph=graph, since=scene.now - 2))["queued"], 2, "of a time")
    same(set(scene.store.count_runs(RunFilter(thread_id="x-none")).values()), {0}, "of nothing")


@LEDGER
def list_runs_in_brief(scene: Scene) -> None:
    """A brief page has all but the input."""
    graph = scene.id("graph")
    scene.submit("r", graph=graph, input='{"n": 1}', tags=["a"], metadata='{"z": 1}')
    [whole] = scene.store.list_runs(RunFilter(graph=graph)).runs
    [brief] = scene.store.list_runs(RunFilter(graph=graph, brief=True)).runs
    same(plain(brief), plain(whole) | {"input": None}, "the run")


@LEDGER
def page_through_tasks(scene: Scene) -> None:
    """Tasks come in the order they were made, page by page without gaps or repeats, narrowed by every filter."""
    _fan_out(scene)
    run_id, store = scene.id("r"), scene.store

    def pages(limit: int, **filters: object) -> Iterator[list[Task]]:
        cursor = None
        while True:
            page = store.tasks_page(run_id, TaskFilter(limit=limit, cursor=cursor, **filters))  # type: ignore[arg-type]
            yield page.tasks
            if (cursor := page.next) is None:
                return

    def names(**filters: object) -> list[str]:
        return _names(scene, [task for page in pages(2, **filters) for task in page])

    whole = store.list_tasks(run_id)
    same([len(page) for page in pages(3)], [3, 2], "the pages")
    same(plain([task for page in pages(3) for task in page]), plain(whole), "all of them")
    same(names(), ["r.start", "a", "b", "c", "d"], "the order")
    same(names(node="send"), ["a", "b", "c"], "a node")
    same(names(status=["done"]), ["r.start", "a"], "one status")
    same(names(status=["done", "claimed"], kind="node"), ["a", "b"], "two statuses of a kind")
    same(names(checkpoint_id=scene.id("c0"), node="other"), ["d"], "a superstep's")
    same((names(ns=""), names(ns="x")), (names(), []), "a namespace")
    same(store.tasks_page("x-none").tasks, [], "of a run that is not there")
    same([plain(store.get_task(task.task_id)) for task in whole], plain(whole), "each by its id")
    same(store.get_task("x-none"), None, "a task that is not there")
    brief = store.tasks_page(run_id, TaskFilter(brief=True)).tasks
    left_out = {"arg": None, "output": None, "progress": None}
    same(plain(brief), [plain(task) | left_out for task in whole], "in brief")


@LEDGER
def count_tasks(scene: Scene) -> None:
    """Tasks are counted by namespace, node, kind and status, with the times of the first and the last."""
    begun = scene.now
    _fan_out(scene)
    counts = {(it.node, it.status): it for it in scene.store.task_counts(scene.id("r"))}
    groups = [("other", "ready"), ("send", "claimed"), ("send", "done"), ("send", "ready"), ("start", "done")]
    same([*counts], groups, "the groups, in order")
    same({it.count for it in counts.values()}, {1}, "each once")
    done = counts["send", "done"]
    same(
        (done.ns, done.kind, done.created_at, done.ended_at),
        ("", "node", begun + 1, begun + 2),
        "one of them",
    )
    scene.store.release(scene.id("w"), crashed=True)
    scene.tick(1)
    found = {(it.node, it.status): it for it in scene.store.task_counts(scene.id("r"))}
    ready = found["send", "ready"]
    same(("send", "claimed") in found, False, "what was claimed")
    same((ready.count, ready.crashes, ready.recovered, ready.ended_at), (2, 1, 1, None), "what is ready now")
    same(scene.store.task_counts("x-none"), [], "of a run that is not there")


@LEDGER
def list_checkpoints_in_brief(scene: Scene) -> None:
    """A brief list has all but the states."""
    scene.begin("a")
    whole = scene.store.list_checkpoints(scene.id("t"))
    brief = scene.store.list_checkpoints(scene.id("t"), brief=True)
    same([found.state for found in brief], [""], "the state")
    for found, wanted in zip(brief, whole, strict=True):
        found.state = wanted.state
    same(brief, whole, "everything else")


@LEDGER
def pages_have_limits(scene: Scene) -> None:
    """A limit beyond 1 to 1000, a cursor that no page gave, and text that nothing can hold are refused."""
    store = scene.store
    for filter in (
        TaskFilter(limit=0), TaskFilter(limit=1001), TaskFilter(cursor="x"), TaskFilter(node="\0"),
        RunFilter(limit=0), RunFilter(cursor="-1"), RunFilter(text="\ud800"), RunFilter(namespaces=["a\0"]),
    ):  # fmt: skip
        try:
            store.tasks_page("r", filter) if isinstance(filter, TaskFilter) else store.list_runs(filter)
        except InputError:
            continue
        raise AssertionError(f"{filter} was taken")


_STATUSES = (
    "queued", "running", "waiting", "interrupted", "paused", "blocked", "succeeded", "failed", "cancelled",
)  # fmt: skip


def _names(scene: Scene, records: Sequence[Run | Task]) -> list[str]:
    ids = [record.task_id if isinstance(record, Task) else record.run_id for record in records]
    return [id.removeprefix(f"{scene.prefix}-") for id in ids]


def _fan_out(scene: Scene) -> None:
    """A run whose first superstep has three tasks of one node and one of another; ``a`` is done, ``b`` is claimed."""
    scene.worker()
    scene.submit("r")
    scene.claimed("r.start", "k")
    tasks = [scene.new_task(name, node="send" if name != "d" else "other", arg="1") for name in "abcd"]
    scene.tick(1)
    scene.finished("r.start", "k", settle=scene.settle("c0", None, *tasks))
    scene.claimed("a", "ka")
    scene.tick(1)
    scene.finished("a", "ka", output='{"n": 1}')
    scene.claimed("b", "kb")
