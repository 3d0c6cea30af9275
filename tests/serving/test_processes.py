"""Real processes: a server that ends without a cut request, and two replicas behind nginx while one of them is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from crosscue.api import adapt
from tests import tiny
from tests.cli import COMMAND, succeeds
from tests.images import write_source

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("processes")]
CONF = Path(__file__).parents[2] / "deploy" / "nginx.conf"


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images that an export of a tiny run has indexed."""
    root = tmp_path_factory.mktemp("processes")
    source = write_source(root / "images")
    out = root / "run"
    adapt(str(source), "dual_prompt", str(tiny.clip_folder()), out=out, precision="fp32", training={"epochs": 1})
    succeeds("export", "onnx", out, "--out", root / "export")
    folder = source if source.is_dir() else source.parent
    succeeds("index", folder, "--run", root / "export", "--name", "base")
    return folder


@contextmanager
def served(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yields a server process and its address, when its model is loaded."""
    command = [*COMMAND, "serve", str(folder), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = process.stdout.readline().split()[0].rstrip("/")
    threading.Thread(target=process.stderr.read, daemon=True).start()  # type: ignore[union-attr]
    try:
        until = time.monotonic() + 60
        while httpx.get(f"{address}/readyz").status_code != 200:
            assert time.monotonic() < until and process.poll() is None
            time.sleep(0.05)
        yield process, address
    finally:
        process.kill()
        process.wait(10)


def wait_for(answers: list[tuple[int, int]], number: int) -> None:
    until = time.monotonic() + 120
    while len(answers) < number:
        assert time.monotonic() < until, f"{len(answers)} answers"
        time.sleep(0.05)


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


def test_two_replicas_behind_nginx_fail_no_request_while_one_is_killed(indexed: Path, tmp_path: Path) -> None:
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    if not os.access(nginx, os.X_OK):
        pytest.skip("nginx is not installed: apt install nginx-light")
    with ExitStack() as running:
        first, second = (running.enter_context(served(indexed)) for _ in range(2))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        conf = CONF.read_text().replace("listen 8080", f"listen 127.0.0.1:{port}")
        for own, (_, address) in zip(("7878", "7879"), (first, second), strict=True):
            conf = conf.replace(f"127.0.0.1:{own} ", f"{address.removeprefix('http://')} ")
        places = "".join(
            f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        conf = conf.replace("http {", f"http {{\naccess_log off;\n{places}")
        (tmp_path / "nginx.conf").write_text(f"daemon off;\npid {tmp_path}/pid;\nerror_log {tmp_path}/errors;\n{conf}")
        proxy = subprocess.Popen(
            [nginx, "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)], stderr=subprocess.DEVNULL
        )
        running.callback(proxy.wait, 10)
        running.callback(proxy.terminate)
        url = f"http://127.0.0.1:{port}"
        answers: list[tuple[int, int]] = []
        stop = threading.Event()

        def ask(number: int) -> None:
            with httpx.Client(timeout=30) as client:
                while not stop.is_set():
                    found = client.post(f"{url}/api/search", json={"query": f"a red thing {number}", "k": 3})
                    answers.append((found.status_code, len(found.json().get("hits", ()))))

        time.sleep(0.5)
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        wait_for(answers, 20)
        writing = subprocess.Popen(
            [*COMMAND, "index", "--collection", str(indexed / ".crosscue")],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        wait_for(answers, 40)
        first[0].kill()
        before = len(answers)
        assert writing.wait(120) == 0
        wait_for(answers, before + 40)
        stop.set()
        for thread in threads:
            thread.join(60)
        assert {status for status, _ in answers} == {200} and {number for _, number in answers} == {3}, json.dumps(
            answers[:5]
        )
