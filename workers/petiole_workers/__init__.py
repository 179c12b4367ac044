"""What runs: graph model, supersteps, Celery app and tasks, heartbeat and sweep."""
