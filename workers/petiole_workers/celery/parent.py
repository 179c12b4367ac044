"""Processes that end with their parent: an orphan would only work for outputs that are refused."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

PR_SET_PDEATHSIG = 1
#: Where the kernel doesn't tell: how often to look whether the parent still lives, in seconds.
LOOK = 0.5


def die_with(parent: int) -> None:
    """Have this process killed when the process ``parent``, which started it, is gone; at once if it is gone already."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_look_for, args=(parent,), name="petiole-parent", daemon=True).start()
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _look_for(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK)
    os.kill(os.getpid(), signal.SIGKILL)
