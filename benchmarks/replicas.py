"""Load curve of one and of two replicas behind nginx, and of two of which one is killed, over one collection.

    PYTHONPATH=. python benchmarks/replicas.py exports/starter

EXPORT is made by `crosscue export onnx zero_shot --data SOURCE --out exports/starter`. nginx has the configuration of deploy/.
It is CROSSCUE_NGINX, or that of the system. Servers, nginx and clients share the cores of this machine,
so two replicas are faster here only while one leaves a core idle.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
from tests.serving.processes import proxied, served

from crosscue.opening import open_encoder
from serving import CLIENTS, SECONDS, closed_loop, fresh_texts, make_collection

KILLED = 4
"""Clients that search while a replica is killed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path, help="an export of the starter")
    parser.add_argument("--images", type=int, default=8000)
    given = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    source, texts = str(given.export.resolve()), fresh_texts()
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as running:
        images = Path(scratch, "images")
        make_collection(images, replace(open_encoder(source).identity, source=source), given.images)
        replicas = [running.enter_context(served(images, "--replica", "--access_log", "none")) for _ in range(2)]
        processes = [psutil.Process(replica.pid) for replica, _ in replicas]
        first, second = (address for _, address in replicas)
        for name, addresses in (("one replica", [first, first]), ("two replicas", [first, second])):
            place = Path(scratch, str(len(set(addresses))))
            place.mkdir()
            with proxied(addresses, place) as proxy:
                curve(name, processes, proxy.removeprefix("http://"), texts)
        place = Path(scratch, "killed")
        place.mkdir()
        with proxied([first, second], place) as proxy:
            kill(processes, proxy.removeprefix("http://"), texts)


def curve(name: str, processes: list[psutil.Process], address: str, texts: Iterator[str]) -> None:
    """Print answers in a second and their times, by the number of clients."""
    closed_loop(processes, address, [[next(texts)] for _ in range(8)])  # warm-up
    for clients in CLIENTS:
        load = closed_loop(
            processes, address, [[next(texts) for _ in range(200)] for _ in range(clients)], seconds=SECONDS
        )
        print(load.row(f"{name}, {clients} clients"), flush=True)


def kill(processes: list[psutil.Process], address: str, texts: Iterator[str]) -> None:
    """Print the slowest answers in the second before and after the end of the first replica."""
    times: list[float] = []

    def end() -> None:
        time.sleep(SECONDS / 2)
        times.append(time.perf_counter())
        processes[0].kill()

    ending = threading.Thread(target=end)
    ending.start()
    load = closed_loop(
        processes[1:], address, [[next(texts) for _ in range(999)] for _ in range(KILLED)], seconds=SECONDS
    )
    ending.join()
    killed = times[0]
    answers = list(zip(load.starts, load.walls, strict=True))
    sides = {
        "before": [wall for start, wall in answers if killed - 1 < start and start + wall < killed],
        "after": [wall for start, wall in answers if killed - wall < start < killed + 1],
    }
    for name, took in sides.items():
        p95, slowest = 1000 * np.quantile(took, 0.95), 1000 * max(took)
        print(
            f"{KILLED} clients, in the second {name} a replica is killed: {len(took)} answers, p95 {p95:.1f} ms, slowest {slowest:.1f} ms"
        )


if __name__ == "__main__":
    main()
