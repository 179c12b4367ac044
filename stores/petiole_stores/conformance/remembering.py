"""Checks of items: written, found in order, gone when their time is over."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from petiole_stores.conformance.report import holds, same
from petiole_stores.conformance.rules import LEDGER
from petiole_stores.conformance.scene import Scene
from petiole_stores.errors import InputError
from petiole_stores.items import Item, Namespace, NewItem


def _space(scene: Scene, *labels: str) -> Namespace:
    return (scene.prefix, *labels)


def _new(
    scene: Scene,
    key: str,
    value: str | None = "1",
    *labels: str,
    ttl: float | None = None,
    if_absent: bool = False,
) -> NewItem:
    return NewItem(_space(scene, *labels), key, value, ttl, if_absent)


def _put(scene: Scene, *args: str, ttl: float | None = None) -> None:
    key, value, *labels = args
    same(scene.store.put_items([_new(scene, key, value, *labels, ttl=ttl)]), [True], f"the put of {key}")
    scene.tick(1)


def _get(scene: Scene, key: str, *labels: str, refresh: bool = False) -> Item | None:
    return scene.store.get_items([(_space(scene, *labels), key)], refresh=refresh)[0]


def _value(scene: Scene, key: str, *labels: str) -> str | None:
    found = _get(scene, key, *labels)
    return None if found is None else found.value


def _found(scene: Scene, *labels: str, limit: int = 100, offset: int = 0) -> list[str]:
    return [item.key for item in scene.store.search_items(_space(scene, *labels), limit=limit, offset=offset)]


def _refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except InputError:
        return True
    return False


@LEDGER
def items_come_back(scene: Scene) -> None:
    """An item comes back whole under its namespace and key, in the order asked for; others are None."""
    began = scene.now
    batch = [_new(scene, "k", '{"a": "ü\\n"}', "x"), _new(scene, "k", "2", "y", ttl=60.0)]
    same(scene.store.put_items(batch), [True, True], "what put_items says")
    wanted = [
        Item(_space(scene, "y"), "k", "2", began, began, began + 60.0),
        None,
        Item(_space(scene, "x"), "k", '{"a": "ü\\n"}', began, began, None),
    ]
    places = [(_space(scene, "y"), "k"), (_space(scene, "x"), "K"), (_space(scene, "x"), "k")]
    same(scene.store.get_items(places), wanted, "what get_items gives")
    same(scene.store.get_items([]), [], "no items")
    same(scene.store.put_items([]), [], "no puts")


@LEDGER
def items_are_replaced(scene: Scene) -> None:
    """A put over an item replaces value and ttl, and leaves the time of its making."""
    began = scene.now
    _put(scene, "k", "1", ttl=5.0)
    _put(scene, "k", "2")
    same(_get(scene, "k"), Item(_space(scene), "k", "2", began, began + 1, None), "the item")
    same(_found(scene), ["k"], "what is found")


@LEDGER
def items_are_deleted(scene: Scene) -> None:
    """Putting None deletes; deleting again, or what never was, does nothing; the next put makes a new item."""
    for key in ("k", "l"):
        _put(scene, key, "1")
    for _ in range(2):
        gone = [_new(scene, "k", None), _new(scene, "none", None)]
        same(scene.store.put_items(gone), [True, True], "what put_items says")
        same((_value(scene, "k"), _found(scene)), (None, ["l"]), "what is left")
    _put(scene, "k", "2")
    found = _get(scene, "k")
    same(found and found.created_at, scene.now - 1, "when it was made")
    scene.store.put_items([_new(scene, "k", None), _new(scene, "l", None)])
    same(scene.store.list_namespaces(_space(scene)), [], "the namespaces")


@LEDGER
def items_if_absent(scene: Scene) -> None:
    """With if_absent what is there stays; the same value again is True, another one False."""
    began = scene.now
    answers = []
    for value in ("1", "1", "2"):
        answers += scene.store.put_items([_new(scene, "k", value, ttl=50.0, if_absent=True)])
        scene.tick(1)
    same(answers, [True, True, False], "the answers")
    same(_get(scene, "k"), Item(_space(scene), "k", "1", began, began, began + 50.0), "the item")
    scene.tick(50)
    same(scene.store.put_items([_new(scene, "k", "2", if_absent=True)]), [True], "after its time")
    same(_value(scene, "k"), "2", "the value")


@LEDGER
def items_in_one_batch(scene: Scene) -> None:
    """Puts of one batch on the same item take effect in their order."""
    _put(scene, "old", "0")
    batch = [
        _new(scene, "k", "1"),
        _new(scene, "k", "2", if_absent=True),
        _new(scene, "old", None),
        _new(scene, "old", "3", if_absent=True),
        _new(scene, "k", "4"),
    ]
    same(scene.store.put_items(batch), [True, False, True, True, True], "the answers")
    same((_value(scene, "k"), _value(scene, "old")), ("4", "3"), "the values")


@LEDGER
def items_expire(scene: Scene) -> None:
    """An item whose time is over is found by nothing, before it is purged and after."""
    for key in ("a", "b"):
        _put(scene, key, "1", "x", ttl=10.0)
    _put(scene, "c", "1", "y")
    scene.tick(7)  # a's time is over at this very moment, b's in a second
    same((_value(scene, "a", "x"), _value(scene, "b", "x")), (None, "1"), "the values")
    scene.tick(1)
    for _ in range(2):
        same([_value(scene, key, "x") for key in "ab"], [None, None], "the values")
        same(_found(scene), ["c"], "what is found")
        same(scene.store.list_namespaces(_space(scene)), [_space(scene, "y")], "the namespaces")
        while scene.store.purge_items(1):
            pass
    _put(scene, "a", "2", "x")
    found = _get(scene, "a", "x")
    same(
        found and (found.value, found.created_at, found.expires_at), ("2", scene.now - 1, None), "the new one"
    )


@LEDGER
def items_are_purged(scene: Scene) -> None:
    """Purging removes what is over, up to its limit, and says how many; the living stay."""
    while scene.store.purge_items():
        pass
    for n in range(5):
        _put(scene, f"k{n}", "1", f"n{n}", ttl=3.0 if n else None)
    _put(scene, "late", "1", ttl=30.0)
    scene.tick(10)
    same([scene.store.purge_items(limit) for limit in (3, 3, 3)], [3, 1, 0], "what is removed")
    same(_found(scene), ["late", "k0"], "what is left")


@LEDGER
def items_are_removed_together(scene: Scene) -> None:
    """remove_items takes what is below a prefix, up to its limit, whether its time is over or not."""
    for labels in (("a",), ("a", "b"), ("ab",)):
        for n in range(3):
            _put(scene, f"k{n}", "1", *labels, ttl=1.0 if n == 2 else None)
    same([scene.store.remove_items(_space(scene, "a"), limit=n) for n in (4, 4, 4)], [4, 2, 0], "the answers")
    same(_found(scene), ["k1", "k0"], "what is left")
    same(scene.store.list_namespaces(_space(scene)), [_space(scene, "ab")], "the namespaces")
    holds(_refused(lambda: scene.store.remove_items(())), "everything was removed")
    holds(_refused(lambda: scene.store.remove_items(_space(scene), limit=0)), "a limit of 0 was taken")


@LEDGER
def items_are_refreshed(scene: Scene) -> None:
    """A read with refresh lets an item live on for its ttl; one without does not, nor does it touch the order."""
    _put(scene, "k", "1", ttl=10.0)
    _put(scene, "l", "1", ttl=10.0)
    scene.tick(7)
    for key in ("k", "l"):
        _get(scene, key, refresh=key == "k")
    found = _get(scene, "k")
    same(found and (found.expires_at, found.updated_at), (scene.now + 10.0, scene.now - 9), "its times")
    scene.tick(5)
    same((_value(scene, "k"), _value(scene, "l")), ("1", None), "the values")
    _put(scene, "forever", "1")
    _get(scene, "forever", refresh=True)
    same(_found(scene), ["forever", "k"], "the order")
    scene.tick(6)
    same(_found(scene), ["forever"], "what is left")


@LEDGER
def items_are_found_newest_first(scene: Scene) -> None:
    """A search gives the newest update first, those of one batch by namespace and key, page by page."""
    scene.store.put_items([_new(scene, key, "1", label) for label in ("y", "x") for key in ("b", "a", "ü")])
    scene.tick(1)
    _put(scene, "c", "1", "x", "deep")
    _put(scene, "a", "2", "y")
    wanted = [("y", "a"), ("x", "c"), ("x", "a"), ("x", "b"), ("x", "ü"), ("y", "b"), ("y", "ü")]
    found = scene.store.search_items(_space(scene), limit=100)
    same([(item.namespace[1], item.key) for item in found], wanted, "all")
    pages = [scene.store.search_items(_space(scene), limit=3, offset=n) for n in (0, 3, 6, 9)]
    same([item for page in pages for item in page], found, "the pages")
    same(_found(scene, "x"), ["c", "a", "b", "ü"], "of one label")
    same(_found(scene, "x", "deep"), ["c"], "of two labels")


@LEDGER
def items_of_namespaces_apart(scene: Scene) -> None:
    """Labels are compared whole: no namespace shows another's items, and its own are all there."""
    spaces = [
        ("a",),
        ("a", "b"),
        ("ab",),
        ("a", "b", "c", "d"),
        ("A",),
        ("a b",),
        ("a.b",),
        ("*",),
        ("%",),
        ("ü",),
    ]
    for labels in spaces:
        _put(scene, "/".join(labels), "1", *labels)
    same(_found(scene, "a"), ["a/b/c/d", "a/b", "a"], "below a")
    for labels in spaces[2:]:
        same(_found(scene, *labels), ["/".join(labels)], f"below {labels}")
    same(len(_found(scene)), len(spaces), "the whole")
    same(scene.store.search_items((scene.prefix[:-1],)), [], "below half a label")


@LEDGER
def item_namespaces_are_listed(scene: Scene) -> None:
    """Namespaces are listed in order, each once, by prefix, suffix, wildcard and depth."""
    for labels in (("b",), ("a", "x"), ("a", "y", "z"), ("a", "x", "z"), ("a b", "z"), ("a",)):
        _put(scene, "k", "1", *labels)
        _put(scene, "l", "1", *labels)

    def listed(*prefix: str, **options: object) -> list[str]:
        found = scene.store.list_namespaces(_space(scene, *prefix), **options)  # type: ignore[arg-type]
        return ["/".join(labels[1:]) for labels in found]

    everything = ["a", "a/x", "a/x/z", "a/y/z", "a b/z", "b"]
    same(listed(), everything, "all")
    same(listed("a"), everything[:4], "below a")
    same(listed(suffix=("z",)), ["a/x/z", "a/y/z", "a b/z"], "by suffix")
    same(listed("*", "x"), ["a/x", "a/x/z"], "with a wildcard")
    same(listed(suffix=("*", "x")), ["a/x"], "with a wildcard in the suffix")
    same(listed(max_depth=2), ["a", "a b", "b"], "cut off")
    same(listed(max_depth=3, suffix=("z",)), ["a/x", "a/y", "a b/z"], "cut off, by suffix")
    same(
        [listed(limit=2, offset=n) for n in (0, 2, 4, 6)],
        [everything[n : n + 2] for n in (0, 2, 4, 6)],
        "pages",
    )
    same(listed("none"), [], "of what is not there")


@LEDGER
def items_hold_any_text(scene: Scene) -> None:
    """Values of megabytes come back, and keys and labels of any printable characters."""
    text = '"' + "".join(chr(0x4E00 + n % 5000) for n in range(300_000)) + '"'
    _put(scene, "large", text)
    holds(_value(scene, "large") == text, "the large value differs")
    for odd in ("a b", "a/b", "q'\"q", "back\\slash", "{x}", "$", "日本", "x" * 255, "\U0001f33f" * 255):
        _put(scene, odd, '"v"', odd)
        same(_value(scene, odd, odd), '"v"', f"the item {odd[:20]!r}")


@LEDGER
def items_that_cannot_be(scene: Scene) -> None:
    """A namespace, key, ttl or page that no store could keep is refused, and nothing of its batch is written."""
    store = scene.store
    good = _new(scene, "good")
    for bad in (
        NewItem((), "k", "1"),
        NewItem(("",), "k", "1"),
        NewItem(("a\x1fb",), "k", "1"),
        NewItem(("a" * 256,), "k", "1"),
        NewItem(("a" * 200,) * 8, "k", "1"),
        _new(scene, ""),
        _new(scene, "a\x00"),
        _new(scene, "k" * 256),
        _new(scene, "k", ttl=0.0),
        _new(scene, "k", ttl=float("nan")),
        _new(scene, "k", None, if_absent=True),
    ):
        holds(_refused(lambda bad=bad: store.put_items([good, bad])), f"{bad!r} was taken")  # type: ignore[misc]
    for limit, offset in ((0, 0), (1001, 0), (1, -1)):
        holds(
            _refused(lambda limit=limit, offset=offset: store.search_items(limit=limit, offset=offset)),  # type: ignore[misc]
            f"a page of {limit} from {offset} was given",
        )
    holds(_refused(lambda: store.purge_items(0)), "purge_items took a limit of 0")
    holds(_refused(lambda: store.list_namespaces(max_depth=0)), "max_depth 0 was taken")
    same(_value(scene, "good"), None, "what stood in the same batch")


@LEDGER
def items_of_many_writers(scene: Scene) -> None:
    """Of many that put one item at once if it is absent one wins, and all see its value."""
    with ThreadPoolExecutor(8) as pool:
        for key in ("k1", "k2", "k3"):

            def put(n: int, key: str = key) -> bool:
                others = [_new(scene, f"{key}.{n % 3}", str(n)), _new(scene, f"{key}.{(n + 1) % 3}", str(n))]
                return scene.store.put_items([*others, _new(scene, key, str(n), if_absent=True)])[2]

            won = [n for n, mine in enumerate(pool.map(put, range(8))) if mine]
            same([str(n) for n in won], [_value(scene, key)], f"who won {key}")
