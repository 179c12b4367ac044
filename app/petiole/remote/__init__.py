"""The client over HTTP: what ``Client("http://…")`` is."""
