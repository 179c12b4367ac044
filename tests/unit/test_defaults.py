"""Which store and broker are in force, and what ``petiole dev`` watches."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from petiole import Settings
from petiole.defaults import ground, without_password
from petiole.watching import FileWatch, folders_of
from petiole_workers.launch import TRANSPORT_VARIABLE
from tests.waiting import wait_until


def test_what_is_configured_is_taken_as_it_is(tmp_path: Path) -> None:
    settings = Settings(
        store="postgresql://u:p@h/d", broker="redis://:p@h/0", data_dir=str(tmp_path / "data")
    )
    place = ground(settings)
    assert place.settings == settings
    assert (place.notes, place.embedded, place.environment) == ([], None, {})
    assert place.is_broker_up()
    assert place.broker_shown == "redis://:***@h/0"
    assert not (tmp_path / "data").exists()


def test_the_embedded_ones_fill_in_and_say_so(tmp_path: Path) -> None:
    place = ground(Settings(data_dir=str(tmp_path)))
    assert place.store_url == f"sqlite:///{tmp_path / 'petiole.db'}"
    assert place.embedded is not None
    assert place.settings.broker == place.embedded.url
    assert len(place.notes) == 2
    assert all("for one machine only" in note for note in place.notes)


def test_each_is_filled_in_alone(tmp_path: Path) -> None:
    place = ground(Settings(store="memory://", data_dir=str(tmp_path)))
    assert (place.store_url, len(place.notes)) == ("memory://", 1)
    place = ground(Settings(broker="redis://h/0", data_dir=str(tmp_path)))
    assert (place.settings.broker, place.embedded, len(place.notes)) == ("redis://h/0", None, 1)


def test_a_worker_gets_the_transport_options_of_its_starter(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"data_folder_in": "x", "polling_interval": 0.01}
    monkeypatch.setenv(TRANSPORT_VARIABLE, json.dumps(options))
    place = ground(Settings(store="memory://", broker="filesystem://"))
    assert place.transport_options == options
    assert json.loads(place.environment[TRANSPORT_VARIABLE]) == options


def test_passwords_are_not_shown() -> None:
    assert without_password("amqp://u:secret@h//") == "amqp://u:***@h//"
    assert without_password("amqp://u@h//") == "amqp://u@h//"


def test_a_package_s_folder_is_watched_and_nothing_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "watched_shop" / "flows").mkdir(parents=True)
    (tmp_path / "watched_shop" / "__init__.py").write_text("raise SystemExit('imported')")
    (tmp_path / "watched_flow.py").write_text("raise SystemExit('imported')")
    assert folders_of(["watched_shop.flows:graph"]) == [tmp_path / "watched_shop"]
    assert folders_of(["watched_flow"]) == [tmp_path]
    assert folders_of(["no_such_thing:graph", ":graph"]) == []


def test_changes_of_python_files_are_told(tmp_path: Path) -> None:
    told: list[str] = []
    arrived = threading.Event()
    watch = FileWatch([tmp_path], lambda why: (told.append(why), arrived.set()))  # type: ignore[func-returns-value]
    (tmp_path / "a.py").write_text("")
    (tmp_path / ".hidden").mkdir()
    watch.start()
    try:
        (tmp_path / "notes.txt").write_text("no code")
        (tmp_path / ".hidden" / "b.py").write_text("")
        (tmp_path / "c.py").write_text("")
        wait_until(arrived.is_set, 10, "the change to be told")
        assert told == ["c.py changed"]
        arrived.clear()
        (tmp_path / "a.py").unlink()
        wait_until(arrived.is_set, 10, "the removal to be told")
        assert told[1] == "a.py changed"
    finally:
        watch.stop()
