"""Images that a run learned from are not measured as if they were new."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import crosscue
from crosscue.data.splits import training_pairs
from crosscue.errors import RunError
from crosscue.training.provenance import Provenance
from tests import tiny
from tests.cli import succeeds
from tests.images import draw_noise


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images with captions beside them, no splits, and a run that learned from all but three of them."""
    folder = tmp_path_factory.mktemp("home")
    write_album(folder / "album", range(12))
    crosscue.adapt(
        folder / "album",
        "linear_probe",
        str(tiny.clip_folder()),
        out=folder / "run",
        training={"epochs": 1},
        validation=0.25,
    )
    return folder


def write_album(folder: Path, seeds: range) -> Path:
    folder.mkdir()
    for seed in seeds:
        draw_noise(folder / f"{seed}.png", seed)
        (folder / f"{seed}.txt").write_text(f"thing {seed}")
    return folder


def test_only_what_was_held_out_is_measured(album: Path) -> None:
    result = crosscue.load(album / "run").evaluate(album / "album")
    assert result.protocol["gallery"] == 3
    assert result.protocol["left_out"] == "9 of 12 images were trained on"
    assert result.protocol["validated_on"] == "3 of the 3 evaluated images validated the run"
    assert result.comparable
    printed = succeeds("evaluate", album / "run", "--data", album / "album")
    assert "9 of 12 images were trained on and are left out" in printed
    assert json.loads((album / "run" / "report" / "report.json").read_text())["before"]["protocol"]["gallery"] == 3


def test_a_copy_with_other_names_is_recognised_and_new_images_are_not(album: Path, tmp_path: Path) -> None:
    mixed = write_album(tmp_path / "mixed", range(100, 105))
    for image in (album / "album").iterdir():
        shutil.copy(image, mixed / f"copy-{image.name}")
    result = crosscue.load(album / "run").evaluate(mixed)
    assert (result.protocol["gallery"], result.protocol["left_out"]) == (8, "9 of 17 images were trained on")
    fresh = crosscue.load(album / "run").evaluate(write_album(tmp_path / "fresh", range(200, 204)))
    assert fresh.protocol["gallery"] == 4
    assert not fresh.protocol.keys() & {"left_out", "validated_on", "not_comparable"}


def test_a_result_on_trained_images_alone_is_stamped(album: Path, tmp_path: Path) -> None:
    train, _ = training_pairs(crosscue.read_pairs(album / "album"), None, 0.25, 1)
    comparison = crosscue.before_and_after(crosscue.load(album / "run"), train)
    assert not comparison.before.comparable
    assert comparison.after.stamp == "9 of 9 images were trained on"
    trained = tmp_path / "trained"
    trained.mkdir()
    for pair in train:
        for suffix in (".png", ".txt"):
            shutil.copy(album / "album" / f"{Path(pair.image.name).stem}{suffix}", trained)
    printed = succeeds("evaluate", album / "run", "--data", trained)
    assert "NOT COMPARABLE: 9 of 9 images were trained on" in printed
    assert "NOT COMPARABLE: 9 of 9 images" in (album / "run" / "report" / "report.html").read_text()
    assert "NOT COMPARABLE: 9 of 9 images" in (album / "run" / "report" / "report.md").read_text()


def test_a_run_without_its_hashes_is_refused(album: Path, tmp_path: Path) -> None:
    run = shutil.copytree(album / "run", tmp_path / "run")
    (run / "pairs.json").write_text('{"train": "all", "val": []}')
    with pytest.raises(RunError, match=r"pairs.json: not as written by crosscue"):
        Provenance.load(run)
    (run / "pairs.json").unlink()
    with pytest.raises(RunError, match=r"pairs.json: .*adapt again"):
        crosscue.load(run).evaluate(album / "album")


def test_the_end_of_adapt_names_a_run_without_held_out_images(tmp_path: Path) -> None:
    for number in range(6):
        draw_noise(tmp_path / f"{number}.png", number)
        (tmp_path / f"{number}.txt").write_text(f"text {number}")
    given = ("--data", ".", "--backbone", tiny.clip_folder(), "--method", "linear_probe", "--training.epochs", 1)
    for validation, held_out in (("false", False), ("0.4", True)):
        printed = succeeds("adapt", *given, "--validation", validation, "--out", f"r{validation}", cwd=tmp_path)
        assert ("no image was held out: evaluate other images" in printed) != held_out
