"""A scripted server on a real socket, and real JPEGs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.knowledge.server import COLOURS, Scripted, Server

Serve = Callable[..., Scripted]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that answers with the given function; several may run in one test."""
    with ExitStack() as stack:

        def start(answer: Any, **options: Any) -> Scripted:
            scripted = Scripted(answer if inspect.isfunction(answer) else lambda asked, number: answer, **options)
            return stack.enter_context(Server(scripted))

        yield start


def draw(path: Path, colour: str, width: int) -> Path:
    """Writes a real JPEG of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, 40), COLOURS[colour]).save(path, quality=95)
    return path
