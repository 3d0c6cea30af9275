"""Settings and fixtures for every test."""

from __future__ import annotations

import gc
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two busy cores make tiny models twenty times slower

from pathlib import Path

import pytest

gc.disable()  # until the tests are collected: looking for garbage among what lives to the end takes a third of the time


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keeps tests in one process of a parallel run where they share a download, the scripted server, or a fixture."""
    for item in items:
        if item.get_closest_marker("starter") or item.get_closest_marker("network"):
            item.add_marker(pytest.mark.xdist_group("downloads"))
        elif "server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("server"))
        elif (
            item.path.parent.name == "e2e"
            or shares_a_fixture(item)
            or any(map(item.get_closest_marker, ("processes", "ray")))
        ):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    items.sort(key=turn)


def turn(item: pytest.Item) -> int:
    """Returns the place of a test in the order: the long groups before what fills the processes to the end."""
    group = item.get_closest_marker("xdist_group")
    return 2 if group is None else int(group.args[0] != "downloads")


def pytest_collection_finish() -> None:
    """Leaves what is there by now out of every later search for garbage."""
    gc.freeze()
    gc.enable()


def shares_a_fixture(item: pytest.Item) -> bool:
    """Returns True for a test with a fixture of its module, which every process would make again."""
    definitions = getattr(item, "_fixtureinfo").name2fixturedefs.values()  # noqa: B009
    return any(found[-1].scope == "module" for found in definitions)


def shared_data() -> Path | None:
    """The development data: CROSSCUE_SHARED, or ../shared/data beside the checkout."""
    named = os.environ.get("CROSSCUE_SHARED")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of development data; skips the test where it is absent."""
    folder = shared_data()
    if folder is None:
        pytest.skip("no development data: set CROSSCUE_SHARED to the folder that holds flickr8k/ ...")
    return folder


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)
