"""Images to train on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.images import write_source


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSCUE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """32 training, 8 validation and 8 test images with a JSONL listing."""
    return write_source(tmp_path, train=32, val=8, test=8)
