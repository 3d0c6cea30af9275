"""Small generated images, and sources of them with captions, categories and splits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}


def write_source(folder: Path, *, offset: int = 0, train: int = 16, val: int = 8, test: int = 8) -> Path:
    """Writes images of four colours with one caption each and returns the folder; `offset` changes the noise."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(train + val + test):
        colour, rgb = list(COLOURS.items())[number % 4]
        draw(folder / f"{number}.jpg", rgb, offset + number)
        split = "train" if number < train else "val" if number < train + val else "test"
        rows.append(
            {"image": f"{number}.jpg", "caption": f"a {colour} thing {number}", "category": colour, "split": split}
        )
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def draw(path: Path, rgb: tuple[int, int, int], seed: int) -> None:
    """Writes a noisy image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 60, (36, 40, 3))
    Image.fromarray((np.array(rgb) * 0.75 + noise).astype(np.uint8)).save(path)


def draw_noise(path: Path, seed: int, height: int = 40, width: int = 40) -> Path:
    """Writes an image of noise and returns its path."""
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(values).save(path)
    return path
