"""``python -m tests.torture``: see ``--help``."""

from __future__ import annotations

import json
import sys

from tests.torture.ground import UnavailableError
from tests.torture.options import parse
from tests.torture.trial import Trial


def main(arguments: list[str] | None = None) -> int:
    trials, target = parse(arguments)
    reports = []
    missing = False
    for number, options in enumerate(trials, 1):
        print(f"[{number}/{len(trials)}] {options.command()}", flush=True)
        try:
            report = Trial(options, lambda line: print(f"  {line}", flush=True)).run()
        except UnavailableError as error:
            missing = True
            print(f"  not run: {error}", flush=True)
            continue
        print(report.text(), flush=True)
        reports.append(report)
    if target is not None:
        target.write_text(
            json.dumps([report.document() for report in reports], indent=1) + "\n", encoding="utf-8"
        )
    if not all(report.is_good for report in reports):
        return 1
    return 2 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
