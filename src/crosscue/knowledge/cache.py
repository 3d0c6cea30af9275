"""Cache of every reply that was paid for, on disk, as the server sent it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from crosscue.errors import StorageError
from crosscue.storage import writing

SCHEMA = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY,
    model TEXT NOT NULL,
    request TEXT NOT NULL,
    body TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY,
    body TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spending (
    key TEXT NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost REAL NOT NULL
);
"""


@dataclass(frozen=True)
class Spending:
    """Calls, tokens and cost."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: Spending) -> Spending:
        return Spending(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost + other.cost,
        )

    def __sub__(self, other: Spending) -> Spending:
        return self + Spending(-other.calls, -other.input_tokens, -other.output_tokens, -other.cost)


class ReplyCache:
    """A SQLite file (write-ahead log) of raw replies by request key.

    A reply is committed to disk before it is parsed. So neither a process that dies afterwards nor a malformed reply has
    to be paid for again.
    """

    def __init__(self, path: Path) -> None:
        """Opens or creates the file.

        Raises:
            StorageError: the folder cannot be written, or the file is no SQLite file.
        """
        self.path = path
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with self._database_errors():
            self.connection = sqlite3.connect(path, timeout=60)
            self.connection.execute("PRAGMA journal_mode=WAL")
            self.connection.execute("PRAGMA synchronous=FULL")
            self.connection.executescript(SCHEMA)

    def get(self, key: str) -> str | None:
        """Returns the raw body of a reply, or None."""
        with self._database_errors():
            row = self.connection.execute("SELECT body FROM replies WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row is not None else None

    def put(self, key: str, model: str, request: str, body: str) -> None:
        """Keeps a raw body. It is on the disk on return."""
        with self._database_errors(), self.connection:
            self.connection.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?)", (key, model, request, body))

    def answers(self, keys: Iterable[str]) -> dict[str, str]:
        """Returns key -> answer for the keys that have one. An answer is made of one or several replies."""
        with self._database_errors():
            rows = (
                (key, self.connection.execute("SELECT body FROM answers WHERE key = ?", (key,)).fetchone())
                for key in keys
            )
            return {key: str(row[0]) for key, row in rows if row is not None}

    def keep(self, answers: Mapping[str, str]) -> None:
        """Keeps answers: all of them or, if the process dies, none."""
        with self._database_errors(), self.connection:
            self.connection.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", answers.items())

    def charge(self, key: str, spent: Spending) -> None:
        """Records the tokens and the cost of a call."""
        with self._database_errors(), self.connection:
            self.connection.execute(
                "INSERT INTO spending VALUES (?, ?, ?, ?)", (key, spent.input_tokens, spent.output_tokens, spent.cost)
            )

    def spent(self) -> Spending:
        """Returns the spending of all calls of this file, over all runs."""
        with self._database_errors():
            row = self.connection.execute(
                "SELECT count(*), total(input_tokens), total(output_tokens), total(cost) FROM spending"
            ).fetchone()
        return Spending(int(row[0]), int(row[1]), int(row[2]), float(row[3]))

    def close(self) -> None:
        """Closes the file."""
        self.connection.close()

    @contextlib.contextmanager
    def _database_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            advice = (
                "Free some space and run the command again."
                if "full" in str(error)
                else "Close the other process that uses it."
                if "locked" in str(error)
                else "If it is damaged, move it away; its replies then have to be paid for again."
            )
            raise StorageError(f"{self.path}: the replies cannot be kept ({error}). {advice}") from error
