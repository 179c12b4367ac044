"""Whether a process of this machine still lives: pids are used again, and a zombie is dead."""

from __future__ import annotations

import os
from pathlib import Path

_STATE, _START_TIME = 0, 19  # places after the command's name in /proc/<pid>/stat, see proc(5)


def process_birth(pid: int) -> float | None:
    """When the process was started, in clock ticks since boot; ``None`` if there is none or it is a zombie.

    Where there is no /proc, 0 for every process that exists.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None if Path("/proc/self").exists() or not _answers(pid) else 0.0
    return None if fields[_STATE] in "ZX" else float(fields[_START_TIME])


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
