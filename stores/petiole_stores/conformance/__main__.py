"""``python -m petiole_stores.conformance URL``: check the store that a URL opens.

The store must be empty: the checks declare workers dead and leave rows behind. Exits with 0 when every check passed or
was skipped, 1 when one failed, 2 when the store could not be used.
"""

from __future__ import annotations

import sys

from petiole_stores.conformance import check_checkpoint_store, check_ledger
from petiole_stores.errors import PetioleError
from petiole_stores.opening import open_checkpoint_store, open_store
from petiole_stores.store import Store


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(__doc__)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    url = arguments[0]
    try:
        with open_checkpoint_store(url) as store:
            full = isinstance(store, Store)
            if isinstance(store, Store) and (store.list_runs().runs or store.list_workers()):
                print(f"{store.url.shown} has runs or workers in it: give an empty store", file=sys.stderr)
                return 2
        reports = [check_checkpoint_store(lambda: open_checkpoint_store(url))]
        if full:
            reports.append(check_ledger(lambda: open_store(url)))
    except PetioleError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    for report in reports:
        print(report)
    return 0 if all(report.ok for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
