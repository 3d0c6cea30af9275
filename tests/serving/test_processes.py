"""Real processes: a server that ends without a cut request, keeps its memory, and refuses what it cannot serve in one line."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest

from crosscue.commands import serve
from crosscue.errors import CrosscueError
from tests.cli import COMMAND
from tests.serving.processes import served

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("processes")]


def test_sigterm_answers_what_is_in_work_and_exits_0(indexed: Path) -> None:
    with served(indexed) as (process, address):
        answers: list[int] = []
        texts = [f"a red thing {number}" for number in range(250)]

        def ask() -> None:
            answers.append(httpx.post(f"{address}/v1/embeddings", json={"input": texts}, timeout=60).status_code)

        asking = [threading.Thread(target=ask) for _ in range(4)]
        for thread in asking:
            thread.start()
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        for thread in asking:
            thread.join(60)
        assert process.wait(15) == 0
        assert answers == [200] * 4
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{address}/healthz")


SLOW = """
import time
from fastapi import FastAPI
from crosscue.serving import running
from crosscue.serving.security import Guard, Rules

running.DRAIN = 1
app = FastAPI()
app.get("/slow")(lambda: time.sleep(600))
app.add_middleware(Guard, rules=Rules(), max_body=lambda path: 1000)
sock = running.listening("127.0.0.1", 0)
print(sock.getsockname()[1], flush=True)
running.run(app, sock)
"""


def test_sigterm_waits_for_no_request_that_takes_too_long() -> None:
    process = subprocess.Popen([sys.executable, "-c", SLOW], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}/slow"
        answers: list[httpx.Response] = []
        asking = threading.Thread(target=lambda: answers.append(httpx.get(url, timeout=120)))
        asking.start()
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        asking.join(60)
        assert process.wait(60) == 0
        assert answers[0].status_code == 503 and answers[0].json()["error"]["code"] == "ending"
    finally:
        process.kill()


def test_memory_is_flat_over_requests(indexed: Path) -> None:
    """The long form, with 10,000 requests and the starter, is benchmarks/serving.py."""
    with (
        served(indexed, "--access_log", "none") as (process, address),
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        server, sizes = psutil.Process(process.pid), []
        for number in range(1, 2_001):
            text = f"a new thing {number}" if number % 20 == 0 else f"a red thing {number % 50}"
            if number % 10 == 0:
                answer = client.post("/api/search", json={"query": text, "k": 3})
            else:
                answer = client.post("/v1/embeddings", json={"input": text})
            assert answer.status_code == 200
            if number in (400, 2_000):
                sizes.append(server.memory_info().rss / 2**20)
        assert sizes[1] < sizes[0] + 10, f"{sizes[0]:.0f} MB after 400 requests, {sizes[1]:.0f} MB after 2,000"


def test_a_taken_port_and_a_missing_collection_are_one_line(indexed: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for arguments, message in (
            (["serve", str(indexed), "--port", port], f"port {port} is in use. Choose another"),
            (["serve", str(tmp_path)], "no collection here. Make one: crosscue index FOLDER"),
            (["serve", str(indexed), "--host", "0.0.0.0"], "other machines could search without a key"),
            (["serve"], "name a collection: crosscue serve DIR"),
        ):
            done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=120)
            assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


def test_numpy_has_one_thread_in_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    with pytest.raises(CrosscueError):
        serve.run([str(tmp_path / "none")])
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
