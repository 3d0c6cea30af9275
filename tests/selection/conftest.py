"""Small searches: few candidates, few steps, a tiny CLIP."""

from __future__ import annotations

from pathlib import Path

import pytest

from crosscue.selection import search
from crosscue.selection.candidates import Candidate
from tests.images import write_source


class Clock:
    """A clock that a training step moves forward; `look` is added whenever it is read."""

    def __init__(self, look: float = 0.0) -> None:
        self.look, self.now = look, 0.0

    def __call__(self) -> float:
        self.now += self.look
        return self.now


def short(backbone: object, start: int) -> list[Candidate]:
    """Two heads and two rates of LoRA in the last layer."""
    late = {"image_start_layer": start}
    return [
        Candidate("linear_probe", 1e-3),
        Candidate("linear_probe", 1e-2),
        Candidate("lora", 1e-3, late),
        Candidate("lora", 1e-2, late),
    ]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSCUE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few candidates and few steps, and one validation split from 20 images on."""
    monkeypatch.setattr("crosscue.selection.search.candidates", short)
    monkeypatch.setattr("crosscue.selection.pool.FEW", 20)
    quick(monkeypatch)


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps."""
    monkeypatch.setattr(search, "STEPS", (2, 4, 6))
    monkeypatch.setattr(search, "LEAST_STEPS", 1)
    monkeypatch.setattr(search, "HEAD_STEPS", 12)
    monkeypatch.setattr(search, "LEAST_HEAD_STEPS", 4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """24 training images, 12 of validation, 8 of test."""
    return write_source(tmp_path / "images", train=24, val=12)
