"""The audit log: who changed what, when and from where, kept in the store. Knows no HTTP server."""
