"""Figures for Prometheus: the server's own requests, and what the ledger says of runs, queues and workers."""
