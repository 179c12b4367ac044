"""A store that fails on demand, to prove that nothing is lost when one does.

::

    plan = FaultPlan(execute_and_timeout("finish", nth=1), fail_before("*", probability=0.1), seed=7)
    store = FaultyStore(open_store(url), plan)

``execute_and_timeout`` is the case that matters: the call is done, and its answer is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from petiole_stores.fault_plan import EVENTS as EVENTS
from petiole_stores.fault_plan import ITEMS as ITEMS
from petiole_stores.fault_plan import OPERATIONS as OPERATIONS
from petiole_stores.fault_plan import PROTOCOL as PROTOCOL
from petiole_stores.fault_plan import UPKEEP as UPKEEP
from petiole_stores.fault_plan import Fault as Fault
from petiole_stores.fault_plan import FaultPlan as FaultPlan
from petiole_stores.fault_plan import delay as delay
from petiole_stores.fault_plan import execute_and_timeout as execute_and_timeout
from petiole_stores.fault_plan import fail_before as fail_before
from petiole_stores.store import Store
from petiole_stores.wrapping import WrappedStore

T = TypeVar("T")


class FaultyStore(WrappedStore):
    """Another store with a plan of faults before it."""

    def __init__(self, store: Store, plan: FaultPlan) -> None:
        super().__init__(store)
        self.plan = plan

    def around(self, operation: str, call: Callable[[], T]) -> T:
        return self.plan.around(operation, call)
