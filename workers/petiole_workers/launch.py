"""What a supervisor and the workers that it starts agree on: names in the environment, and exit codes."""

from __future__ import annotations

from typing import Final

#: The holder's id, so that the supervisor can give its claims back when it dies.
HOLDER_VARIABLE: Final = "PETIOLE_WORKER_ID"
#: Process id of the supervisor, which the worker shall not outlive.
SUPERVISOR_VARIABLE: Final = "PETIOLE_WORKER_SUPERVISOR"
#: The same for the server.
SERVER_SUPERVISOR_VARIABLE: Final = "PETIOLE_WORKER_SERVER_SUPERVISOR"
#: Transport options of the broker, as JSON (the embedded broker of files needs some).
TRANSPORT_VARIABLE: Final = "PETIOLE_WORKER_TRANSPORT_OPTIONS"

#: Exit codes of a worker (from sysexits.h): trying again cannot help; a service is not there now.
EXIT_CONFIGURATION: Final = 78
EXIT_UNAVAILABLE: Final = 69
