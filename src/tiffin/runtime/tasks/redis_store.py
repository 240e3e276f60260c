"""Tasks in Redis, for replicas on several machines.

A hash for each task, and sorted sets that find them: by when work is due, by state and time of making, by when
they expire. Each change is one script, so all of it happens or nothing. All keys have one hash tag, so that a
cluster keeps them together. How much survives a crash of Redis is its own setting (``appendonly yes``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from tiffin.runtime.tasks.record import STATES, Counts, State, Task, Work, from_text, to_text
from tiffin.runtime.tasks.store import QueueFull, missing, unreachable, without_password

_P = "{tiffin-tasks}:"
_SECONDS = 5.0
_PAGE = 100

# What finds a task, from the fields of its hash; used with ZREM of the old and ZADD of the new.
_INDEX = f"""
local function drop(id, queue)
  for _, word in ipairs({{'run', 'deliver'}}) do redis.call('ZREM', '{_P}due:' .. queue .. ':' .. word, id) end
  for _, word in ipairs({{{", ".join(repr(state) for state in STATES)}}}) do
    redis.call('ZREM', '{_P}state:' .. queue .. ':' .. word, id)
  end
  redis.call('ZREM', '{_P}expires', id)
end
local function keep(id, queue, state, due, due_at, created_at, expires_at)
  if due ~= '' then redis.call('ZADD', '{_P}due:' .. queue .. ':' .. due, due_at, id) end
  redis.call('ZADD', '{_P}state:' .. queue .. ':' .. state, created_at, id)
  if expires_at ~= '' then redis.call('ZADD', '{_P}expires', expires_at, id) end
end
"""
_ADD = (
    _INDEX
    + f"""
local id, queue, key, limit = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
if key ~= '' then
  local found = redis.call('HGET', '{_P}keys:' .. queue, key)
  if found then return redis.call('HGET', '{_P}task:' .. found, 'record') end
end
if redis.call('ZCARD', '{_P}state:' .. queue .. ':queued') >= limit then return 0 end
redis.call('HSET', '{_P}task:' .. id, 'queue', queue, 'key', key, 'version', ARGV[5], 'record', ARGV[6],
  'request', ARGV[7])
if key ~= '' then redis.call('HSET', '{_P}keys:' .. queue, key, id) end
redis.call('SADD', '{_P}queues', queue)
keep(id, queue, ARGV[8], ARGV[9], ARGV[10], ARGV[11], '')
return 1
"""
)
_SWAP = (
    _INDEX
    + f"""
local id, queue = ARGV[1], ARGV[2]
local name = '{_P}task:' .. id
if redis.call('HGET', name, 'version') ~= ARGV[3] then return 0 end
redis.call('HSET', name, 'version', ARGV[4], 'record', ARGV[5])
if ARGV[11] == '1' then redis.call('HSET', name, 'reply', ARGV[12]) end
drop(id, queue)
keep(id, queue, ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10])
return 1
"""
)
_FORGET = (
    _INDEX
    + f"""
local name = '{_P}task:' .. ARGV[1]
local found = redis.call('HMGET', name, 'queue', 'key')
redis.call('ZREM', '{_P}expires', ARGV[1])
if not found[1] then return 0 end
drop(ARGV[1], found[1])
if found[2] ~= '' then redis.call('HDEL', '{_P}keys:' .. found[1], found[2]) end
return redis.call('DEL', name)
"""
)


class RedisStore:
    """The contract of ``store.TaskStore`` over a Redis server."""

    def __init__(self, url: str) -> None:
        try:
            import redis
        except ImportError as error:
            raise missing("redis", "redis") from error
        self._error = redis.RedisError
        self._where = without_password(url)
        try:
            self._redis: Any = redis.Redis.from_url(
                url, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS, health_check_interval=30
            )
        except ValueError as error:
            raise unreachable(self._where, error) from error
        scripts: Any = self._redis.register_script
        self._add, self._swap, self._forget = scripts(_ADD), scripts(_SWAP), scripts(_FORGET)
        self.clock()

    def _ask(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except self._error as error:
            raise unreachable(self._where, error) from error

    def clock(self) -> float:
        seconds, micros = self._ask(self._redis.time)
        return float(seconds) + float(micros) / 1e6

    def add(self, task: Task, request: bytes, *, limit: int) -> Task:
        which: list[object] = [task.id, task.queue, task.key, limit, task.version, to_text(task), request]
        index = [task.state, task.due or "", repr(task.due_at), repr(task.created_at)]
        found = self._ask(lambda: self._add(args=[*which, *index]))
        if found == 0:
            raise QueueFull(f"expected fewer than {limit} waiting tasks, found as many; try again later")
        return task if found == 1 else from_text(found)

    def get(self, identifier: str) -> Task | None:
        found = self._field(identifier, "record")
        return None if found is None else from_text(found)

    def request(self, identifier: str) -> bytes | None:
        return self._field(identifier, "request")

    def reply(self, identifier: str) -> bytes | None:
        return self._field(identifier, "reply")

    def _field(self, identifier: str, name: str) -> bytes | None:
        found: bytes | None = self._ask(lambda: self._redis.hget(f"{_P}task:{identifier}", name))
        return found

    def swap(self, task: Task, reply: bytes | None = None) -> bool:
        expires_at = "" if task.expires_at is None else repr(task.expires_at)
        which: list[object] = [task.id, task.queue, task.version - 1, task.version, to_text(task)]
        index = [task.state, task.due or "", repr(task.due_at), repr(task.created_at), expires_at]
        blob = ["0", b""] if reply is None else ["1", reply]
        return bool(self._ask(lambda: self._swap(args=[*which, *index, *blob])))

    def due(self, queue: str, work: Work, methods: Collection[str], now: float, count: int) -> list[Task]:
        found: list[Task] = []
        name, start = f"{_P}due:{queue}:{work}", 0
        while len(found) < count:
            ids = self._ask(partial(self._redis.zrangebyscore, name, "-inf", now, start, _PAGE))
            found += [task for task in self._records(ids) if task.method in methods]
            start += _PAGE
            if len(ids) < _PAGE:
                break
        return found[:count]

    def newest(self, queue: str, states: Collection[State], count: int) -> list[Task]:
        queues = [queue]
        if queue.endswith("*"):
            every = [name.decode() for name in self._ask(lambda: self._redis.smembers(f"{_P}queues"))]
            queues = [name for name in every if name.startswith(queue[:-1])]
        found: list[Task] = []
        for name in queues:
            for state in states or STATES:
                key = f"{_P}state:{name}:{state}"
                found += self._records(self._ask(partial(self._redis.zrevrange, key, 0, count - 1)))
        return sorted(found, key=lambda task: (task.created_at, task.id), reverse=True)[:count]

    def _records(self, identifiers: Collection[bytes]) -> list[Task]:
        if not identifiers:
            return []
        pipe = self._redis.pipeline(transaction=False)
        for identifier in identifiers:
            pipe.hget(f"{_P}task:{identifier.decode()}", "record")
        return [from_text(text) for text in self._ask(pipe.execute) if text is not None]

    def counts(self, queue: str) -> Counts:
        pipe = self._redis.pipeline(transaction=False)
        for state in STATES:
            pipe.zcard(f"{_P}state:{queue}:{state}")
        pipe.zrange(f"{_P}state:{queue}:queued", 0, 0, withscores=True)
        *numbers, oldest = self._ask(pipe.execute)
        known: dict[str, int] = {state: number for state, number in zip(STATES, numbers, strict=True) if number}
        return Counts(known, float(oldest[0][1]) if oldest else None)

    def purge(self, now: float) -> int:
        gone = 0
        until = time.monotonic() + _SECONDS
        while time.monotonic() < until:
            ids = self._ask(lambda: self._redis.zrangebyscore(f"{_P}expires", "-inf", now, 0, _PAGE))
            for identifier in ids:
                gone += self._ask(partial(self._forget, args=[identifier]))
            if len(ids) < _PAGE:
                break
        return gone

    def close(self) -> None:
        self._redis.close()
