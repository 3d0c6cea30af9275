"""A small deterministic encoder, and folders of images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crosscue.data.pixels import PixelSpec
from crosscue.encoding.encoder import Encoded, Floats, Identity, Pixels
from crosscue.encoding.hubness import TextBank
from crosscue.search.collection import Collection, create_collection, open_collection
from crosscue.search.indexing import Indexing, Outcome, index, targets_of, walks_of, writing

WIDTH, SIZE = 16, 8


class ColourEncoder:
    """An encoder without a model: an image is a fixed projection of its pixels, a text one of its characters."""

    pixels = PixelSpec(SIZE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    rerank_modes: tuple[str, ...] = ()

    def __init__(self, run: str = "a", bank: bool = False) -> None:
        seed = int(hashlib.sha256(run.encode()).hexdigest()[:8], 16)
        self.projection = np.random.default_rng(seed).standard_normal((3 * SIZE * SIZE, WIDTH)).astype(np.float32)
        self.identity = Identity(run * 64, f"runs/{run}", "colours", "none", WIDTH, SIZE, "torch", "fp32")
        self.bank = TextBank(self.encode_texts(["one", "two", "three"]).vectors, 10.0) if bank else None
        self.images = 0
        """Images that were encoded so far."""

    def encode_texts(self, texts: Sequence[str]) -> Encoded:
        rows = [np.frombuffer(hashlib.sha256(text.encode()).digest()[:WIDTH], np.uint8) for text in texts]
        vectors = np.array(rows, np.float32).reshape(-1, WIDTH) - 127.5
        return Encoded(unit(vectors), np.zeros(len(texts), np.int64))

    def encode_images(self, pixels: Pixels) -> Floats:
        self.images += len(pixels)
        return unit((pixels.reshape(len(pixels), -1).astype(np.float32) / 255 - 0.4) @ self.projection)

    def rerank(self, mode: str, text: str, pixels: Pixels, plain: Floats) -> Floats:
        raise AssertionError("there are no modes")

    def uncertainty(self, scores: Floats) -> float | None:
        return None


def unit(vectors: np.ndarray) -> Floats:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def paint(path: Path, seed: int, side: int = 12) -> Path:
    """Writes a small PNG whose bytes depend on `seed` alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC).save(path, "PNG")
    return path


@pytest.fixture
def encoder() -> ColourEncoder:
    return ColourEncoder()


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    return create_collection(tmp_path / "my.crosscue")


def indexed(place: Path, folders: Sequence[Path], encoder: ColourEncoder, **options: object) -> Outcome:
    """Indexes folders into the space `mine` of a collection, as the verb does."""
    with writing(place) as found:
        space = found.add_space("mine", encoder.identity)
        chosen = Indexing(**{"batch_size": 4, "threads": 2, **options})
        walks = walks_of(found, targets_of(found, folders), chosen.scan)
        found.save()
        return index(found, space, lambda: encoder, walks, chosen, {})


def rows_of(place: Path) -> dict[str, dict[str, object]]:
    """The rows of a collection by path, with their vectors."""
    return {row["path"]: row for row in open_collection(place).table("mine").search().to_list()}
