"""An on-disk queue of triggers that are not runs yet."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
import urllib.parse
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence

from . import _fork


@dataclass(frozen=True)
class Trigger:
    """A request for a run: the arguments of ``RUNTASK``."""

    workflow_id: str
    options: Dict[str, Any]

    @property
    def dedupe_key(self) -> str:
        return str(self.options["dedupe_key"])


@dataclass(frozen=True)
class Waiting:
    """A buffered trigger and its position."""

    seq: int
    trigger: Trigger


def buffer_directory(name: str) -> str:
    """The directory of a listener, below ``CDKTR_APP_DATA_DIRECTORY``. A name cannot escape from it."""
    data = os.environ.get("CDKTR_APP_DATA_DIRECTORY") or os.path.join(os.path.expanduser("~"), ".cdktr")
    part = urllib.parse.quote(name, safe="!~*'()").replace(".", "%2E")[:200]
    return os.path.join(data, "listeners", part or "listener")


class TriggerBuffer:
    """A queue of triggers in a file. A trigger is on disk when ``add`` returns.

    It is thread-safe, and several processes may share the file.

    :raises OSError, sqlite3.Error: when the file cannot be opened
    """

    def __init__(self, directory: str) -> None:
        listeners = os.path.dirname(directory)
        for path in (os.path.dirname(listeners), listeners, directory):
            # One by one, because makedirs applies the mode only to the last directory.
            os.makedirs(path, mode=0o700, exist_ok=True)
        self.path = os.path.join(directory, "python.db")
        self._lock = threading.Lock()
        self._opened: Optional[sqlite3.Connection] = None
        self._open()
        _fork.watch(self)

    def add(self, trigger: Trigger) -> int:
        """Appends a trigger and returns its position; if the same event is already queued, that entry is kept and its position returned."""
        row = (trigger.workflow_id, trigger.dedupe_key, json.dumps(trigger.options), int(time.time() * 1000))
        with self._lock:
            self._db.execute("PRAGMA synchronous = FULL")
            # Another process may deliver the queued one between the two statements; then try to add it again.
            while True:
                added = self._db.execute(
                    "INSERT OR IGNORE INTO triggers (workflow_id, dedupe_key, options, created_at_ms) VALUES (?, ?, ?, ?)",
                    row,
                )
                if added.rowcount == 1 and added.lastrowid is not None:
                    return added.lastrowid
                found = self._db.execute(
                    "SELECT seq FROM triggers WHERE workflow_id = ? AND dedupe_key = ?", row[:2]
                ).fetchone()
                if found is not None:
                    return int(found[0])

    def first(self, limit: int, after: int = 0, without: Sequence[str] = ()) -> List[Waiting]:
        """The oldest triggers after a position, without those of some workflows."""
        with self._lock:
            rows = self._db.execute(
                f"""SELECT seq, workflow_id, options FROM triggers
                WHERE seq > ? AND workflow_id NOT IN ({", ".join("?" * len(without))}) ORDER BY seq LIMIT ?""",
                (after, *without, limit),
            ).fetchall()
        return [Waiting(seq, Trigger(workflow_id, json.loads(options))) for seq, workflow_id, options in rows]

    def remove(self, seq: int) -> None:
        """Removes a trigger. Not synced: if a power cut brings it back, it is delivered again under the same key."""
        with self._lock:
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("DELETE FROM triggers WHERE seq = ?", (seq,))

    def size(self) -> int:
        """Number of queued triggers."""
        with self._lock:
            return int(self._db.execute("SELECT count(*) FROM triggers").fetchone()[0])

    def bytes(self) -> int:
        """Size of the file, bytes."""
        with self._lock:
            pages = self._db.execute("PRAGMA page_count").fetchone()[0]
            return int(pages) * int(self._db.execute("PRAGMA page_size").fetchone()[0])

    def before_fork(self) -> None:
        """SQLite allows no connection that is open while its process forks: its locks would be copied, and lost."""
        self._lock.acquire()
        opened, self._opened = self._opened, None
        if opened is not None:
            with contextlib.suppress(sqlite3.Error):
                opened.close()

    def after_fork(self) -> None:
        """The next use opens the file again."""
        self._lock.release()

    @property
    def _db(self) -> sqlite3.Connection:
        return self._opened or self._open()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=5, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(
            """CREATE TABLE IF NOT EXISTS triggers (
                seq INTEGER PRIMARY KEY AUTOINCREMENT,
                workflow_id TEXT NOT NULL,
                dedupe_key TEXT NOT NULL,
                options TEXT NOT NULL,
                created_at_ms INTEGER NOT NULL,
                UNIQUE (workflow_id, dedupe_key)
            )"""
        )
        self._opened = db
        return db
