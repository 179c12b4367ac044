"""A wall clock that can be moved: imported by Python itself at its start when this folder is on its path.

``PETIOLE_TEST_CLOCK`` names a file of 8 bytes, a double: the seconds that ``time.time`` and ``time.time_ns`` are ahead.
It is read at every call, so that the clock jumps while the process runs. ``datetime.now`` and other processes' clocks,
the store's above all, stay as they are.
"""

import mmap
import os
import struct
import time

if _path := os.environ.get("PETIOLE_TEST_CLOCK"):
    with open(_path, "r+b") as _file:
        _ahead = mmap.mmap(_file.fileno(), 8)
    _time, _time_ns = time.time, time.time_ns
    _double = struct.Struct("d")

    def _shifted() -> float:
        return _time() + float(_double.unpack(_ahead)[0])

    def _shifted_ns() -> int:
        return _time_ns() + int(_double.unpack(_ahead)[0] * 1e9)

    time.time, time.time_ns = _shifted, _shifted_ns
