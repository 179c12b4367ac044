"""Durable graph workflows on Celery."""
