"""Petiole as a Celery application: the app, its one task, and the bootsteps of a worker."""
