"""A scripted server on a real socket, and real JPEGs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.knowledge.server import COLOURS, Scripted, Server

Serve = Callable[..., Scripted]


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One real server for the whole folder."""
    server = Server()
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def serve(server: Server) -> Serve:
    """Adds a script that answers with the given function, or always with the given reply."""

    def start(answer: Any, **options: Any) -> Scripted:
        return server.add(
            Scripted(answer if inspect.isfunction(answer) else lambda received, number: answer, **options)
        )

    return start


def draw(path: Path, colour: str, width: int) -> Path:
    """Writes a real JPEG of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, 40), COLOURS[colour]).save(path, quality=95)
    return path
