"""Bulk jobs: one durable action on many runs, done behind the request that asked for it.

``job`` what a job is; ``kept`` jobs in the store, and who holds one; ``asking`` for one, and for its end; ``treating`` the
actions; ``doing`` the threads of a server that do them. See ``docs/decisions/0025-bulk-jobs.md``.
"""
