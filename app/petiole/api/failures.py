"""Log-ins that failed, held against the address that they came from: proving a key costs this server more than trying one."""

from __future__ import annotations

from collections import OrderedDict

from starlette.responses import Response

from petiole.api.limits import CALLERS, Bucket
from petiole.api.problems import problem

#: So many wrong keys and tokens from one address are answered with 401 at once, and so many more each second.
BURST, RATE = 30.0, 1.0


class Failures:
    """Wrong credentials by address. Those that were proven before are taken all the same."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def refusal(self, address: str) -> Response | None:
        """429 for an address that has failed too often of late, before anything is computed."""
        bucket = self._buckets.get(address)
        wait = bucket.wait(RATE, BURST) if bucket is not None else 0.0
        if not wait:
            return None
        return problem(
            429,
            f"too many wrong keys or tokens have come from {address}: try again in {wait:.1f} s",
            kind="RateLimitError",
            headers={"Retry-After": str(max(1, round(wait)))},
        )

    def count(self, address: str) -> None:
        """Hold one against an address."""
        bucket = self._buckets.pop(address, None) or Bucket(BURST)
        self._buckets[address] = bucket
        if len(self._buckets) > CALLERS:
            self._buckets.popitem(last=False)
        bucket.take(RATE, BURST)
