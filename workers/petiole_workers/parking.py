"""What ends an attempt whose node waits for longer than its slot may."""

from __future__ import annotations


class ParkedError(BaseException):
    """A node waits too long to do so in its slot. No ``Exception``: a node's own ``except`` must not stop it."""

    def __init__(self, delay: float, awaits: str = "") -> None:
        super().__init__(f"the node waits for {awaits!r}" if awaits else f"the node sleeps for {delay:.1f} s")
        self.delay, self.awaits = delay, awaits
