"""Shards, their driver and the lease, in any order of events, against a model. CROSSCUE_EXAMPLES=200 tries more orders."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

pytest.importorskip("lance")

from crosscue.errors import CollectionError
from crosscue.search.connection import connect, dataset
from crosscue.search.driver import DEATHS, Driver, clean
from crosscue.search.lease import Lease, LeaseLostError, holder_of
from crosscue.search.scanning import Item
from crosscue.search.shards import Lost, Shard, Written, shard_of, shards_of, write

SCHEMA = pa.schema([pa.field("id", pa.string(), nullable=False)])
ITEMS = [Item(f"{number:02d}", "photos", b"", 1, 1, None) for number in range(9)]
SECONDS = 100


class Crash(Exception):
    """The end of a driver in the middle of a commit."""


def crash() -> None:
    raise Crash


def table(folder: str | Path) -> str:
    connect(Path(folder)).create_table("mine", schema=SCHEMA)
    return str(Path(folder) / "mine.lance")


def stored(address: str) -> list[str]:
    return sorted(dataset(address).to_table(columns=["id"])["id"].to_pylist())


def written(address: str, shard: Shard) -> Written:
    rows = pa.table({"id": [item.id for item in shard.items]}, schema=SCHEMA)
    return Written(shard.name, write(address, rows), rows.num_rows)


class Events(RuleBasedStateMachine):
    """Two drivers at most are alive at once; each may be the one that has lost its lease."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.table = table(self.folder.name)
        self.now = 1000
        self.drivers: list[Driver] = []
        self.working: dict[int, list[Shard]] = {}
        self.answers: dict[int, list[Written]] = {}
        self.committed: set[str] = set()
        self.doubled = False

    def teardown(self) -> None:
        self.now += 2 * SECONDS
        last = self.started()
        for shard in last:
            last.take(written(self.table, shard))
        last.commit()
        assert stored(self.table) == [item.id for item in ITEMS]
        self.folder.cleanup()

    def started(self) -> Driver:
        driver = Driver(Lease(self.table, "c", SECONDS, lambda: self.now))
        present = set(stored(self.table))
        driver.plan(shards_of((item for item in ITEMS if item.id not in present), 4))
        self.doubled = False
        return driver

    def chosen(self, number: int) -> Driver:
        return self.drivers[number % len(self.drivers)]

    def ended(self, driver: Driver) -> None:
        self.drivers.remove(driver)

    @rule()
    @precondition(lambda self: len(self.drivers) < 2)
    def start(self) -> None:
        holder = holder_of(self.table)
        if holder is not None and holder.expires > self.now:
            with pytest.raises(CollectionError, match="it expires by itself"):
                self.started()
            return
        driver = self.started()
        self.drivers.append(driver)
        self.working[id(driver)], self.answers[id(driver)] = [], []

    @rule(number=st.integers(0, 1))
    @precondition(lambda self: self.drivers)
    def work(self, number: int) -> None:
        driver = self.chosen(number)
        for shard in driver:
            self.working[id(driver)].append(shard)
            self.answers[id(driver)].append(written(self.table, shard))
            break

    @rule(number=st.integers(0, 1))
    @precondition(lambda self: self.drivers)
    def answer(self, number: int) -> None:
        """The newest answer comes, and now and then a second time."""
        driver = self.chosen(number)
        for answer in self.answers[id(driver)][-1:]:
            driver.take(answer)

    @rule(number=st.integers(0, 1))
    @precondition(lambda self: self.drivers)
    def lose(self, number: int) -> None:
        driver = self.chosen(number)
        if self.working[id(driver)]:
            driver.lose(Lost(self.working[id(driver)].pop(), "signal 9"))

    @rule(number=st.integers(0, 1), paused=st.booleans(), crashing=st.booleans())
    @precondition(lambda self: self.drivers)
    def commit(self, number: int, paused: bool, crashing: bool) -> None:
        """A commit; `paused`: the lease was looked at before another driver took it; `crashing`: nothing follows the Append."""
        driver = self.chosen(number)
        mine = holder_of(self.table).driver == driver.lease.driver
        if paused:
            driver.lease.require = lambda: None
        if crashing:
            driver._fence = crash
        try:
            driver.commit()
            assert mine
            self.doubled = False
        except Crash:
            self.doubled |= not mine
            self.ended(driver)
        except LeaseLostError:
            assert not mine
            self.ended(driver)
        if "require" in vars(driver.lease):
            del driver.lease.require
        self.committed |= set(stored(self.table))

    @rule(number=st.integers(0, 1))
    @precondition(lambda self: self.drivers)
    def crash(self, number: int) -> None:
        self.ended(self.chosen(number))

    @rule()
    def wait(self) -> None:
        self.now += SECONDS - 20

    @invariant()
    def nothing_committed_is_lost_and_nothing_is_doubled(self) -> None:
        ids = stored(self.table)
        assert set(ids) >= self.committed
        assert self.doubled or len(set(ids)) == len(ids)


def test_in_any_order_of_events_every_image_has_one_row() -> None:
    examples = int(os.environ.get("CROSSCUE_EXAMPLES", "6"))
    run_state_machine_as_test(Events, settings=settings(max_examples=examples, stateful_step_count=16, deadline=None))


def test_an_overtaken_driver_leaves_no_double(tmp_path: Path) -> None:
    address, now = table(tmp_path), 1000
    first = Driver(Lease(address, "c", SECONDS, lambda: now))
    first.plan(shards_of(ITEMS))
    first.take(written(address, next(first)))
    with pytest.raises(CollectionError, match="collection c is being written"):
        Driver(Lease(address, "c", SECONDS, lambda: now))
    now += SECONDS
    second = Driver(Lease(address, "c", SECONDS, lambda: now))
    second.plan(shards_of(ITEMS))
    answer = written(address, next(second))
    first.lease.require = lambda: None  # it was paused just before its Append
    with pytest.raises(LeaseLostError, match=r"this one stopped\. Nothing is doubled"):
        first.commit()
    second.take(answer)
    second.commit()
    assert stored(address) == [item.id for item in ITEMS]


def test_a_shard_that_ends_workers_is_handed_out_singly_and_only_its_bad_image_fails(tmp_path: Path) -> None:
    address = table(tmp_path)
    driver = Driver(Lease(address, "c", SECONDS))
    driver.plan(shards_of(ITEMS))
    seen = []
    for shard in driver:
        seen.append(len(shard.items))
        if any(item.id == "05" for item in shard.items):
            driver.lose(Lost(shard, "signal 9"))
        else:
            driver.take(written(address, shard))
    driver.commit()
    assert seen[: DEATHS + 1] == [9] * DEATHS + [1]
    assert [failure.item.id for failure in driver.failures] == ["05"]
    assert stored(address) == [item.id for item in ITEMS if item.id != "05"]
    properties = [made.transaction_properties for made in dataset(address).get_transactions()]
    assert any(shard_of([ITEMS[0]]).name in found.get("crosscue.shards", "") for found in properties)


def test_old_files_of_lost_workers_are_removed_and_young_ones_are_kept(tmp_path: Path) -> None:
    address = table(tmp_path)
    lost, late, kept = shards_of(ITEMS, 3)
    driver = Driver(Lease(address, "c", SECONDS))
    driver.plan([kept])
    driver.take(written(address, next(driver)))
    driver.commit()
    written(address, lost)
    for path in Path(address, "data").iterdir():
        os.utime(path, (time.time() - 7200,) * 2)
    young = written(address, late)
    assert clean(address) == 1
    assert stored(address) == [item.id for item in kept.items]
    assert json.loads(young.fragments[0])["files"][0]["path"] in {path.name for path in Path(address, "data").iterdir()}
    assert [shard.name for shard in shards_of(ITEMS, 3)] == [shard.name for shard in shards_of(ITEMS[::-1], 3)]
