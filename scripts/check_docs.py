"""Check the documentation: relative links resolve, Python blocks compile, no path of one machine is in the tree.

Run as ``python scripts/check_docs.py [FOLDER]``; prints every fault as ``file:line: what`` and leaves with 1 if
there is one. Only the standard library is used.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
FENCE = re.compile(r"^(\s*)(`{3,}|~{3,})\s*(\w*)")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*\s*$")
# The home folders and scratch folders of one machine, and names of package registries: neither belongs in a
# repository that is to work anywhere. Written in pieces so that this file passes its own check.
MACHINE = re.compile(
    "|".join(
        [
            r"(?<![\w.])/" + r"(?:root|work|home/\w+|Users/\w+)/[\w.]",
            r"/opt/" + r"(?:pv|pypi|wheels)\b",
            r"\b(?:files\.python" + r"hosted|py" + r"pi|test\.py" + r"pi)\.org/simple",
            r"\bindex" + r"-url\s*=\s*http",
        ]
    )
)


class Fault(NamedTuple):
    """One thing wrong in one line of a file."""

    path: Path
    line: int
    what: str


class Block(NamedTuple):
    """One fenced code block: its language, the line where its text starts, its text."""

    language: str
    line: int
    text: str


def split(text: str) -> tuple[list[tuple[int, str]], list[Block]]:
    """Split a Markdown text into its numbered prose lines and its fenced code blocks."""
    prose: list[tuple[int, str]] = []
    blocks: list[Block] = []
    fence = language = ""
    start = 0
    lines: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        match = FENCE.match(line)
        if not fence and match:
            fence, language, start, lines = match[2], match[3], number + 1, []
        elif fence and match and match[2].startswith(fence) and not match[3]:
            blocks.append(Block(language, start, textwrap.dedent("\n".join(lines) + "\n")))
            fence = ""
        elif fence:
            lines.append(line)
        else:
            prose.append((number, line))
    if fence:
        blocks.append(Block("unclosed", start, "\n".join(lines)))
    return prose, blocks


def anchors(text: str) -> set[str]:
    """The anchors that the headings of a Markdown text make, by the rule of the usual forges."""
    found: set[str] = set()
    for _, line in split(text)[0]:
        if match := HEADING.match(line):
            slug = re.sub(r"[^\w\- ]", "", match[1].lower()).replace(" ", "-")
            number = 1
            name = slug
            while name in found:
                name, number = f"{slug}-{number}", number + 1
            found.add(name)
    return found


def check_links(root: Path, path: Path, prose: list[tuple[int, str]]) -> Iterator[Fault]:
    """Relative links of one page that lead nowhere, or out of the repository."""
    for number, line in prose:
        for target in LINK.findall(re.sub(r"`[^`]*`", "", line)):
            if re.match(r"[a-z][a-z+.-]*:", target):
                continue
            name, _, anchor = target.partition("#")
            aim = (path.parent / name).resolve() if name else path
            if not aim.is_relative_to(root.resolve()) or not aim.exists():
                yield Fault(path, number, f"the link {target!r} leads nowhere")
            elif anchor and aim.suffix == ".md" and anchor not in anchors(aim.read_text(encoding="utf-8")):
                yield Fault(path, number, f"the link {target!r} names no heading of {aim.name}")


def check_blocks(path: Path, blocks: list[Block]) -> Iterator[Fault]:
    """Fences left open, and Python blocks that do not compile (``await`` at the top is allowed)."""
    for block in blocks:
        if block.language == "unclosed":
            yield Fault(path, block.line, "a code fence is never closed")
        if block.language not in {"python", "py"}:
            continue
        try:
            compile(block.text, str(path), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        except SyntaxError as error:
            yield Fault(
                path, block.line + (error.lineno or 1) - 1, f"the Python block does not compile: {error.msg}"
            )


def check_page(root: Path, path: Path) -> Iterator[Fault]:
    """Every fault of one Markdown page."""
    prose, blocks = split(path.read_text(encoding="utf-8"))
    yield from check_links(root, path, prose)
    yield from check_blocks(path, blocks)


def check_machine(path: Path) -> Iterator[Fault]:
    """Lines of one file that name a path of one machine or a package registry."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return
    for number, line in enumerate(text.splitlines(), 1):
        if match := MACHINE.search(line):
            yield Fault(path, number, f"{match[0]!r} belongs to one machine")


def tracked(root: Path) -> list[Path]:
    """The files that git tracks or would track; without git, everything outside dot folders."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        files = (path for path in root.rglob("*") if path.is_file())
        return [
            path for path in files if not any(part.startswith(".") for part in path.relative_to(root).parts)
        ]
    return [path for name in sorted(set(names)) if name and (path := root / name).is_file()]


def check(root: Path) -> list[Fault]:
    """Every fault of the tree at ``root``."""
    faults: list[Fault] = []
    for path in tracked(root):
        if path.suffix == ".md":
            faults += check_page(root, path)
        faults += check_machine(path)
    return faults


def main() -> None:
    """Print the faults of the tree and leave with 1 if there are any."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent)
    faults = check(root)
    for fault in faults:
        print(f"{fault.path.relative_to(root)}:{fault.line}: {fault.what}")
    if faults:
        sys.exit(1)
    print(f"documentation: {sum(path.suffix == '.md' for path in tracked(root))} pages, no fault")


if __name__ == "__main__":
    main()
