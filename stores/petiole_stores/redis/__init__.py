"""The Redis store: runs, tasks and checkpoints on plain Redis 7 or Valkey, each operation one Lua script."""

from petiole_stores.redis.store import RedisStore as RedisStore

__all__ = ["RedisStore"]
