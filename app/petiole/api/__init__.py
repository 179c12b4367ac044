"""The HTTP API under ``/api/v1``, and the server that it shares with the dashboard.

``petiole serve`` runs :func:`petiole.api.app.create_app`. Nothing outside this package and ``petiole.dashboard`` imports
FastAPI.
"""
