"""Tasks and the namespaces that they own: which of them a replay or a resume is about."""

from __future__ import annotations

from collections.abc import Iterable

from petiole_stores.records import Task


def replaceable(tasks: Iterable[Task]) -> list[Task]:
    """The tasks of a run that a replay has to replace, in the order given: those that failed and were not replaced, but
    for owners with such a task in their namespace."""
    failed = [task for task in tasks if task.status == "failed" and not task.replaced]
    spaces = {task.ns for task in failed}
    return [task for task in failed if not task.child or task.child not in spaces]


def resumable(tasks: Iterable[Task]) -> list[Task]:
    """The tasks of a run that a resume may answer, in the order given: those that are interrupted, but for owners with
    such a task in their namespace."""
    interrupted = [task for task in tasks if task.status == "interrupted"]
    spaces = {task.ns for task in interrupted}
    return [task for task in interrupted if not task.child or task.child not in spaces]


def dies_with_owner(ns: str) -> bool:
    """Whether a namespace is of one task alone: its last part names that task."""
    return ":" in ns.rpartition("|")[2]
