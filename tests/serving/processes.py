"""Server processes, and nginx with the configuration of deploy/ before them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.cli import COMMAND

CONF = Path(__file__).parents[2] / "deploy" / "nginx.conf"
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@contextmanager
def served(folder: Path, *options: str, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yields a server process and its address, when its model is loaded."""
    command = [*COMMAND, "serve", str(folder), "--port", str(port), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = process.stdout.readline().split()[0].rstrip("/")
    threading.Thread(target=process.stderr.read, daemon=True).start()  # type: ignore[union-attr]
    try:
        until = time.monotonic() + 60
        while httpx.get(f"{address}/readyz", timeout=60).status_code != 200:
            assert time.monotonic() < until and process.poll() is None
            time.sleep(0.05)
        yield process, address
    finally:
        process.kill()
        process.wait(10)


@contextmanager
def proxied(addresses: Sequence[str], scratch: Path) -> Iterator[str]:
    """Yields the address of nginx with deploy/nginx.conf, before two servers."""
    nginx = os.environ.get("CROSSCUE_NGINX") or shutil.which("nginx") or "/usr/sbin/nginx"
    if not os.access(nginx, os.X_OK):
        pytest.skip("nginx is not installed: apt install nginx-light, or set CROSSCUE_NGINX")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    conf = CONF.read_text().replace("listen 8080", f"listen 127.0.0.1:{port}")
    for own, address in zip(("replica-1:7878", "replica-2:7878"), addresses, strict=True):
        conf = conf.replace(own, address.removeprefix("http://"))
    places = "".join(f"{kind}_temp_path {scratch}/{kind};\n" for kind in TEMPORARY)
    conf = conf.replace("http {", f"http {{\naccess_log off;\n{places}")
    (scratch / "nginx.conf").write_text(f"daemon off;\npid {scratch}/pid;\nerror_log {scratch}/errors;\n{conf}")
    proxy = subprocess.Popen([nginx, "-c", str(scratch / "nginx.conf"), "-p", str(scratch)], stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 20
        while not listens(port):
            assert time.monotonic() < until and proxy.poll() is None, (scratch / "errors").read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        proxy.terminate()
        proxy.wait(10)


def listens(port: int) -> bool:
    """Returns True if something listens on a port of this machine."""
    with socket.socket() as trying:
        return trying.connect_ex(("127.0.0.1", port)) == 0
