"""The lease against a model with a clock, and two drivers at the same moment."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("lance")

from crosscue.errors import CollectionError
from crosscue.search.connection import connect, dataset
from crosscue.search.lease import ENTRY, Holder, Lease, LeaseLostError, holder_of
from crosscue.search.schema import schema

STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["take", "renew", "require", "release"]), st.integers(0, 1)),
        st.tuples(st.just("wait"), st.integers(1, 12)),
    ),
    min_size=4,
    max_size=12,
)


def table(folder: Path) -> str:
    connect(folder).create_table("mine", schema=schema(2))
    return str(folder / "mine.lance")


@settings(max_examples=12, deadline=None)
@given(steps=STEPS)
def test_one_driver_at_a_time_has_the_lease(steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        address, now = table(Path(folder)), 1000
        leases = [Lease(address, "c", 10, lambda: now, f"driver{number}") for number in range(2)]
        holder, expires = None, 0
        for step, number in steps:
            if step == "wait":
                now += number
                continue
            try:
                getattr(leases[number], step)()
                done = True
            except LeaseLostError:
                assert step in ("renew", "require")
                done = False
            except CollectionError:
                assert step == "take"
                done = False
            if step == "take":
                assert done == (holder in (None, number) or expires <= now)
            elif step in ("renew", "require"):
                assert done == (holder == number)
            if done and (step in ("take", "renew") or (step == "require" and expires <= now)):
                holder, expires = number, now + 10
            if step == "release" and holder == number:
                holder = None
            found = holder_of(address)
            assert (found and (found.driver, found.expires)) == (
                None if holder is None else (f"driver{holder}", expires)
            )


def test_a_driver_that_is_overtaken_between_reading_and_writing_is_refused(tmp_path: Path) -> None:
    address = table(tmp_path)
    first = Lease(address, "c", 60, lambda: 100)

    def overtaken() -> float:
        first.take()
        return 100

    second = Lease(address, "photos", 60, overtaken)
    with pytest.raises(CollectionError, match=r"collection photos is being written by \S+ pid \d+ since \d\d:\d\d"):
        second.take()
    assert holder_of(address).driver == first.driver
    second.clock = lambda: 161
    second.take()
    with pytest.raises(LeaseLostError, match=r"another writer took over c at \d\d:\d\d; this one stopped"):
        first.renew()
    first.release()
    assert holder_of(address).driver == second.driver


def test_the_lease_of_a_process_that_is_gone_from_this_machine_is_free(tmp_path: Path) -> None:
    address = table(tmp_path)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for host, process, free in (("elsewhere", gone.pid, False), (socket.gethostname(), gone.pid, True)):
        dataset(address).update_config({ENTRY: str(Holder("x", host, process, 0, 2_000))})
        lease = Lease(address, "c", 60, lambda: 1_000)
        if free:
            lease.take()
            assert holder_of(address).driver == lease.driver
        else:
            with pytest.raises(CollectionError, match=f"by elsewhere pid {gone.pid} since"):
                lease.take()
