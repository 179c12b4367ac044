"""The command line of the torture harness."""

from __future__ import annotations

import shlex

import pytest

from tests.torture.faults import FAULTS
from tests.torture.options import NETWORK, PAIRS, faults_for, parse


def test_nothing_named_means_the_four_pairs() -> None:
    trials, target = parse([])
    assert [(trial.store, trial.broker) for trial in trials] == [*PAIRS]
    assert len({trial.seed for trial in trials}) == 1
    assert target is None


def test_the_command_of_a_trial_makes_the_same_trial() -> None:
    arguments = [
        "--store",
        "redis",
        "--broker",
        "rabbitmq",
        "--seed",
        "5",
        "--minutes",
        "0.3",
        "--drain",
        "33",
    ]
    [trial], _ = parse([*arguments, "--faults", "doubt,child", "--set", "batch=1"])
    [again], _ = parse(shlex.split(trial.command())[3:])
    assert again == trial


def test_faults_that_a_pair_cannot_have_are_left_out() -> None:
    assert not {"clock", "store-kill", *NETWORK} & {*faults_for("sqlite", "embedded")}
    assert "store-kill" not in faults_for("postgresql://elsewhere/db", "redis")
    assert {*faults_for("postgresql", "redis")} == {*FAULTS}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--store", "mysql"], "'mysql' is neither"),
        (["--faults", "rain"], "'rain' is not one of"),
        (["--workers", "0"], "0 is not above 0"),
        (["--set", "colour=red"], "'colour=red' is not NAME=VALUE"),
    ],
)
def test_mistakes_are_named(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(arguments)
    assert said in capsys.readouterr().err


def test_help_names_every_fault(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    told = capsys.readouterr().out
    assert all(name in told for name in FAULTS)
