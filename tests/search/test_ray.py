"""Workers on a real Ray cluster of a head and three nodes, against the index of one process; nodes, workers and drivers
that are killed. CROSSCUE_KILLS=3 kills nodes at three random times as well, with 2,000 images.
"""

from __future__ import annotations

import functools
import http.server
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

pytest.importorskip("ray")
pytest.importorskip("lance")

import ray
from ray.cluster_utils import Cluster

import crosscue
from crosscue.errors import CollectionError, RunError
from crosscue.search import engines
from crosscue.search.connection import dataset
from crosscue.search.driver import clean
from crosscue.search.engines_ray import RayActors
from crosscue.search.indexing import Indexing, Outcome, Spread, index, targets_of, walks_of, writing
from crosscue.search.lease import holder_of
from crosscue.search.ray_cluster import connected
from crosscue.search.shards import write
from tests.cli import refused, succeeds
from tests.search.conftest import ColourEncoder, indexed, rows_of
from tests.search.test_engines import ROOT, SlowEncoder, assert_equal, sign

pytestmark = [pytest.mark.ray, pytest.mark.slow]
KILLS = int(os.environ.get("CROSSCUE_KILLS", "0"))


class PausingEncoder(SlowEncoder):
    """An encoder whose process pauses between the write of a shard and the answer, and leaves its number in a folder."""

    def __init__(self, seconds: float, at_work: Path) -> None:
        super().__init__()
        engines.write = lambda table, rows: (write(table, rows), pause(seconds, at_work))[0]


def pause(seconds: float, at_work: Path) -> None:
    (at_work / str(os.getpid())).touch()
    time.sleep(seconds)


class FileEncoder(ColourEncoder):
    """An encoder that needs a file below the folder MODELS of its machine, and waits for another file at its first image."""

    def __init__(self, name: str, wait_for: Path | None = None) -> None:
        super().__init__(bank=True)
        self.wait_for = wait_for
        if not Path(os.environ["MODELS"], name).exists():
            raise RunError(f"{name}: there is no such model.")

    def encode_images(self, pixels: np.ndarray) -> np.ndarray:
        until = time.monotonic() + 120
        while self.wait_for is not None and not self.wait_for.exists() and time.monotonic() < until:
            time.sleep(0.05)
        return super().encode_images(pixels)


class Machines:
    """A cluster of a head, which has no CPUs for workers, and three nodes.

    One node has another folder MODELS, and another one another working directory. Most tests do not look at either.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("models", "here", "elsewhere"):
            (folder / name).mkdir()
        (folder / "models" / "colours").touch()
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self.address = self.cluster.address
        self.nodes: dict[str, Any] = {}

    def complete(self) -> None:
        for name in ("usual", "no model", "elsewhere"):
            if name not in self.nodes or not self.nodes[name].any_processes_alive():
                models = self.folder / ("empty" if name == "no model" else "models")
                place = "elsewhere" if name == "elsewhere" else "here"
                self.nodes[name] = self.add(self.folder / place, MODELS=str(models))

    def add(self, directory: Path, **environment: str) -> Any:
        before = Path.cwd()
        os.chdir(directory)
        try:
            return self.cluster.add_node(num_cpus=1, env_vars=environment)
        finally:
            os.chdir(before)

    def kill(self, name: str) -> None:
        """Kills the raylet of a node and all its processes, workers among them."""
        node = self.nodes[name]
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        for process in [*raylet.children(recursive=True), raylet]:
            process.kill()
        self.cluster.remove_node(self.nodes.pop(name), allow_graceful=False)

    def of(self, worker: int) -> str:
        """Returns the node of a worker."""
        parents = {process.pid for process in psutil.Process(worker).parents()}
        return next(name for name, node in self.nodes.items() if node.all_processes["raylet"][0].process.pid in parents)


@pytest.fixture(scope="module")
def started() -> Iterator[Machines]:
    before, handler = set(psutil.Process().children(recursive=True)), signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(dir="/tmp") as folder:  # short, for sockets
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_worker_niceness", "0")  # by default workers yield to all other processes
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(Path(crosscue.__file__).parents[1])]))
        machines = Machines(Path(folder))
        try:
            yield machines
        finally:
            machines.cluster.shutdown()
            signal.signal(signal.SIGTERM, handler)
        left = psutil.wait_procs(set(psutil.Process().children(recursive=True)) - before, 10)[1]
        assert not left


@pytest.fixture
def machines(started: Machines) -> Machines:
    started.complete()
    return started


def photograph(path: Path, seed: int) -> None:
    """Writes a small JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((48, 36), Image.Resampling.BICUBIC).save(path, "JPEG")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many") / "photos"
    for number in range(40):
        photograph(folder / f"{number}.jpg", number % 37)  # three copies
        (folder / f"{number}.txt").write_text(f"caption {number}\n")
    (folder / "broken.jpg").write_bytes((folder / "1.jpg").read_bytes()[:90])
    return folder


@pytest.fixture(scope="module")
def calm(photos: Path) -> tuple[Outcome, dict[str, dict[str, object]]]:
    place = photos.parent / "calm"
    return indexed(place, [photos], ColourEncoder(bank=True)), rows_of(place)


def actors(machines: Machines, workers: int = 3) -> RayActors:
    return RayActors(workers, machines.address, cpus=1)


def spread_over(
    place: Path,
    folder: Path,
    engine: RayActors,
    opens: functools.partial[Any],
    shard: int = 8,
    root: Path | None = None,
) -> Outcome:
    with writing(place) as found:
        space = found.add_space("mine", ColourEncoder(bank=True).identity)
        options = Indexing(batch_size=4, threads=1)
        targets = targets_of(found, [folder])
        walks = walks_of(found, targets, options.scan)
        found.save()
        if root is not None:
            found.roots[targets[0][0]] = root
        return index(found, space, opens, walks, options, {}, spread=Spread(engine, opens, shard, 0.3))


def orphans(place: Path) -> set[str]:
    """Names of the files of a table that no version has."""
    address = str(place / "tables" / "mine.lance")
    found = dataset(address)
    versions = [found.checkout_version(kept["version"]) for kept in found.versions()]
    held = {file.path for one in versions for part in one.get_fragments() for file in part.metadata.files}
    return {path.name for path in Path(address, "data").glob("*.lance")} - held


def test_actors_write_the_rows_of_one_process(
    machines: Machines, photos: Path, tmp_path: Path, calm: tuple[Outcome, dict]
) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        outcome = spread_over(tmp_path / "c", photos, actors(machines), functools.partial(SlowEncoder, 0.2))
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN, "Ray has its own"
    finally:
        signal.signal(signal.SIGTERM, before)
    assert_equal(tmp_path / "c", calm[1])
    assert str(outcome.counts) == str(calm[0].counts)
    assert outcome.counts.unreadable == 1


def test_the_verb_indexes_on_a_cluster(machines: Machines, photos: Path, tmp_path: Path) -> None:
    from tests import tiny  # it imports torch, which the actors of the other tests do without

    base = ("index", photos, "--run", "zero_shot", "--backbone", tiny.clip_folder(), "--precision", "fp32")
    on_ray = ("--workers", 1, "--engine", "ray", "--ray_address", machines.address, "--cpus_per_worker", 1)
    said = succeeds(*base, "--collection", tmp_path / "c", *on_ray)
    assert said == "41 images: 37 added, 3 copied, 0 same, 1 unreadable (failures.jsonl).\n"
    succeeds(*base, "--collection", tmp_path / "local")
    ours, theirs = (open_rows(tmp_path / name) for name in ("c", "local"))
    assert ours.keys() == theirs.keys()
    assert np.allclose([ours[one] for one in ours], [theirs[one] for one in ours], atol=1e-6)


def open_rows(place: Path) -> dict[str, np.ndarray]:
    from crosscue.search.collection import open_collection

    return {row["path"]: row["vector"] for row in open_collection(place).table().search().to_list()}


def kill_a_node(machines: Machines, at_work: Path, killed: list[str], wait: float = 0.0) -> threading.Thread:
    """Starts a thread that kills the node of the first worker that leaves its number in a folder."""

    def run() -> None:
        until = time.monotonic() + 90
        while time.monotonic() < until and not (found := list(at_work.iterdir())):
            time.sleep(0.02)
        killed.append(machines.of(int(found[0].name)))
        time.sleep(wait)
        machines.kill(killed[0])

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_a_killed_node_costs_no_image(
    machines: Machines, photos: Path, tmp_path: Path, calm: tuple[Outcome, dict], capsys: pytest.CaptureFixture[str]
) -> None:
    """The node ends after a shard was written and before the answer."""
    at_work, killed = tmp_path / "at_work", list[str]()
    at_work.mkdir()
    killer = kill_a_node(machines, at_work, killed)
    spread_over(tmp_path / "c", photos, actors(machines), functools.partial(PausingEncoder, 2.0, at_work))
    killer.join(30)
    assert len(killed) == 1
    assert "a worker ended (on node " in capsys.readouterr().err
    assert_equal(tmp_path / "c", calm[1])
    assert len(orphans(tmp_path / "c")) == 1
    assert clean(str(tmp_path / "c" / "tables" / "mine.lance"), 0) == 1
    assert orphans(tmp_path / "c") == set()
    assert_equal(tmp_path / "c", calm[1])


def test_a_killed_driver_loses_no_commit_and_its_actors_end(
    machines: Machines, photos: Path, tmp_path: Path, calm: tuple[Outcome, dict]
) -> None:
    place, at_work = tmp_path / "c", tmp_path / "at_work"
    at_work.mkdir()
    command = [sys.executable, "-m", "tests.search.test_ray", *map(str, (place, photos, machines.address, at_work))]
    process = subprocess.Popen(command, cwd=ROOT)
    until = time.monotonic() + 120
    while len(list((place / "tables" / "mine.lance" / "data").glob("*.lance"))) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    process.kill()
    process.wait()
    workers = [psutil.Process(int(one.name)) for one in at_work.iterdir() if psutil.pid_exists(int(one.name))]
    assert workers
    assert psutil.wait_procs(workers, 20)[1] == []
    assert holder_of(str(place / "tables" / "mine.lance")) is not None
    spread_over(place, photos, actors(machines, 1), functools.partial(SlowEncoder))
    assert_equal(place, calm[1])


def test_nodes_that_cannot_work_are_left_out_by_name(
    machines: Machines,
    photos: Path,
    tmp_path: Path,
    calm: tuple[Outcome, dict],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The node that can work waits until the others were left out: it could do all the work before they arrive."""
    older = tmp_path / "older" / "crosscue"
    older.mkdir(parents=True)
    for name in ("__init__.py", "errors.py"):
        shutil.copy(Path(crosscue.__file__).parent / name, older / name)
    (older / "version.py").write_text('__version__ = "0.0.1"\n')
    here = machines.folder / "here"
    (here / "photos").symlink_to(photos)
    monkeypatch.chdir(here)
    monkeypatch.setenv("MODELS", str(machines.folder / "models"))
    said, all_left_out = list[str](), tmp_path / "all_left_out"

    def hears(message: str) -> None:
        said.append(message)
        if len(said) == 3:
            all_left_out.touch()

    monkeypatch.setattr("crosscue.search.engines_ray.note", hears)
    machines.nodes["older"] = machines.add(here, PYTHONPATH=str(older.parent))
    try:
        opens = functools.partial(FileEncoder, "colours", all_left_out)
        spread_over(tmp_path / "c", photos, actors(machines, 4), opens, root=Path("photos"))
    finally:
        machines.kill("older")
    assert_equal(tmp_path / "c", calm[1])
    others = " ".join(said)
    assert len(said) == 3
    assert f"has crosscue 0.0.1, not {crosscue.__version__} (left out). There: pip install crosscue==" in others
    assert "cannot read photos/" in others
    assert "cannot open the encoder (left out): colours: there is no such model." in others


def test_a_run_on_nodes_of_which_none_can_work_ends_soon(machines: Machines, photos: Path, tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(CollectionError, match=r"(node [\d.]+ cannot open the encoder \(left out\): nothing: .*){3}"):
        spread_over(tmp_path / "c", photos, actors(machines, 2), functools.partial(FileEncoder, "nothing"))
    assert time.monotonic() - start < 60


def test_a_cluster_without_room_for_a_worker_is_refused(
    machines: Machines, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crosscue.search.engines_ray.PATIENCE", 1.0)
    with pytest.raises(CollectionError, match=r"no node of the Ray cluster has 64 CPUs and 0 GPUs .*--cpus_per_worker"):
        spread_over(tmp_path / "c", photos, RayActors(1, machines.address, cpus=64), functools.partial(ColourEncoder))


def test_an_image_that_ends_its_actors_is_a_failure(
    machines: Machines, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photograph(tmp_path / "photos" / "0.jpg", 0)
    indexed(tmp_path / "calm", [tmp_path / "photos"], ColourEncoder(bank=True))
    poison = sign(np.array(rows_of(tmp_path / "calm")["0.jpg"]["vector"]))
    opens = functools.partial(SlowEncoder, poison=poison)
    outcome = spread_over(tmp_path / "c", tmp_path / "photos", actors(machines, 1), opens)
    assert (len(rows_of(tmp_path / "c")), outcome.counts.unreadable) == (0, 1)
    assert "ended 3 processes that read it (on node " in (tmp_path / "c" / "failures.jsonl").read_text()
    assert capsys.readouterr().out == "", "Ray reports the end of a worker there"


@pytest.fixture(params=["closed", "silent", "another service"])
def wrong_port(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "another service":
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"127.0.0.1:{server.server_port}"
            server.shutdown()
        return
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if request.param == "silent":
            listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


ON_RAY = ("--run", "zero_shot", "--workers", 2, "--engine", "ray")


def test_a_cluster_that_is_not_there_is_named_at_once(wrong_port: str, photos: Path, tmp_path: Path) -> None:
    start = time.monotonic()
    said = refused("index", photos, "--collection", tmp_path / "c", *ON_RAY, "--ray_address", wrong_port)
    assert f"no Ray cluster at {wrong_port}. Start one (`ray start --head`), or leave --engine ray out." in said
    assert time.monotonic() - start < 10
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("given", "named"), [("auto", r"[\d.]+:1"), ("nowhere", "nowhere"), ("host:port", "host:port")]
)
def test_an_address_without_a_cluster_is_refused(
    given: str, named: str, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    said = refused("index", photos, *ON_RAY, "--ray_address", given)
    assert re.search(rf"no Ray cluster at {named}\. Start one", said)


def test_other_versions_of_ray_and_a_machine_without_it_are_refused(
    machines: Machines, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "__version__", "2.59.0")
    other = r"has Ray (\S+) on Python \S+, this process Ray 2\.59\.0 on Python \S+\. Use the same: pip install ray==\1$"
    with pytest.raises(CollectionError, match=other), connected(machines.address):
        pass
    monkeypatch.setitem(sys.modules, "ray._private.services", None)
    assert "needs the package ray: pip install 'crosscue[scale]'" in refused("index", photos, *ON_RAY)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--engine", "ray"), "--engine ray needs the number of workers, such as --workers 4"),
        (("--workers", 2, "--ray_address", "auto"), "ray_address has no effect without --engine ray"),
        ((*ON_RAY, "--cpus_per_worker", 0), "cpus_per_worker is 0; it must be above 0"),
        ((*ON_RAY, "--gpus_per_worker", -1), "gpus_per_worker is -1; it must be at least 0"),
    ],
)
def test_mistakes_are_one_line(arguments: tuple[object, ...], message: str, photos: Path) -> None:
    assert message in refused("index", photos, *arguments)


@pytest.mark.skipif(not KILLS, reason="CROSSCUE_KILLS=3 kills nodes at three random times")
def test_nodes_that_are_killed_at_random_times_cost_no_image(machines: Machines, tmp_path: Path) -> None:
    chance = random.Random(0)
    for number in range(2000):
        photograph(tmp_path / "photos" / f"{number}.jpg", number)
    indexed(tmp_path / "calm", [tmp_path / "photos"], ColourEncoder(bank=True))
    calm = rows_of(tmp_path / "calm")
    for number in range(KILLS):
        machines.complete()
        place, at_work = tmp_path / f"c{number}", tmp_path / f"at_work{number}"
        at_work.mkdir()
        killed = list[str]()
        killer = kill_a_node(machines, at_work, killed, chance.uniform(0, 5))
        opens = functools.partial(SlowEncoder, 0.02, at_work=at_work)
        spread_over(place, tmp_path / "photos", actors(machines), opens, 64)
        killer.join(60)
        assert len(killed) == 1
        assert_equal(place, calm)
        lost = len(orphans(place))
        assert clean(str(place / "tables" / "mine.lance"), 0) == lost
        assert orphans(place) == set()


if __name__ == "__main__":
    place, folder, address, at_work = sys.argv[1:]
    opens = functools.partial(SlowEncoder, 0.5, at_work=Path(at_work))
    spread_over(Path(place), Path(folder), RayActors(1, address, cpus=1), opens)
