"""A folder of generated images, a tiny backbone, and one run made from them."""

from __future__ import annotations

from pathlib import Path

import pytest

import crosscue
from crosscue.training.config import TrainingConfig
from tests import tiny
from tests.images import write_source


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 images with captions, categories and the splits train, val and test."""
    return write_source(tmp_path_factory.mktemp("docs") / "images")


@pytest.fixture(scope="session")
def backbone() -> str:
    """The folder of a tiny CLIP."""
    return str(tiny.clip_folder())


@pytest.fixture(scope="session")
def run_folder(source: Path, backbone: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of `dual_prompt`."""
    folder = tmp_path_factory.mktemp("docs-run") / "run"
    crosscue.adapt(source, "dual_prompt", backbone, out=folder, training=TrainingConfig(epochs=1))
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps decoded images out of the user's cache."""
    monkeypatch.setenv("CROSSCUE_CACHE", str(tmp_path_factory.getbasetemp() / "docs-cache"))
