"""Every setting is documented, with its default where that is a plain value."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from petiole_workers.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "workers.md").read_text(encoding="utf-8")
ROWS = {
    name: row
    for row in PAGE.split("## Settings", 1)[1].splitlines()
    if row.startswith("| `")
    for name in re.findall(r"`(\w+)`", row.split("|")[1])
}


@pytest.mark.parametrize("name", Settings.__struct_fields__)
def test_the_setting_is_in_the_table(name: str) -> None:
    assert name in ROWS, f"docs/workers.md does not have the setting {name}"


@pytest.mark.parametrize(
    "name", ["lease", "sweep", "grace", "max_crashes", "inline_slice", "batch", "in_process_wait"]
)
def test_the_default_is_what_the_table_says(name: str) -> None:
    said = ROWS[name].split("|")[2].strip()

    assert float(said) == float(getattr(Settings(), name))


def test_the_table_has_no_other_settings() -> None:
    assert set(ROWS) - set(Settings.__struct_fields__) == set()
