"""Real images, small."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Draw = Callable[..., Path]


@pytest.fixture
def draw_image(tmp_path: Path) -> Draw:
    """Writes an image and returns its path."""

    def draw(name: str, size: tuple[int, int] = (40, 30), seed: int = 0, mode: str = "RGB", **save: object) -> Path:
        channels = {"RGB": 3, "RGBA": 4, "CMYK": 4, "L": 1}[mode]
        values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values.squeeze(), mode).save(path, **save)
        return path

    return draw
