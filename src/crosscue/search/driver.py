"""The driver of several workers: the queue of shards, and the commits of what workers have written.

1. It takes the lease, removes what is left over, and only then plans: the plan contains all that was committed before.
2. It hands out shards, and takes one answer for each. A shard that is lost is handed out again.
3. It commits in one `Append`. Lance accepts an `Append` of a driver that has lost its lease, so doubles are removed afterwards.
"""

from __future__ import annotations

import datetime
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosscue.progress import note
from crosscue.search.connection import dataset
from crosscue.search.lease import ENTRY, Lease
from crosscue.search.reading import Failure
from crosscue.search.refusals import refusals
from crosscue.search.schema import KEY
from crosscue.search.shards import Lost, Shard, Written, shard_of
from crosscue.search.writing import GRACE

if TYPE_CHECKING:
    from crosscue.search.engines import Engine, Worker

SHARDS = "crosscue.shards"
"""Property of a commit: the names of its shards."""
FRAGMENTS = 64
"""Fragments that are committed at once, however short the interval was."""
DEATHS = 3
"""Workers that a shard may end. Its images are then handed out one by one."""
CONFLICTS = 5
"""Attempts to remove doubles while other processes change the table."""


class Driver(Iterator[Shard]):
    """The driver of one table. As an iterator it hands out shards; it can go on after its end, when a shard was lost."""

    def __init__(self, lease: Lease, force: Callable[[], None] = lambda: None) -> None:
        """Takes the lease and prepares the table.

        Args:
            lease: the lease of the table.
            force: forces the files of the table to the disk.

        Raises:
            CollectionError: another driver has the lease.
        """
        self.lease, self.force, self.table = lease, force, lease.table
        self.failures: list[Failure] = []
        self._waiting: deque[Shard] = deque()
        self._open: dict[str, Shard] = {}
        self._deaths: Counter[str] = Counter()
        self._pending: list[Written] = []
        lease.take()
        self._seen = int(dataset(self.table).version)
        remove_doubles(self.table)
        if removed := clean(self.table):
            note(f"{lease.place}: {removed} files of workers that ended were removed.")
        self.force()

    def __next__(self) -> Shard:
        """Returns the next shard. Raises `StopIteration` while none waits."""
        if not self._waiting:
            raise StopIteration
        return self._waiting.popleft()

    def plan(self, shards: Iterable[Shard]) -> None:
        """Adds shards of images that the table does not have."""
        for shard in shards:
            self._open[shard.name] = shard
            self._waiting.append(shard)

    @property
    def fragments(self) -> int:
        """Number of fragments that wait for a commit."""
        return sum(len(answer.fragments) for answer in self._pending)

    def take(self, answer: Written) -> bool:
        """Keeps an answer for the next commit; returns False for the second answer about a shard."""
        if self._open.pop(answer.shard, None) is None:
            return False
        self.failures.extend(answer.failures)
        self._pending.append(answer)
        return True

    def lose(self, lost: Lost) -> None:
        """Hands a shard out again; after some deaths its images one by one. An image that ends workers is a failure."""
        shard = lost.shard
        if shard.name not in self._open:
            return
        self._deaths[shard.name] += 1
        if self._deaths[shard.name] < DEATHS:
            self._waiting.append(shard)
            return
        del self._open[shard.name]
        if len(shard.items) > 1:
            self.plan(shard_of([item]) for item in shard.items)
        else:
            self.failures.append(Failure(shard.items[0], "", f"ended {DEATHS} processes that read it ({lost.reason})"))

    def commit(self) -> None:
        """Commits the answers so far, removes doubles where another driver was at work, and prolongs the lease.

        Raises:
            LeaseLostError: another driver has the lease. No image has two rows.
        """
        records = [record for answer in self._pending for record in answer.fragments]
        self.lease.require()
        if records:
            import lance

            fragments = [lance.FragmentMetadata.from_json(record) for record in records]
            names = ",".join(answer.shard for answer in self._pending)
            made = lance.Transaction(
                int(dataset(self.table).version),
                lance.LanceOperation.Append(fragments),
                transaction_properties={ENTRY: self.lease.driver, SHARDS: names},
            )
            with refusals(self.lease.place):
                lance.LanceDataset.commit(self.table, made)
        self._pending = []
        self._fence()
        self.lease.renew()
        self.force()

    def _fence(self) -> None:
        """Removes doubles if another process has changed rows since the last commit."""
        found = dataset(self.table)
        seen, self._seen = self._seen, int(found.version)
        if any(self._foreign(found.read_transaction(version)) for version in range(seen + 1, self._seen + 1)):
            remove_doubles(self.table)

    def _foreign(self, made: Any) -> bool:
        if made is None:
            return True
        return type(made.operation).__name__ != "UpdateConfig" and (
            (made.transaction_properties or {}).get(ENTRY) != self.lease.driver
        )


def drive(
    driver: Driver, engine: Engine, worker: Worker, interval: float, stop: Callable[[], bool] = lambda: False
) -> Iterator[int]:
    """Has the shards of a driver written by an engine, and yields the number of images after each answer.

    Args:
        driver: the driver, with its plan.
        engine: what runs workers.
        worker: what each of them opens.
        interval: seconds between two commits.
        stop: returns True when the user wants to stop; answers so far are committed.
    """
    last = time.monotonic()
    with closing(engine.run(driver, worker)) as answers:
        for answer in answers:
            if isinstance(answer, Lost):
                note(f"{driver.lease.place}: a worker ended ({answer.reason}). Its images are handed out again.")
                driver.lose(answer)
            elif answer is not None and driver.take(answer):
                yield answer.rows + len(answer.failures)
            if driver.fragments >= FRAGMENTS or time.monotonic() - last > interval:
                driver.commit()
                last = time.monotonic()
            if stop():
                break
    driver.commit()


def remove_doubles(table: str) -> int:
    """Deletes rows whose id another row has, all but the one with the smallest row id, and returns their number."""
    import pyarrow.compute as pc

    for attempt in range(CONFLICTS):
        found = dataset(table)
        rows = found.to_table(columns=[KEY], with_row_id=True)
        kept = rows.group_by(KEY).aggregate([("_rowid", "min")])["_rowid_min"]
        doubles = rows["_rowid"].filter(pc.invert(pc.is_in(rows["_rowid"], value_set=kept))).to_pylist()
        if not doubles:
            return 0
        try:  # a repetition inside Lance would take row ids of an older version
            found.delete(f"_rowid IN ({', '.join(map(str, doubles))})", conflict_retries=0)
        except (OSError, RuntimeError):
            if attempt == CONFLICTS - 1:
                raise
            continue
        return len(doubles)
    raise AssertionError("unreachable")


def clean(table: str, grace: float = GRACE) -> int:
    """Removes files of workers that no driver has committed, and returns their number.

    Younger ones than `grace` seconds are kept: they can belong to a driver that has only been paused. In an object store
    Lance removes them, once they are a week old.
    """
    found = dataset(table)
    found.cleanup_old_versions(datetime.timedelta(seconds=max(grace, GRACE)))
    if "://" in table:
        return 0
    before = time.time() - grace
    old = {path.name for path in Path(table, "data").glob("*.lance") if path.stat().st_mtime < before}
    for version in sorted((kept["version"] for kept in found.versions()), reverse=True):
        if not old:
            break
        fragments = found.checkout_version(version).get_fragments()
        old -= {file.path for fragment in fragments for file in fragment.metadata.files}
    for name in old:
        Path(table, "data", name).unlink(missing_ok=True)
    return len(old)
