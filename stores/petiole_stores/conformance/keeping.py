"""Checks of the five methods that every checkpoint store has, and of the optional parts around them."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

from petiole_stores.conformance.report import NotOffered, holds, same
from petiole_stores.conformance.rules import CHECKPOINTS
from petiole_stores.conformance.shelf import Shelf
from petiole_stores.contract import CheckpointStore
from petiole_stores.errors import NotFoundError, StoreError
from petiole_stores.ids import new_id

ODD = [
    "ünï",
    "a b",
    "a/b",
    "../up",
    "a:b",
    "100%",
    "q'\"q",
    "back\\slash",
    "日本",
    "{x}",
    "*",
    "a.json",
    "-",
    "$",
]


def _missing(shelf: Shelf, checkpoint_id: str) -> bool:
    try:
        shelf.store.load(checkpoint_id)
    except NotFoundError:
        return True
    return False


@CHECKPOINTS
def save_and_load(shelf: Shelf) -> None:
    """A checkpoint comes back equal in every field, and save returns its id."""
    made = shelf.new(
        node_names=("a", "b"), run_id=new_id(), parent_id=new_id(), step=7, source="update", next=("c", "d"),
        metadata={"who": "ü", "n": [1, None]}, version=3, timestamp=datetime(2026, 2, 3, 4, 5, 6, 789012, tzinfo=UTC),
    )  # fmt: skip
    same(shelf.store.save(made), made.id, "what save returns")
    same(shelf.store.load(made.id), made, "what load returns")


@CHECKPOINTS
def typed_state(shelf: Shelf) -> None:
    """State comes back in its own types, not as strings and lists."""
    state: dict[str, object] = {
        "none": None, "true": True, "int": 2**80, "float": 0.1, "text": "a\u2028b\U0001f33f", "bytes": b"\x00\xff",
        "tuple": (1, (2, 3)), "set": {1, 2}, "date": date(2026, 1, 2), "delta": timedelta(days=1, microseconds=1),
        "time": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), "decimal": Decimal("1.10"), "uuid": UUID(int=7),
        "nested": {"list": [{"deep": (b"x", [])}], "": {}}, "nul": "a\x00b", "$blob": "a user's own key",
    }  # fmt: skip
    made = shelf.save(state=state)
    found = shelf.store.load(made.id).state
    same(found, state, "the state")
    same({k: type(v) for k, v in found.items()}, {k: type(v) for k, v in state.items()}, "its types")


@CHECKPOINTS
def empty_state(shelf: Shelf) -> None:
    """A checkpoint without state, nodes or parent is one too."""
    made = shelf.save(state={})
    same(shelf.store.load(made.id), made, "what load returns")


@CHECKPOINTS
def namespaces(shelf: Shelf) -> None:
    """A checkpoint of a subgraph's namespace comes back with it."""
    made = shelf.save(ns="outer|inner")
    same(shelf.store.load(made.id), made, "what load returns")


@CHECKPOINTS
def load_missing(shelf: Shelf) -> None:
    """Loading what does not exist raises NotFoundError."""
    holds(_missing(shelf, new_id()), "load returned something")


@CHECKPOINTS
def list_newest_first(shelf: Shelf) -> None:
    """The checkpoints of a thread are listed newest first, whole."""
    made = [shelf.save() for _ in range(5)]
    same(shelf.store.list(shelf.thread()), made[::-1], "the list")


@CHECKPOINTS
def list_of_no_thread(shelf: Shelf) -> None:
    """A thread that does not exist has an empty list."""
    same(shelf.store.list(shelf.thread("none")), [], "the list")


@CHECKPOINTS
def save_replaces(shelf: Shelf) -> None:
    """Saving an id again replaces the checkpoint: it is there once, as it was saved last."""
    first = shelf.save()
    second = shelf.save(id=first.id, state={"n": "new"}, metadata={"m": 1})
    same(shelf.store.load(first.id), second, "what load returns")
    same(shelf.store.list(shelf.thread()), [second], "the list")


@CHECKPOINTS
def delete_one(shelf: Shelf) -> None:
    """A deleted checkpoint is gone, its neighbours stay; deleting it again does nothing."""
    made = [shelf.save() for _ in range(3)]
    for _ in range(2):
        shelf.store.delete(made[1].id)
        holds(_missing(shelf, made[1].id), "it can still be loaded")
        same(shelf.listed(), [made[2].id, made[0].id], "the list")
    shelf.store.delete(new_id())


@CHECKPOINTS
def delete_then_save(shelf: Shelf) -> None:
    """A deleted id may be saved again."""
    made = shelf.save()
    shelf.store.delete(made.id)
    shelf.store.save(made)
    same(shelf.store.load(made.id), made, "what load returns")


@CHECKPOINTS
def clear_one_thread(shelf: Shelf) -> None:
    """Clearing a thread removes all of its checkpoints and no others; clearing it again does nothing."""
    made, other = [shelf.save() for _ in range(3)], shelf.save("other")
    for _ in range(2):
        shelf.store.clear(shelf.thread())
        same(shelf.listed(), [], "the list")
    holds(all(_missing(shelf, checkpoint.id) for checkpoint in made), "one can still be loaded")
    same(shelf.store.load(other.id), other, "another thread's checkpoint")
    shelf.store.clear(shelf.thread("none"))
    again = shelf.save()
    same(shelf.listed(), [again.id], "the list of the thread with a new one")


@CHECKPOINTS
def threads_apart(shelf: Shelf) -> None:
    """Threads whose ids are alike (by case, by prefix) do not see each other."""
    names = ["t", "T", "t1", "t ", "t/1", "t%", "t_"]
    made = {name: shelf.save(name).id for name in names}
    same({name: shelf.listed(name) for name in names}, {name: [id] for name, id in made.items()}, "the lists")
    shelf.store.clear(shelf.thread("t"))
    same(
        [shelf.listed(name) == [made[name]] for name in names],
        [name != "t" for name in names],
        "after one is cleared",
    )


@CHECKPOINTS
def odd_ids(shelf: Shelf) -> None:
    """Ids of threads and checkpoints may hold any printable character, up to 255 of them."""
    for odd in [*ODD, "x" * 230, "ü" * 230]:
        made = shelf.save(odd, id=f"{shelf.prefix}-{odd}")
        same(shelf.store.load(made.id), made, f"the checkpoint {odd[:20]!r}")
        same(shelf.listed(odd), [made.id], f"the thread {odd[:20]!r}")
    for odd in ODD:
        shelf.store.delete(f"{shelf.prefix}-{odd}")
        same(shelf.listed(odd), [], f"the thread {odd!r} after the delete")


@CHECKPOINTS
def large_state(shelf: Shelf) -> None:
    """Values of megabytes come back."""
    text = "".join(chr(0x4E00 + n % 5000) for n in range(500_000))
    made = shelf.save(
        state={"text": text, "bytes": bytes(range(256)) * 8000, "many": [[n, str(n)] for n in range(5000)]}
    )
    holds(shelf.store.load(made.id) == made, "the large state differs")


@CHECKPOINTS
def many_checkpoints(shelf: Shelf) -> None:
    """A long history comes back whole and in order, though its checkpoints share large values."""
    shared = "shared " * 1000
    made = [shelf.save(step=step, state={"shared": shared, "step": step}) for step in range(150)]
    found = shelf.store.list(shelf.thread())
    same([c.step for c in found], [*range(149, -1, -1)], "the steps")
    same(found[75], made[74], "one of them")


@CHECKPOINTS
def concurrent_saves(shelf: Shelf) -> None:
    """Saves from several threads of one process at once are all kept."""
    made = [shelf.new(f"t{n % 4}") for n in range(48)]
    with ThreadPoolExecutor(8) as pool:
        same(sorted(pool.map(shelf.store.save, made)), sorted(c.id for c in made), "what save returned")
        holds(all(pool.map(lambda c: shelf.store.load(c.id) == c, made)), "one differs")
    for n in range(4):
        same(sorted(shelf.listed(f"t{n}")), sorted(c.id for c in made[n::4]), f"the list of thread {n}")


@CHECKPOINTS
def what_is_given_is_kept(shelf: Shelf) -> None:
    """Changing a state after it was saved, or one that was loaded, changes nothing in the store."""
    state = {"list": [1]}
    made = shelf.save(state=state)
    state["list"].append(2)
    shelf.store.load(made.id).state["list"].append(3)
    same(shelf.store.load(made.id).state, {"list": [1]}, "the state")


@CHECKPOINTS
def connect_and_migrate_again(shelf: Shelf) -> None:
    """Connecting again does no harm, and migrating a schema that is up to date takes no step."""
    made = shelf.save()
    shelf.store.connect()
    shelf.store.migrate_schema()
    same(shelf.store.migrate_schema(), [], "the steps of a second migration")
    same(shelf.store.load(made.id), made, "what load returns")


@CHECKPOINTS
def validate_passes(shelf: Shelf) -> None:
    """A store that works is valid, and validating it leaves nothing behind."""
    made = shelf.save()
    shelf.store.validate()
    same(shelf.listed(), [made.id], "the list")


@CHECKPOINTS
def lists_its_threads(shelf: Shelf) -> None:
    """``threads`` gives every thread with checkpoints once (optional; backup needs it)."""
    _offered(shelf)
    for name in ("t", "t", "ü", "gone"):
        shelf.save(name)
    shelf.store.clear(shelf.thread("gone"))
    mine = sorted(thread for thread in shelf.store.threads() if thread.startswith(shelf.prefix))
    same(mine, sorted([shelf.thread("t"), shelf.thread("ü")]), "the threads")


@CHECKPOINTS
def backup_and_restore(shelf: Shelf) -> None:
    """What a backup wrote can be restored: every checkpoint of every thread, in order (optional)."""
    _offered(shelf)
    made = [shelf.save(state={"b": b"\x00", "t": (1,), "large": "x" * 9000}) for _ in range(3)]
    inner = shelf.save("t2", ns="inner")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "backup"
        holds(shelf.store.backup(path) >= 4, "the backup counts its checkpoints")
        for name in ("t", "t2"):
            shelf.store.clear(shelf.thread(name))
        try:
            count = shelf.store.restore(path)
        except StoreError as error:  # a store may take a backup back only when nothing else is in it
            raise NotOffered(f"restore was refused in a store in use: {error}") from None
        holds(count >= 4, "the restore counts its checkpoints")
        same(shelf.store.list(shelf.thread()), made[::-1], "the restored history")
        same(shelf.store.load(inner.id), inner, "the restored checkpoint of a namespace")
        try:
            shelf.store.backup(path)
        except FileExistsError:
            return
        raise AssertionError("a backup wrote over a file")


def _offered(shelf: Shelf) -> None:
    if type(shelf.store).threads is CheckpointStore.threads:
        raise NotOffered("the store does not write threads()")
