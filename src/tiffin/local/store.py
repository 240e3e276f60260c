"""What a controller must not forget, in one SQLite file: desired objects, revisions, replicas, events.

Every write is one short transaction, done before it is acted on. ``version`` is a counter over the whole store:
each write of an object takes the next number, so a writer that names the version it read is told of another
one in between. The file is in WAL mode: a kill at any moment leaves the last whole transaction.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tiffin.errors import Conflict, NoSuchDeployment, PlatformError, TiffinError
from tiffin.kits.processes import Identity
from tiffin.plan.difference import is_equal
from tiffin.plan.revision import Revision
from tiffin.plan.share import Standing
from tiffin.plan.state import Event
from tiffin.spec import Deployment

EVENTS_KEPT = 200
"""For each deployment."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deployments (
    place INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT UNIQUE NOT NULL, version INTEGER NOT NULL,
    generation INTEGER NOT NULL, created REAL NOT NULL, managed_by TEXT NOT NULL,
    spec BLOB NOT NULL, document BLOB NOT NULL, problem BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS resources (
    kind TEXT, namespace TEXT, name TEXT, managed_by TEXT NOT NULL, document BLOB NOT NULL,
    PRIMARY KEY (kind, namespace, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS revisions (
    key TEXT, number INTEGER, body BLOB NOT NULL, PRIMARY KEY (key, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS standings (
    key TEXT, variant TEXT, body BLOB NOT NULL, PRIMARY KEY (key, variant)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS replicas (id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS events_by_key ON events (key, id);
"""


class Problematic(msgspec.Struct, frozen=True):
    """Why an object that was written cannot be served: an error that was met while it was read."""

    code: str = ""
    message: str = ""
    hint: str = ""


_NONE = Problematic()


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A desired deployment. ``document`` is as its author wrote it; ``version`` that of its last write."""

    deployment: Deployment
    document: dict[str, Any] = {}
    version: int
    generation: int
    created: float
    managed_by: str = ""
    problem: Problematic = Problematic()

    @property
    def key(self) -> str:
        return self.deployment.key


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """An object that deployments refer to: a runtime, a secret, a service account, a map of settings."""

    kind: str
    namespace: str
    name: str
    document: dict[str, Any]
    managed_by: str = ""


class ReplicaRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A replica that was ordered; without an identity when it has no process yet.

    ``id`` is short and never used twice; ``revision`` is its number. ``ready`` says that callers were sent there.
    """

    id: str
    key: str
    revision: int
    component: str
    generation: int = 0
    identity: Identity | None = None
    endpoint: str = ""
    ready: bool = False
    started: float = 0.0
    start_seconds: dict[str, float] = {}


class Store:
    """One SQLite file; used by one thread. Every method raises PlatformError when the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db: sqlite3.Connection | None = None
        with self._told():
            self._db = sqlite3.connect(path, isolation_level=None, timeout=5, check_same_thread=False)
            path.chmod(0o600)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            found = self._db.execute("PRAGMA quick_check(1)").fetchone()
            if found != ("ok",):
                raise sqlite3.DatabaseError(found[0] if found else "it cannot be checked")
            self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Nothing can be asked afterwards."""
        if self._db is not None:
            self._db.close()
            self._db = None

    # -- deployments

    @property
    def version(self) -> int:
        """That of the last write of an object."""
        return int(self.fact("version") or b"0")

    def bump(self) -> int:
        """The next version, for a change that is not of a spec."""
        with self._transaction():
            return self._next("version")

    def put(
        self,
        deployment: Deployment,
        document: dict[str, Any],
        *,
        managed_by: str = "",
        problem: Problematic = _NONE,
        expected: int | None = None,
    ) -> Stored:
        """Write it; the generation grows when the spec differs. An equal one is not written again.

        Raises Conflict when it was written since the version ``expected`` (0: when it exists).
        """
        with self._transaction() as db:
            before = self._find(deployment.key)
            _check(deployment.key, before, expected, self.version)
            equal = before is not None and is_equal(before.deployment, deployment)
            if before is not None and equal and (before.managed_by, before.problem) == (managed_by, problem):
                return before
            generation = 1 if before is None else before.generation + (not equal)
            created = time.time() if before is None else before.created
            version = self._next("version")
            db.execute(
                "INSERT INTO deployments (key, version, generation, created, managed_by, spec, document, problem)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET version=excluded.version,"
                " generation=excluded.generation, managed_by=excluded.managed_by, spec=excluded.spec,"
                " document=excluded.document, problem=excluded.problem",
                (
                    *(deployment.key, version, generation, created, managed_by),
                    *(msgspec.json.encode(part) for part in (deployment, document, problem)),
                ),
            )
        return Stored(
            deployment=deployment,
            document=document,
            version=version,
            generation=generation,
            created=created,
            managed_by=managed_by,
            problem=problem,
        )

    def get(self, key: str) -> Stored:
        """Raises NoSuchDeployment."""
        with self._told():
            found = self._find(key)
        if found is None:
            raise no_such(key)
        return found

    def deployments(self) -> list[Stored]:
        """All of them, in the order they were first written."""
        with self._told():
            rows = self._execute(f"SELECT {_COLUMNS} FROM deployments ORDER BY place").fetchall()
            return [_stored(row) for row in rows]

    def delete(self, key: str, *, expected: int | None = None) -> int:
        """No longer desire it; the version of that. Raises NoSuchDeployment and Conflict.

        Its revisions stay until ``forget``: its replicas are still there.
        """
        with self._transaction() as db:
            before = self._find(key)
            if before is None:
                raise no_such(key)
            _check(key, before, expected, self.version)
            db.execute("DELETE FROM deployments WHERE key=?", (key,))
            return self._next("version")

    def forget(self, key: str) -> None:
        """Delete what is left of a deployment that is gone; its events stay for a while."""
        with self._transaction() as db:
            db.execute("DELETE FROM revisions WHERE key=?", (key,))
            db.execute("DELETE FROM standings WHERE key=?", (key,))

    # -- resources

    def put_resource(self, resource: Resource) -> bool:
        """Write an object of another kind; whether that changed anything."""
        place = (resource.kind, resource.namespace, resource.name)
        with self._transaction() as db:
            row = db.execute(
                "SELECT document FROM resources WHERE kind=? AND namespace=? AND name=?", place
            ).fetchone()
            body = msgspec.json.encode(resource.document)
            if row is not None and row[0] == body:
                return False
            db.execute("REPLACE INTO resources VALUES (?, ?, ?, ?, ?)", (*place, resource.managed_by, body))
            self._next("version")
        return True

    def resources(self, kind: str | None = None) -> list[Resource]:
        """All of a kind, or all."""
        with self._told():
            rows = self._execute(
                "SELECT kind, namespace, name, managed_by, document FROM resources WHERE ?1 IS NULL OR kind=?1"
                " ORDER BY kind, namespace, name",
                (kind,),
            ).fetchall()
        return [
            Resource(kind=kind, namespace=space, name=name, managed_by=by, document=msgspec.json.decode(body))
            for kind, space, name, by, body in rows
        ]

    def delete_resource(self, kind: str, namespace: str, name: str) -> bool:
        """Whether there was one."""
        with self._transaction() as db:
            place = (kind, namespace, name)
            return bool(
                db.execute("DELETE FROM resources WHERE kind=? AND namespace=? AND name=?", place).rowcount
            )

    # -- revisions, and how they stand

    def add_revision(self, revision: Revision) -> None:
        """Keep it, under its number."""
        with self._transaction() as db:
            body = msgspec.json.encode(revision)
            db.execute("REPLACE INTO revisions VALUES (?, ?, ?)", (revision.key, revision.number, body))

    def revisions(self, key: str) -> list[Revision]:
        """Those kept, the oldest first."""
        with self._told():
            rows = self._execute("SELECT body FROM revisions WHERE key=? ORDER BY number", (key,)).fetchall()
            return [msgspec.json.decode(body, type=Revision) for (body,) in rows]

    def remove_revision(self, key: str, number: int) -> None:
        """Forget one."""
        with self._transaction() as db:
            db.execute("DELETE FROM revisions WHERE key=? AND number=?", (key, number))

    def next_revision(self, key: str) -> int:
        """The number of the next one, counted from 1; numbers are not used again while the deployment exists."""
        with self._told():
            found = self._execute("SELECT max(number) FROM revisions WHERE key=?", (key,)).fetchone()
        return int(found[0] or 0) + 1

    def standings(self, key: str) -> dict[str, Standing]:
        """How each variant's revisions stand."""
        with self._told():
            rows = self._execute("SELECT variant, body FROM standings WHERE key=?", (key,)).fetchall()
            return {variant: msgspec.json.decode(body, type=Standing) for variant, body in rows}

    def put_standing(self, key: str, variant: str, standing: Standing) -> None:
        """Keep it."""
        with self._transaction() as db:
            db.execute("REPLACE INTO standings VALUES (?, ?, ?)", (key, variant, msgspec.json.encode(standing)))

    def remove_standing(self, key: str, variant: str) -> None:
        """The variant is gone."""
        with self._transaction() as db:
            db.execute("DELETE FROM standings WHERE key=? AND variant=?", (key, variant))

    def keys_with_revisions(self) -> list[str]:
        """Deployments that have revisions; also those that are no longer desired."""
        with self._told():
            return [key for (key,) in self._execute("SELECT DISTINCT key FROM revisions ORDER BY key").fetchall()]

    # -- replicas

    def next_replica(self) -> str:
        """A short name that no replica had."""
        with self._transaction():
            return f"r{self._next('replicas')}"

    def put_replica(self, record: ReplicaRecord) -> None:
        """Note it, before and after each of its changes."""
        with self._transaction() as db:
            db.execute("REPLACE INTO replicas VALUES (?, ?)", (record.id, msgspec.json.encode(record)))

    def remove_replica(self, id: str) -> None:
        """It is gone."""
        with self._transaction() as db:
            db.execute("DELETE FROM replicas WHERE id=?", (id,))

    def replicas(self) -> list[ReplicaRecord]:
        """All that were noted and not removed, the oldest first."""
        with self._told():
            rows = self._execute("SELECT body FROM replicas ORDER BY length(id), id").fetchall()
            return [msgspec.json.decode(body, type=ReplicaRecord) for (body,) in rows]

    # -- events

    def add_event(self, event: Event) -> Event:
        """Append it; one that equals the newest of its deployment is counted instead. Old ones go."""
        with self._transaction() as db:
            row = db.execute(
                "SELECT id, body FROM events WHERE key=? ORDER BY id DESC LIMIT 1", (event.deployment,)
            ).fetchone()
            last = None if row is None else msgspec.json.decode(row[1], type=Event)
            same = last is not None and (last.type, last.reason, last.message) == (
                *(event.type, event.reason, event.message),
            )
            if last is not None and same:
                event = msgspec.structs.replace(event, id=row[0], count=last.count + 1)
                db.execute("UPDATE events SET body=? WHERE id=?", (msgspec.json.encode(event), row[0]))
                return event
            added = db.execute("INSERT INTO events (key, body) VALUES (?, ?)", (event.deployment, b"{}")).lastrowid
            event = msgspec.structs.replace(event, id=int(added or 0))
            db.execute("UPDATE events SET body=? WHERE id=?", (msgspec.json.encode(event), event.id))
            db.execute(
                "DELETE FROM events WHERE key=?1 AND id <= (SELECT id FROM events WHERE key=?1"
                " ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                (event.deployment, EVENTS_KEPT),
            )
        return event

    def events(self, key: str | None = None) -> list[Event]:
        """The newest last."""
        with self._told():
            rows = self._execute(
                "SELECT body FROM events WHERE ?1 IS NULL OR key=?1 ORDER BY id", (key,)
            ).fetchall()
            return [msgspec.json.decode(body, type=Event) for (body,) in rows]

    # -- facts

    def fact(self, name: str) -> bytes | None:
        """A value by its name."""
        with self._told():
            row = self._execute("SELECT value FROM facts WHERE name=?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def put_fact(self, name: str, value: bytes | None) -> None:
        """Keep a value; ``None`` forgets it."""
        with self._transaction() as db:
            if value is None:
                db.execute("DELETE FROM facts WHERE name=?", (name,))
            else:
                db.execute("REPLACE INTO facts VALUES (?, ?)", (name, value))

    # -- inside

    def _find(self, key: str) -> Stored | None:
        row = self._execute(f"SELECT {_COLUMNS} FROM deployments WHERE key=?", (key,)).fetchone()
        return None if row is None else _stored(row)

    def _next(self, counter: str) -> int:
        number = int(self.fact(counter) or b"0") + 1
        self._execute("REPLACE INTO facts VALUES (?, ?)", (counter, str(number).encode()))
        return number

    def _execute(self, statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        if self._db is None:
            raise PlatformError(f"the controller's store {self.path} is closed")
        return self._db.execute(statement, values)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """All that is written in here is written, or nothing."""
        with self._transaction():
            yield

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._told():
            if self._db is not None and self._db.in_transaction:
                yield self._db
                return
            self._execute("BEGIN IMMEDIATE")
            assert self._db is not None
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What SQLite raises, in words; what is kept there in another form is damage too."""
        try:
            yield
        except TiffinError:
            raise
        except (sqlite3.Error, msgspec.DecodeError, msgspec.ValidationError, OSError) as error:
            raise _unusable(self.path, error) from error


_COLUMNS = "spec, document, version, generation, created, managed_by, problem"


def _stored(row: tuple[Any, ...]) -> Stored:
    spec, document, version, generation, created, managed_by, problem = row
    return Stored(
        deployment=msgspec.json.decode(spec, type=Deployment),
        document=msgspec.json.decode(document),
        version=version,
        generation=generation,
        created=created,
        managed_by=managed_by,
        problem=msgspec.json.decode(problem, type=Problematic),
    )


def no_such(key: str) -> NoSuchDeployment:
    """The error for a key nobody knows."""
    return NoSuchDeployment(f"there is no deployment {key}", hint="`tiffin get` lists those there are")


def _check(key: str, before: Stored | None, expected: int | None, newest: int) -> None:
    if expected is None:
        return
    version = 0 if before is None else before.version
    # A version that is not reached yet was seen in another store.
    if version > expected or (before is None and expected) or expected > newest:
        what = f"is of version {version}" if before else "is gone"
        raise Conflict(
            f"{key} was changed by somebody else: expected version {expected}, and it {what}",
            hint="look at it again, then make the change again",
        )


def _unusable(path: Path, error: Exception) -> PlatformError:
    text = str(error)
    if "full" in text or "No space" in text:
        return PlatformError(
            f"there is no room on the disk for the controller's store {path}",
            hint="make room; nothing was changed",
        )
    if "locked" in text:
        return PlatformError(f"the controller's store {path} is in use by another program")
    if isinstance(error, sqlite3.OperationalError) and ("unable to open" in text or "readonly" in text):
        return PlatformError(
            f"the controller's store {path} cannot be opened for writing: {text}",
            hint="set TIFFIN_HOME to a directory you can write to",
        )
    return PlatformError(
        f"the controller's store {path} is damaged: {text}",
        hint="move it aside (with the files beside it) and apply your files again",
    )
