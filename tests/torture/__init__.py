"""The torture harness: random graphs on real workers under a nemesis, and a checker. ``python -m tests.torture --help``."""
