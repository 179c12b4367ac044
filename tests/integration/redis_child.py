"""A process that commits to a Redis store until the server is gone, and says what was acknowledged.

``python redis_child.py URL NAME``: it prints ``ready``, then a line for each answer that it got: ``submitted RUN`` and
``committed RUN CHECKPOINT``. The checkpoint's state names the run.
"""

from __future__ import annotations

import itertools
import sys

from petiole_stores.errors import StoreUnavailableError
from petiole_stores.records import NewCheckpoint, NewRun, NewTask, Outcome, Settle, Worker
from petiole_stores.redis import RedisStore
from petiole_stores.serde import digest_document


def main(url: str, name: str) -> None:
    store = RedisStore(url)
    store.connect()
    store.beat(Worker(worker_id=name, name=name, lease=600.0))
    print("ready", flush=True)
    for number in itertools.count():
        run, token = f"{name}-{number}", f"{name}-{number}-k"
        start = NewTask(task_id=f"{run}-start", path="start", node="start", kind="advance")
        store.submit([NewRun(run_id=run, thread_id=f"{run}-t", graph="g", start=start)])
        print("submitted", run, flush=True)
        store.claim(name, "s", [(start.task_id, token)])
        state = f'{{"run": "{run}"}}'
        checkpoint = NewCheckpoint(
            checkpoint_id=f"{run}-c", parent_id=None, step=0, source="loop", node_names=["n"], state=state,
            digest=digest_document(state),
        )  # fmt: skip
        settle = Settle(checkpoints=[checkpoint], run_status="succeeded")
        answer = store.finish(
            name, "s", [Outcome(task_id=start.task_id, token=token, ending="done", settle=settle)]
        )[0]
        if answer.result != "committed":
            raise SystemExit(f"{run}: {answer}")
        print("committed", run, checkpoint.checkpoint_id, flush=True)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except StoreUnavailableError:
        sys.exit(75)
