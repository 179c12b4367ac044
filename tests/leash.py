"""Run a command that must not outlive the process that started it, however that one ends.

``python leash.py LIFE_FD PID_FD USER COMMAND…``: the parent keeps the write end of the pipe ``LIFE_FD``; when it
dies, by SIGKILL too, the kernel closes that end and the command's process group is killed. A pipe rather than
``PR_SET_PDEATHSIG``: that one fires when the *thread* that forked ends, and only Linux has it. The command's process
id is written to ``PID_FD``; SIGTERM, SIGINT and SIGQUIT are passed on. ``USER`` is a user name or ``-``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading


def main(life: int, answer: int, user: str, command: list[str]) -> int:
    """Run ``command`` and give its exit code (128 + n after signal n)."""
    # Its own session is the leash's too: whoever kills the group kills both.
    child = subprocess.Popen(command, user=None if user == "-" else user)
    os.write(answer, f"{child.pid}\n".encode())
    os.close(answer)

    def watch() -> None:
        os.read(life, 1)
        os.killpg(0, signal.SIGKILL)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, lambda received, _frame: child.send_signal(received))
    threading.Thread(target=watch, daemon=True).start()
    code = child.wait()
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]))
