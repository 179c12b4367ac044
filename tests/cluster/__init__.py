"""Real workers for tests: processes on a real store and broker, that a test kills, stops and starts again."""

from tests.cluster.backends import Backend, open_backend
from tests.cluster.cluster import Cluster
from tests.cluster.trip import Trip
from tests.cluster.worker import WorkerProcess

__all__ = ["Backend", "Cluster", "Trip", "WorkerProcess", "open_backend"]
