"""The right to append to a table, for one driver at a time on any number of machines.

It is an entry of the table's configuration, and taking it is a compare-and-swap on a disk and in an object store alike:
Lance refuses to change an entry that another process has changed meanwhile.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from crosscue.errors import CollectionError
from crosscue.search.connection import dataset
from crosscue.search.refusals import refusals

ENTRY = "crosscue.writer"
CHANGED = "Incompatible transaction"
"""Part of Lance's refusal to change an entry that another process has changed."""


class LeaseLostError(CollectionError):
    """Another driver has taken the lease since."""

    exit_code = 1


@dataclass(frozen=True)
class Holder:
    """The entry: the driver that may write, and its times in seconds since 1970."""

    driver: str
    host: str
    process: int
    since: int
    expires: int

    def __str__(self) -> str:
        return f"{self.driver} {self.host} {self.process} {self.since} {self.expires}"

    @property
    def ended(self) -> bool:
        """True if the driver was on this machine and its process is gone, so that nobody has to wait."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


def holder_of(table: str) -> Holder | None:
    """Returns the entry of a table's newest version; None where nobody has the lease."""
    return _holder_in(dataset(table))


def _holder_in(found: Any) -> Holder | None:
    """Returns the entry of the version that an opened dataset has."""
    entry = found.config().get(ENTRY)
    if entry is None:
        return None
    driver, host, process, since, expires = entry.split()
    return Holder(driver, host, int(process), int(since), int(expires))


@dataclass
class Lease:
    """The lease of one driver on one table."""

    table: str
    """Folder or address of the table."""
    place: str
    """Name of the collection, for messages."""
    seconds: float
    """Duration, from each renewal on. A driver that is silent for longer can be replaced."""
    clock: Callable[[], float] = time.time
    driver: str = field(default_factory=lambda: uuid.uuid4().hex)
    _since: int = 0

    def take(self) -> None:
        """Takes the lease.

        Raises:
            CollectionError: another driver has it; the message has its process and the time at which it expires.
        """
        found = dataset(self.table)
        holder, now = _holder_in(found), self.clock()
        if holder is not None and not self._mine(holder) and holder.expires > now and not holder.ended:
            raise CollectionError(self._held(holder))
        self._since = int(now)
        if not self._write(found, now):
            other = holder_of(self.table)
            raise CollectionError(self._held(other) if other else f"{self.place}: taken at the same time. Try again.")

    def renew(self) -> None:
        """Prolongs the lease. One that has expired is prolonged too, if nobody has taken it.

        Raises:
            LeaseLostError: another driver has taken it.
        """
        found = dataset(self.table)
        if not self._mine(_holder_in(found)) or not self._write(found, self.clock()):
            raise self.lost()

    def require(self) -> None:
        """Raises `LeaseLostError` if another driver has taken the lease. A lease that has expired is prolonged first."""
        holder = holder_of(self.table)
        if holder is None or not self._mine(holder):
            raise self.lost()
        if holder.expires <= self.clock():
            self.renew()

    def release(self) -> None:
        """Gives the lease up; does nothing if another driver has taken it."""
        found = dataset(self.table)
        if self._mine(_holder_in(found)):
            with contextlib.suppress(OSError):  # taken since, or left to expire
                found.delete_config_keys([ENTRY])

    def lost(self) -> LeaseLostError:
        """Returns the error for a lease that another driver has taken."""
        holder = holder_of(self.table)
        since = f" at {_shown(holder.since)}" if holder else ""
        return LeaseLostError(
            f"another writer took over {self.place}{since}; this one stopped. Nothing is doubled. Run it again to go on."
        )

    def _mine(self, holder: Holder | None) -> bool:
        return holder is not None and holder.driver == self.driver

    def _write(self, found: Any, now: float) -> bool:
        """Writes the entry; returns False if it was changed since `found` was opened."""
        holder = Holder(self.driver, socket.gethostname(), os.getpid(), self._since, int(now + self.seconds))
        try:
            with refusals(self.place):
                found.update_config({ENTRY: str(holder)})
        except OSError as error:
            if CHANGED not in str(error):
                raise
            return False
        return True

    def _held(self, holder: Holder) -> str:
        return (
            f"collection {self.place} is being written by {holder.host} pid {holder.process} since {_shown(holder.since)} "
            f"(lease until {_shown(holder.expires)}). Wait, or stop it; it expires by itself."
        )


def _shown(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds).strftime("%H:%M")
