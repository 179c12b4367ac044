"""Readers of documents: made at import, so that no two threads of a process are the first to read a type at once."""

import ast
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for part in ("app", "workers", "stores") for path in (ROOT / part).rglob("*.py"))
#: Where readers are made: functions that are called at import.
MAKERS = {"decoder", "unpacker", "converter", "optional"}


def readers_made_late(tree: ast.Module) -> Iterator[int]:
    """The lines on which a type is given to msgspec while something is being read."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if getattr(function, "name", "") in MAKERS:
            continue
        for call in ast.walk(function):
            if not isinstance(call, ast.Call):
                continue
            name = ast.unparse(call.func)
            typed = any(keyword.arg == "type" for keyword in call.keywords)
            if (
                name == "msgspec.convert"
                or (name.endswith("decode") and typed)
                or (name.endswith(".Decoder") and (typed or call.args))
                or name in MAKERS
            ):
                yield call.lineno


def test_no_reader_is_made_while_something_is_read() -> None:
    late = {
        f"{path.relative_to(ROOT)}:{line}"
        for path in SOURCES
        for line in readers_made_late(ast.parse(path.read_text()))
        if path.name != "decoding.py" or path.parent.name != "petiole_stores"
    }
    assert not late, "take petiole_stores.decoding's readers, at the level of the module"


@pytest.mark.parametrize(
    "code",
    [
        "def f(x):\n    return msgspec.convert(x, Run)",
        "def f(x):\n    return msgspec.json.decode(x, type=Run)",
        "class A:\n    def f(self, x):\n        return decode(x, type=Run)",
        "f = lambda x: msgspec.json.Decoder(Run).decode(x)",
        "async def f(x):\n    return decoder(Run)(x)",
    ],
)
def test_such_a_reader_is_found(code: str) -> None:
    assert list(readers_made_late(ast.parse(code)))


@pytest.mark.parametrize("maker", ["decoder", "unpacker", "converter"])
def test_threads_read_a_new_type_at_once(maker: str) -> None:
    """Readers that learn a type at its first use end such a process by a signal, most of the time."""
    code = """
        import sys, threading
        import msgspec
        from petiole_stores import decoding

        sys.setswitchinterval(1e-6)
        plain = {"x": [{"a1": 3}], "z": {"a2": 3}}
        told = {"decoder": msgspec.json.encode, "unpacker": msgspec.msgpack.encode}.get(MAKER, lambda it: it)(plain)
        for number in range(200):
            inner = msgspec.defstruct(f"Inner{number}", [(f"a{index}", int | None, None) for index in range(30)])
            outer = msgspec.defstruct(f"Outer{number}", [("x", list[inner]), ("z", inner | None, None)])
            read, barrier, right = getattr(decoding, MAKER)(outer), threading.Barrier(4), []

            def go():
                barrier.wait()
                right.append(read(told).z.a2 == 3)

            threads = [threading.Thread(target=go) for _ in range(4)]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
            assert right == [True] * 4
    """
    done = subprocess.run(
        [sys.executable, "-c", f"MAKER = {maker!r}\n{textwrap.dedent(code)}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr or f"ended by signal {-done.returncode}"
