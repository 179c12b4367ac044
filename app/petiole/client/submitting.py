"""What every submit of a client goes through: the run as workers will take it, stored and published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from petiole.client.handle import RunHandle
from petiole.client.snapshots import Snapshots
from petiole_stores.records import Run
from petiole_workers import submission
from petiole_workers.fitting import Fleet, queue_of
from petiole_workers.takeover import submit_over

if TYPE_CHECKING:
    from petiole.client.client import Client
    from petiole_stores.store import Store
    from petiole_workers.compiled import CompiledGraph


class Submitting(Snapshots):
    """Makes runs of what callers give."""

    @property
    def _fleet(self) -> Fleet:
        """The living workers, as the store in force knows them."""
        known: tuple[Store, Fleet] | None = self.__dict__.get("_known_fleet")
        if known is None or known[0] is not self.store:
            known = self.__dict__["_known_fleet"] = self.store, Fleet(self.store)
        return known[1]

    def _submission(self, graph: str | CompiledGraph, version: str | None) -> submission.Submission:
        """What is to be submitted of a graph: of one that is named alone, the newest worker tells version and queue."""
        if isinstance(graph, str):
            name, offer, queue = graph, self._fleet.offer(graph, version), self.settings.queue
        else:
            self._learn(self.store, graph)
            name, offer, queue = graph.name, graph.offer, graph.queue or self.settings.queue
        if offer is None or version not in (None, offer.version):
            return submission.Submission(graph=name, queue=queue, version=version)
        return submission.Submission(
            graph=name,
            queue=queue_of(offer, queue),
            version=offer.version,
            fingerprint=offer.fingerprint,
        )

    def _submit(self, made: submission.Submission) -> RunHandle:
        run = made.new_run(self.store.serde)
        self.store.hint(run.thread_id, [run.run_id, run.start.task_id])
        if made.if_busy in ("interrupt", "rollback"):
            answer = submit_over(self.store, run, made.if_busy)
        else:
            [answer] = self.store.submit([run])
        submission.check_answer(self.store, run, answer)
        self.publish(answer.publish)
        return self._handle(answer.thread_id, answer.run_id)

    def _submit_from(self, source: Run, checkpoint_id: str, metadata: dict[str, Any]) -> RunHandle:
        """A run from a checkpoint with the graph, tags and configuration of another."""
        return self._submit(
            submission.Submission(
                graph=source.graph,
                queue=queue_of(self._fleet.offer(source.graph, source.version), self.settings.queue),
                thread_id=source.thread_id,
                base_id=checkpoint_id,
                tags=source.tags,
                metadata=metadata,
                version=source.version,
                fingerprint=source.fingerprint,
                config=source.config,
            )
        )

    def _handle(self, thread_id: str, run_id: str) -> RunHandle:
        client: Client = self  # type: ignore[assignment]  # it is one: no other class comes after this
        return RunHandle(client, thread_id, run_id)
