"""Petiole beside plain Celery and LangGraph on the same machine in the same minutes: `make bench`."""
