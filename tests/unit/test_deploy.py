"""What ``compose.yaml`` and ``deploy/Dockerfile`` say is true: their commands parse, their files and services are there."""

from __future__ import annotations

import fnmatch
import importlib
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer.main
import yaml

from petiole_stores.opening import BUILT_IN
from petiole_workers.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "petiole"}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments, continuation lines joined, comments left out."""
    text = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [
        (word, rest.strip())
        for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())
    ]


def last(word: str) -> str:
    """The argument of the last instruction of this kind."""
    return [rest for name, rest in instructions() if name == word][-1]


class UsageError(Exception):
    """A command line that ``petiole`` refuses."""


def parse(arguments: list[str]) -> str:
    """Parse a command line of ``petiole`` without running it; gives the command's path, raises ``UsageError``."""
    # Typed loosely: typer builds on click, or on a copy of it that it carries, by its version.
    command: Any = typer.main.get_command(importlib.import_module("petiole.cli.tree").app)
    context: Any = None
    name, rest = "petiole", list(arguments)
    try:
        while True:
            context = command.make_context(name, rest, parent=context)
            if not hasattr(command, "resolve_command"):
                return str(context.command_path)
            rest = [*context._protected_args, *context.args]
            if not rest and command.invoke_without_command:
                return str(context.command_path)
            name, command, rest = command.resolve_command(context, rest)
    except Exception as error:
        if getattr(error, "exit_code", None) == 0:  # --help has printed and is done
            return str(context.command_path if context else name)
        raise UsageError(f"petiole {' '.join(arguments)}: {error}") from error


def command_lines() -> list[Any]:
    """Every command line of ``petiole`` in the two files, with where it stands."""
    lines = [pytest.param(service["command"], id=f"compose-{name}") for name, service in OURS.items()]
    lines.append(pytest.param(json.loads(last("CMD")), id="Dockerfile-CMD"))
    health = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    assert health[0] == "petiole"
    lines.append(pytest.param(health[1:], id="Dockerfile-HEALTHCHECK"))
    comments = re.findall(
        r"docker compose run --rm cli (.+)", (ROOT / "compose.yaml").read_text(encoding="utf-8")
    )
    lines += [
        pytest.param(comment.split(), id=f"compose-comment-{comment.split()[0]}") for comment in comments
    ]
    return lines


@pytest.mark.parametrize("arguments", command_lines())
def test_each_command_line_parses(arguments: list[str]) -> None:
    assert parse(arguments).startswith("petiole")


@pytest.mark.parametrize(
    "wrong", [["no-such-command"], ["worker", "--no-such-option"], ["db"], ["db", "downgrade-all"]]
)
def test_the_check_sees_wrong_command_lines(wrong: list[str]) -> None:
    with pytest.raises(UsageError):
        parse(wrong)


@pytest.mark.parametrize("arguments", [line for line in command_lines() if "--graphs" in line.values[0]])
def test_the_graphs_that_workers_serve_exist(arguments: list[str]) -> None:
    module, _, attribute = arguments[arguments.index("--graphs") + 1].partition(":")
    assert hasattr(importlib.import_module(module), attribute)


def test_examples_are_found_at_the_top_of_the_checkout() -> None:
    examples = importlib.import_module("petiole.examples")
    assert str(ROOT / "examples") in list(examples.__path__)


def test_the_system_is_a_store_two_brokers_a_schema_job_and_two_workers() -> None:
    workers = [name for name, service in OURS.items() if service["command"][0] == "worker"]
    assert len(workers) == 2
    assert {"postgres", "redis", "rabbitmq"} <= set(SERVICES)
    assert OURS["schema"]["command"] == ["db", "upgrade"]
    for name in workers:
        assert OURS[name]["depends_on"]["schema"]["condition"] == "service_completed_successfully"


def test_services_wait_for_what_exists_and_is_looked_after() -> None:
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            assert needed in SERVICES, f"{name} waits for {needed}"
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[needed], f"{name} waits for the health of {needed}"
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in COMPOSE["volumes"]


def test_docker_waits_longer_than_a_worker_does() -> None:
    for service in OURS.values():
        command = service["command"]
        if "--grace" in command:
            grace = float(command[command.index("--grace") + 1])
            assert float(service["stop_grace_period"].removesuffix("s")) > grace


def test_store_and_broker_name_services_and_schemes_that_are_there() -> None:
    for service in OURS.values():
        settings = service["environment"]
        assert {name.removeprefix("PETIOLE_").lower() for name in settings} <= set(Settings.__struct_fields__)
        store = urlsplit(settings["PETIOLE_STORE"])
        assert store.scheme in BUILT_IN
        assert store.hostname in SERVICES
        account = SERVICES[store.hostname]["environment"]
        assert (store.username, store.password) == (account["POSTGRES_USER"], account["POSTGRES_PASSWORD"])
        assert store.path == f"/{account['POSTGRES_DB']}"
        default = re.fullmatch(r"\$\{PETIOLE_BROKER:-(.+)\}", settings["PETIOLE_BROKER"])
        assert default is not None
        assert urlsplit(default[1]).hostname in SERVICES


def test_nothing_listens_outside_the_project() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == []


def test_the_image_is_small_and_not_run_by_root() -> None:
    words = [word for word, _ in instructions()]
    bases = [rest for word, rest in instructions() if word == "FROM"]
    assert len(bases) == 2
    assert bases[-1].endswith("-slim")
    assert words.index("USER") > len(words) - 1 - words[::-1].index("FROM")
    assert last("USER") not in {"root", "0"}
    assert json.loads(last("ENTRYPOINT")) == ["petiole"]


def test_what_the_image_is_built_from_is_there_and_sent() -> None:
    sent = [
        line[1:]
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    ]
    for word, rest in instructions():
        if word != "COPY" or rest.startswith("--from"):
            continue
        for source in rest.split()[:-1]:
            assert (ROOT / source).exists(), f"COPY {source}: no such file"
            assert any(fnmatch.fnmatch(source, pattern) for pattern in sent), (
                f".dockerignore keeps {source} out"
            )
