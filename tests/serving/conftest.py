"""A collection of coloured images in two spaces, and servers over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image as Pillow

from crosscue.api import adapt
from crosscue.search.indexing import Indexing, index, targets_of, walks_of, writing
from crosscue.serving.app import application
from crosscue.serving.holdings import Holdings
from crosscue.serving.security import Rules
from crosscue.serving.service import Service
from tests import tiny
from tests.cli import succeeds
from tests.images import write_source
from tests.serving.encoders import COLOURS, ColourEncoder, OtherEncoder

Asking = Callable[..., TestClient]


def paint(folder: Path, count: int = 60, coarse: int = 0) -> None:
    """Writes images of three colours in turn, each with its caption; number 3 is a copy of number 0.

    Without `coarse`, the largest difference of the shade of a cell, all images of one colour are alike.
    """
    draw = np.random.default_rng(11)
    folder.mkdir(parents=True, exist_ok=True)
    names = list(COLOURS)
    for number in range(count):
        colour = names[number % 3]
        noise = draw.integers(-25, 26, (32, 40, 3))
        if coarse:
            noise = noise + np.kron(draw.integers(-coarse, coarse + 1, (8, 8, 1)), np.ones((4, 5, 1), np.int64))
        pixels = np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)
        path = folder / f"{colour}-{number:02}.png"
        Pillow.fromarray(pixels).resize((400, 320), Pillow.Resampling.NEAREST).save(path)
        path.with_suffix(".txt").write_text(f"a {colour} board number {number}")
    (folder / "red-03.png").write_bytes((folder / "red-00.png").read_bytes())


@pytest.fixture(scope="session")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images with a collection in it: spaces `base` and `other`."""
    folder = tmp_path_factory.mktemp("serving") / "boards"
    collect(folder)
    return folder


def collect(folder: Path, count: int = 60, coarse: int = 0) -> None:
    """Writes images and indexes them in two spaces."""
    paint(folder, count, coarse)
    for name, opens in (("base", ColourEncoder), ("other", OtherEncoder)):
        with writing(folder / ".crosscue") as collection:
            targets = targets_of(collection, [folder])
            options = Indexing()
            walks = walks_of(collection, targets, options.scan)
            collection.save()
            index(collection, collection.add_space(name, opens.identity), opens, walks, options, {})


@pytest.fixture(scope="session")
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
def serving(
    folder: Path, rules: Rules | None = None, *, absolute: bool = True, replica: bool = False
) -> Iterator[TestClient]:
    """Yields a client of a server over a collection, when its models are loaded."""
    holdings = Holdings([folder])
    service = Service({"base": ColourEncoder, "other": OtherEncoder})
    app = application(service, holdings, rules or Rules(), absolute=absolute, replica=replica)
    with TestClient(app, base_url="http://127.0.0.1:7878") as client:
        while client.get("/readyz").status_code != 200:
            pass
        yield client


@pytest.fixture(scope="module")
def asking(painted: Path) -> Iterator[TestClient]:
    with serving(painted) as client:
        yield client
