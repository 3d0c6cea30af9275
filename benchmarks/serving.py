"""Speed and memory of `crosscue serve` over HTTP: a closed loop of few clients, on this machine alone.

    python benchmarks/serving.py exports/starter --images 8000 --requests 10000

EXPORT is an export of the starter (crosscue export onnx zero_shot --data SOURCE --out exports/starter). The server runs once
with it and once with torch. Vectors are random, because neither time nor memory depends on what images show.
CPU time is that of the server process. Where other programs keep the cores busy, wall times are printed without a comparison.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
from PIL import Image as Pillow

from crosscue.encoding.encoder import Identity
from crosscue.opening import open_encoder
from crosscue.search.collection import THUMBNAILS, create_collection
from crosscue.search.indices import maintain
from crosscue.search.thumbnails import thumbnail_path, write_thumbnail
from crosscue.search.writing import Writer
from search import table_of, unit

COMMAND = (sys.executable, "-c", "from crosscue.cli import main; main()", "serve")
GOALS = {"onnx": {"start": 2.0, "ready": 4.0, "query": 60.0}, "torch": {"start": 2.0, "ready": 8.0, "query": 120.0}}
CACHED, PAGE = 25.0, 1.0
"""Seconds and milliseconds (p95) that the specification allows on two idle cores."""
SEARCH, EMBEDDING = ("/api/search", '{"query": %s, "k": 20}'), ("/v1/embeddings", '{"input": %s}')
CLIENTS, SECONDS = (1, 2, 4, 8, 16, 32), 5.0
"""Clients of the steps of the load curve, and the seconds of each step."""
NOUNS = [
    "bicycle",
    "dog",
    "tower",
    "kitchen",
    "lake",
    "bridge",
    "guitar",
    "market",
    "horse",
    "train",
    "garden",
    "window",
    "beach",
    "clock",
    "mountain",
]
PLACES = [
    "in the rain",
    "at night",
    "on a table",
    "behind a fence",
    "near the water",
    "under a tree",
    "in the snow",
    "on a wall",
]
COLOURS = ["red", "green", "blue", "yellow", "black", "white", "brown", "orange", "purple", "grey"]


@dataclass
class Load:
    """Answers of a closed loop."""

    starts: list[float] = field(default_factory=list)
    """Time at which each request began."""
    walls: list[float] = field(default_factory=list)
    """Seconds of each answer."""
    refused: int = 0
    """Answers 429."""
    seconds: float = 0.0
    server_cpu: float = 0.0
    own_cpu: float = 0.0
    """CPU seconds of the clients, which share the cores."""

    def row(self, name: str) -> str:
        """Returns a line of the table."""
        p50, p95, p99 = 1000 * np.quantile(self.walls, [0.5, 0.95, 0.99])
        count = len(self.walls)
        return (
            f"{name:28} {count / self.seconds:7.1f}/s  p50 {p50:7.1f}  p95 {p95:7.1f}  p99 {p99:7.1f} ms;  "
            f"{1000 * self.server_cpu / count:6.1f} CPU-ms of the server, {1000 * self.own_cpu / count:5.1f} of the clients"
        )

    @property
    def rate(self) -> float:
        """Answers in a second."""
        return len(self.walls) / self.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path, help="an export of the starter")
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--queries", type=int, default=200, help="most answers of a client in each row of the table")
    parser.add_argument("--requests", type=int, default=10_000, help="requests after which memory is compared; 0: not")
    parser.add_argument("--runtimes", default="onnx,torch")
    given = parser.parse_args()
    cores, load = os.cpu_count() or 1, os.getloadavg()[0]
    idle = load < 0.5 * cores
    print(f"load {load:.1f} on {cores} cores: {'wall times count' if idle else 'busy, so only CPU time counts'}")
    cpu: dict[str, float] = {}
    walls: dict[str, float] = {}
    for runtime in given.runtimes.split(","):
        source = str(given.export.resolve()) if runtime == "onnx" else "zero_shot"
        with tempfile.TemporaryDirectory() as scratch:
            make_collection(Path(scratch), replace(open_encoder(source).identity, source=source), given.images)
            with served(Path(scratch), runtime, idle) as (process, address):
                cpu[runtime], walls[runtime] = measure(process, address, runtime, given, idle)
    if len(cpu) == 2:
        print(f"\na warm query: torch takes {cpu['torch'] / cpu['onnx']:.1f} times the CPU time of onnx", end="")
        print(
            f", and {walls['torch'] / walls['onnx']:.1f} times the wall time" if idle else "; wall times: not compared"
        )


def make_collection(folder: Path, identity: Identity, images: int) -> None:
    """Write a collection of random unit vectors with thumbnails."""
    draw = np.random.default_rng(0)
    collection = create_collection(folder / ".crosscue")
    collection.roots["r"] = folder
    space = collection.add_space("starter", identity)
    table = collection.table("starter")
    rows = table_of(0, unit(draw.standard_normal((images, identity.width)).astype(np.float32)), [""])
    contents = [f"{number:064x}" for number in range(images)]
    for name, column in (("content", contents), ("width", [320] * images), ("height", [240] * images)):
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, rows.schema.field(place), pa.array(column, rows.schema.field(place).type))
    table.add(rows)
    maintain(collection, space, Writer(table, collection.table_folder("starter")))
    thumbs = collection.folder / THUMBNAILS
    drawn = [Pillow.fromarray(draw.integers(0, 256, (240, 320, 3), dtype=np.uint8)) for _ in range(8)]
    made = [write_thumbnail(thumbs, content, image) for content, image in zip(contents, drawn, strict=False)]
    for content, source in zip(contents[len(made) :], itertools.cycle(made)):
        thumbnail_path(thumbs, content).hardlink_to(source)


@contextmanager
def served(folder: Path, runtime: str, idle: bool) -> Iterator[tuple[psutil.Process, str]]:
    """Yield the server process and its address, when its model is loaded; print the seconds of both steps."""
    started = time.perf_counter()
    command = [*COMMAND, str(folder), "--port", "0", "--access_log", "none"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    process = psutil.Process(running.pid)
    try:
        assert running.stdout is not None
        address = running.stdout.readline().split()[0].removeprefix("http://").rstrip("/")
        steps = {}
        for step, path in (("start", "/healthz"), ("ready", "/readyz")):
            while status(address, path) != 200:
                assert running.poll() is None, "the server ended"
                assert time.perf_counter() - started < 600, "the server does not answer"
                time.sleep(0.02)
            steps[step] = time.perf_counter() - started, cpu_of(process)
        print(f"\n{runtime}")
        for step, (seconds, cpu) in steps.items():
            print(
                f"{step + ' after':28} {seconds:7.2f} s, {cpu:6.2f} CPU-s{judged(seconds, GOALS[runtime][step], idle, 's')}"
            )
        yield process, address
    finally:
        running.terminate()
        running.wait(30)


def measure(
    process: psutil.Process, address: str, runtime: str, given: argparse.Namespace, idle: bool
) -> tuple[float, float]:
    """Print all rows of one server; return CPU seconds and p95 of a warm query."""
    texts = fresh_texts()
    closed_loop([process], address, [[next(texts)] * 1 for _ in range(8)])  # warm-up
    warm = closed_loop([process], address, [[next(texts) for _ in range(given.queries)]])
    print(
        warm.row("warm text, 1 client")
        + judged(1000 * float(np.quantile(warm.walls, 0.95)), GOALS[runtime]["query"], idle)
    )
    cached = closed_loop([process], address, [["a red bicycle"] * given.queries])
    print(cached.row("cached text, 1 client") + judged(1000 * float(np.quantile(cached.walls, 0.95)), CACHED, idle))
    page(address, idle)
    knee(process, address, given.queries, texts)
    if given.requests:
        memory(process, address, given.requests, texts)
    return warm.server_cpu / len(warm.walls), float(np.quantile(warm.walls, 0.95))


def knee(process: psutil.Process, address: str, queries: int, texts: Iterator[str]) -> None:
    """Print the load curve of new texts, the number of clients from which the rate rises by less than 10 %, and the reason."""
    found: dict[int, Load] = {}
    for clients in CLIENTS:
        sent = [[next(texts) for _ in range(queries)] for _ in range(clients)]
        found[clients] = load = closed_loop([process], address, sent, seconds=SECONDS)
        used = f"{load.server_cpu / load.seconds:.2f} and {load.own_cpu / load.seconds:.2f} cores"
        print(f"{load.row(f'new texts, {clients} clients')}: {used}, {load.refused} refused")
    steps = list(itertools.pairwise(CLIENTS))
    at = next((low for low, high in steps if found[high].rate < 1.1 * found[low].rate), CLIENTS[-1])
    cores = os.cpu_count() or 1
    busy = (found[at].server_cpu + found[at].own_cpu) / found[at].seconds / cores
    limit = (
        "the CPU"
        if busy > 0.8
        else "waiting: other programs have the cores"
        if os.getloadavg()[0] > cores
        else "one thread"
    )
    print(
        f"knee at {at} clients: server and clients keep {100 * busy:.0f} % of {cores} cores busy, so the limit is {limit}"
    )


def memory(process: psutil.Process, address: str, requests: int, texts: Iterator[str]) -> None:
    """Print the memory of the server after a fifth of the requests and after all; a fifth are searches, a twentieth new texts."""
    known = [next(texts) for _ in range(100)]
    sizes = []
    for count in (requests // 5, requests - requests // 5):
        sent = [next(texts) if number % 20 == 0 else known[number % 100] for number in range(count)]
        found = closed_loop([process], address, [sent[: count // 2], sent[count // 2 :]], searched=5)
        assert len(found.walls) == count, f"{found.refused} requests were refused"
        sizes.append(process.memory_info().rss / 2**20)
    growth = sizes[1] - sizes[0]
    flat = "flat" if growth < 0.03 * sizes[0] else "NOT FLAT"
    print(
        f"memory after {requests // 5:,} and {requests:,} requests: {sizes[0]:.1f} and {sizes[1]:.1f} MB ({growth:+.1f}): {flat}"
    )


def page(address: str, idle: bool) -> None:
    """Print the seconds until the first result is seen in Chromium, if it is installed."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        print("page: left out, because playwright is not installed")
        return
    chromium = os.environ.get("CROSSCUE_CHROMIUM", "/usr/bin/chromium")
    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        seconds = []
        for _ in range(5):
            tab = opened.new_page()
            start = time.perf_counter()
            tab.goto(f"http://{address}/?q=a+red+bicycle")
            tab.wait_for_selector("body[data-ready] #results .tile img")
            seconds.append(time.perf_counter() - start)
            tab.close()
        opened.close()
    print(
        f"{'page usable, median of 5':28} {np.median(seconds):7.2f} s{judged(float(np.median(seconds)), PAGE, idle, 's')}"
    )


def closed_loop(
    processes: Sequence[psutil.Process],
    address: str,
    clients: Sequence[Sequence[str]],
    searched: int = 1,
    seconds: float = float("inf"),
) -> Load:
    """Return the answers of some clients: each sends its next text when it has the answer to the last one.

    One text in `searched` is searched for, and the others are encoded alone. After some seconds no client sends any more.
    """
    load, lock = Load(), threading.Lock()

    def client(texts: Sequence[str]) -> None:
        connection = http.client.HTTPConnection(address, timeout=120)
        for number, text in enumerate(texts):
            start = time.perf_counter()
            if start > until:
                break
            path, body = SEARCH if number % searched == 0 else EMBEDDING
            connection.request("POST", path, body % json.dumps(text), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            took = time.perf_counter() - start
            with lock:
                if answer.status == 429:
                    load.refused += 1
                    continue
                assert answer.status == 200, answer.status
                load.starts.append(start)
                load.walls.append(took)
        connection.close()

    threads = [threading.Thread(target=client, args=(texts,)) for texts in clients]
    until = time.perf_counter() + seconds
    start, server, own = time.perf_counter(), sum(map(cpu_of, processes)), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    load.seconds = time.perf_counter() - start
    load.server_cpu, load.own_cpu = sum(map(cpu_of, processes)) - server, time.process_time() - own
    return load


def fresh_texts() -> Iterator[str]:
    """Yield texts, each once."""
    for number in itertools.count(1):
        for colour, noun, place in itertools.product(COLOURS, NOUNS, PLACES):
            yield f"{number} {colour} {noun}s {place}" if number > 1 else f"a {colour} {noun} {place}"


def judged(value: float, goal: float, idle: bool, unit_name: str = "ms") -> str:
    """Return the comparison with a goal; on a busy machine there is none."""
    return f"  (goal {goal:g} {unit_name}: {'met' if value <= goal else 'MISSED'})" if idle else ""


def cpu_of(process: psutil.Process) -> float:
    """Return the CPU seconds of a process so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def status(address: str, path: str) -> int:
    """Return the status of a GET, or 0 where nothing answers."""
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


if __name__ == "__main__":
    main()
