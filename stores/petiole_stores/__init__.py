"""Petiole's memory: the store contracts (checkpoints and ledger), their backends, codecs and typed state."""
