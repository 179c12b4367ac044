"""The policies that nodes have which were added without their own."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from petiole_workers.graph.cache import CachePolicy
from petiole_workers.graph.errors import ErrorHandler
from petiole_workers.graph.parts import NodeSpec
from petiole_workers.graph.timeout import TimeoutPolicy
from petiole_workers.retry import RetryStrategy


@dataclass(frozen=True, slots=True)
class NodeDefaults:
    """What `StateGraph.set_node_defaults` was told."""

    retry_policies: tuple[RetryStrategy, ...] = ()
    timeout: TimeoutPolicy | None = None
    error_handler: ErrorHandler | None = None
    cache_policy: CachePolicy | None = None

    def applied(self, node: NodeSpec, *, own_retries: bool) -> NodeSpec:
        """The node with the defaults in the places of what it does not say itself.

        own_retries: it was given retry policies, be it an empty list.
        """
        if node.subgraph is not None:
            return node
        limits = self.timeout
        if limits is not None and node.timeout is None and node.idle_timeout is None:
            node = dataclasses.replace(
                node,
                timeout=limits.run_seconds,
                idle_timeout=limits.idle_seconds,
                refresh_on=limits.refresh_on,
            )
        return dataclasses.replace(
            node,
            retry_policies=node.retry_policies if own_retries else self.retry_policies,
            error_handler=node.error_handler or self.error_handler,
            cache_policy=node.cache_policy or self.cache_policy,
        )
