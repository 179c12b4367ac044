"""What a run came to, as a table for people and as JSON."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.torture.checker import Verdict
from tests.torture.nemesis import Stroke
from tests.torture.options import Options
from tests.torture.takeovers import quantile

#: Findings of one kind that are printed; the JSON has all.
SHOWN = 10
FINDINGS = ("lost", "stuck", "wrong", "doubled", "missing", "mute")


@dataclass
class Report:
    """The result on one pair."""

    options: Options
    verdict: Verdict
    strokes: list[Stroke]
    faults: Mapping[str, int]
    takeovers: list[float]
    seconds: float  #: of faults
    drained: float  #: seconds from the last fault to the last end
    started: int  #: workers
    ends: Mapping[str, int]  #: of workers that ended by themselves
    unavailable: int
    cuts: int  #: answers of the store cut off after its commit
    spooled: int
    errors: list[str] = field(default_factory=list)  #: of clients and of the harness itself
    folder: str = ""

    @property
    def is_good(self) -> bool:
        return self.verdict.is_good and not self.errors

    def figures(self) -> dict[str, Any]:
        """The scorecard's row."""
        verdict = self.verdict
        extra = verdict.executions - verdict.necessary
        return {
            "threads": verdict.threads,
            "runs": verdict.runs,
            "statuses": dict(verdict.statuses),
            "outputs committed": verdict.nodes,
            "lost": len(verdict.lost),
            "stuck": len(verdict.stuck),
            "wrong": len(verdict.wrong),
            "committed twice": len(verdict.doubled),
            "never committed": len(verdict.missing),
            "mute workers": len(verdict.mute),
            "executions": verdict.executions,
            "executions beyond the necessary": extra,
            "executions beyond the necessary, %": round(100 * extra / max(verdict.necessary, 1), 1),
            "takeovers": len(self.takeovers),
            "takeover p50, s": _rounded(quantile(self.takeovers, 0.5)),
            "takeover p99, s": _rounded(quantile(self.takeovers, 0.99)),
            "takeover max, s": _rounded(self.takeovers[-1] if self.takeovers else None),
            "threads recovered": verdict.recovered,
            "threads recovered a second": round(verdict.recovered / max(self.seconds, 1e-9), 2),
            "spool entries left": self.spooled,
            "faults": sum(self.faults.values()),
            "answers cut off after a commit": self.cuts,
            "workers started": self.started,
            "workers that ended by themselves": dict(self.ends),
            "calls that found the store away": self.unavailable,
            "seconds of faults": round(self.seconds, 1),
            "seconds to drain": round(self.drained, 1),
        }

    def document(self) -> dict[str, Any]:
        """Everything, for JSON."""
        findings = {name: getattr(self.verdict, name) for name in FINDINGS}
        return {
            "command": self.options.command(),
            "options": {
                key: value for key, value in asdict(self.options).items() if key not in ("keep", "progress")
            },
            "good": self.is_good,
            "figures": self.figures(),
            "faults": dict(self.faults),
            "findings": findings,
            "errors": self.errors,
            "takeovers": [round(seconds, 3) for seconds in self.takeovers],
            "strokes": [[stroke.at, stroke.fault, stroke.what] for stroke in self.strokes],
            "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        }

    def text(self) -> str:
        """For people."""
        lines = [f"{self.options.store} + {self.options.broker}: {'good' if self.is_good else 'NOT GOOD'}"]
        for name, value in self.figures().items():
            lines.append(f"  {name:36}{_shown(value)}")
        lines.append(f"  {'faults by kind':36}{_shown(dict(self.faults))}")
        for name in FINDINGS:
            lines += _listed(name, getattr(self.verdict, name))
        lines += _listed("errors", self.errors)
        lines.append(f"  again: {self.options.command()}")
        if self.folder:
            lines.append(f"  logs: {self.folder}")
        return "\n".join(lines)


def _listed(name: str, findings: list[str]) -> list[str]:
    if not findings:
        return []
    lines = [f"  {name}:", *(f"  - {finding}" for finding in findings[:SHOWN])]
    if len(findings) > SHOWN:
        lines.append(f"  - and {len(findings) - SHOWN} more")
    return lines


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {count}" for key, count in value.items()) or "none"
    return "-" if value is None else str(value)
