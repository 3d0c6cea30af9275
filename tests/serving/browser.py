"""A real server on a free port, and a real browser before it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from crosscue.serving.app import application
from crosscue.serving.holdings import Holdings
from crosscue.serving.running import listening
from crosscue.serving.security import Rules
from crosscue.serving.service import Service
from tests.serving.encoders import ColourEncoder, OtherEncoder

CHROMIUM = os.environ.get("CROSSCUE_CHROMIUM", "/usr/bin/chromium")


@contextmanager
def running(folder: Path, rules: Rules | None = None) -> Iterator[str]:
    """Yields the address of a server over a collection of boards."""
    sock = listening("127.0.0.1", 0)
    service = Service({"base": ColourEncoder, "other": OtherEncoder})
    app = application(service, Holdings([folder]), rules or Rules(), absolute=True)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        sock.close()


@contextmanager
def browser() -> Iterator[Any]:
    """Yields Chromium; skips the test where it is not installed."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"{CHROMIUM} is not there: apt install chromium, or name one in CROSSCUE_CHROMIUM")
    with sync_api.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()
