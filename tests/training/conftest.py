"""Pictures to train on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSCUE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """32 training, 8 validation and 8 test pictures with a JSONL listing."""
    rows = []
    for number in range(48):
        colour, rgb = list(COLOURS.items())[number % 4]
        noise = np.random.default_rng(number).integers(0, 60, (36, 40, 3))
        Image.fromarray((np.array(rgb) * 0.75 + noise).astype(np.uint8)).save(tmp_path / f"{number}.jpg")
        split = "train" if number < 32 else "val" if number < 40 else "test"
        rows.append(
            {"image": f"{number}.jpg", "caption": f"a {colour} thing {number}", "category": colour, "split": split}
        )
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path
