"""The client: submit runs, look at them, and take hold of them, from any process that reaches the store."""

from petiole.client.aio import AsyncClient, AsyncRunHandle
from petiole.client.bulk import Treated
from petiole.client.client import Client
from petiole.client.dead_letters import DeadLetter
from petiole.client.explaining import Explanation, Wait
from petiole.client.handle import RunHandle
from petiole.client.history import HistoryEntry
from petiole.client.logs import LogEntry, LogPage

__all__ = [
    "AsyncClient",
    "AsyncRunHandle",
    "Client",
    "DeadLetter",
    "Explanation",
    "HistoryEntry",
    "LogEntry",
    "LogPage",
    "RunHandle",
    "Treated",
    "Wait",
]
