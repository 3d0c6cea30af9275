"""crosscue plan: what it prints, what it refuses, and that it leaves nothing behind."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from crosscue import memory
from crosscue.backbones.frozen import FrozenFeatures
from crosscue.planning.adapting import fitting, kept
from crosscue.planning.estimate import Estimate, Part, duration, measured, size
from crosscue.planning.evaluating import HELD, IMAGES, TEXTS, encoding_bytes
from crosscue.planning.samples import through_frozen_layers
from crosscue.planning.steps import BESIDE, Step
from crosscue.storage import cache_dir
from crosscue.training.config import TrainingConfig
from tests import tiny
from tests.cli import refused, succeeds
from tests.images import write_source


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with images; the starter is a tiny CLIP."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CROSSCUE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("crosscue.backbones.starter.starter_folder", tiny.clip_folder)
    monkeypatch.setattr("crosscue.planning.adapting.SHORT", 0)  # tiny towers take no time
    write_source(tmp_path / "my_images")
    return tmp_path


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_training_is_planned_and_nothing_is_written(place: Path) -> None:
    before = files(place)
    told = succeeds("plan", "adapt", "--data", "my_images", "--method", "dual_prompt", "--training.epochs", "6")
    assert files(place) == before
    assert re.search(r"^dual_prompt on starter, 32 px, \w+, cpu: 16 images train, 8 validate\n", told)
    assert "24 images read and decoded" in told and "6 steps of 16 pairs" in told and "7 validations of 8" in told
    assert re.search(r"^memory: \S+ [MG]B of .* free$", told, re.M) and "DOES NOT FIT" not in told
    assert f"74 kB of pixels in {cache_dir()}" in told  # 24 x 3 x 32 x 32
    assert re.search(r"^a pair needs \S+ kB, so batches of up to [\d,]+ fit$", told, re.M)
    assert re.search(r"^measured: a step of 16 pairs is \S+ GFLOP", told, re.M)


def test_chunks_folds_stages_and_processes_are_planned(place: Path) -> None:
    common = ("plan", "adapt", "--data", "my_images", "--training.epochs", "5")
    told = succeeds(*common, "--method", "full_ft", "--folds", "3", "--training.batch_size", "8")
    assert re.search(r"\b45 steps of 8 pairs", told) and "6 validations of 24 images" in told  # 24 images, 3 trainings
    told = succeeds(*common, "--method", "filip", "--training.rows_at_once", "4", "--processes", "2")
    assert "2 processes share the cores" in told
    told = succeeds(*common, "--method", "linear_probe", "--validation", "false")
    assert "through frozen layers" in told and "of frozen layers there" in told and "validations" not in told


def test_an_evaluation_an_index_and_a_search_are_planned(place: Path) -> None:
    told = succeeds("plan", "evaluate", "zero_shot", "--data", "my_images")
    assert told.startswith("zero_shot: 8 images, 8 captions\n") and "untouched backbone" not in told
    assert "wording of 8 captions, by spaCy" in told and "on top" not in told
    assert "normalising with a bank is not counted" in succeeds(
        *("plan", "evaluate", "zero_shot", "--data", "my_images", "--normalise", "bank")
    )
    before = files(place)
    told = succeeds("plan", "index", "my_images", "--run", "zero_shot", "--captions")
    assert "vectors of captions are not counted" in told
    assert told.startswith("32 images to read, 0 same\n") and re.search(
        r"kB of vectors and records, .* thumbnails", told
    )
    assert files(place) == before
    succeeds("index", "my_images", "--run", "zero_shot")
    (place / "my_images" / "0.jpg").unlink()
    shutil.copy(place / "my_images" / "1.jpg", place / "my_images" / "new.jpg")
    before = files(place)
    told = succeeds("plan", "index", "my_images")
    assert told.startswith("1 images to read, 31 same\n")
    told = succeeds("plan", "search", "a red thing", "--collection", "my_images")
    assert (
        told.startswith("zero_shot: 32 images, no index: every vector is read\n") and "32 vectors are searched" in told
    )
    assert files(place) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["adapt", "--data", "my_images"], "name it: crosscue plan adapt --data my_images --method dual_prompt"),
        (["adapt", "--method", "dual_prompt"], "crosscue plan adapt --data SOURCE"),
        (["adapt", "--data", "nowhere", "--method", "dual_prompt"], "nowhere"),
        (["adapt", "--data", "my_images", "--method", "dual_promt"], "Did you mean 'dual_prompt'?"),
        (
            ["adapt", "--data", "my_images", "--method", "dual_prompt", "--shotss", "4"],
            "See `crosscue plan adapt --help`",
        ),
        (["adapt", "--data", "my_images", "--method", "dual_prompt", "--processes", "0"], "at least 1"),
        (
            ["adapt", "--data", "my_images", "--method", "dual_prompt", "--processes", "40"],
            "40 processes need a row each",
        ),
        (
            ["adapt", "--data", "my_images", "--method", "dual_prompt", "--processes", "2", "--folds", "3"],
            "--folds runs on 1 process, and there are 2",
        ),
        (["adapt", "--data", "my_images", "--method", "dual_prompt", "--training.epochs", "0"], "at least 1"),
        (["evaluate", "zero_shot"], "crosscue plan evaluate RUN --data SOURCE"),
        (["evaluate", "nothing", "--data", "my_images"], "neither a run folder nor a method"),
        (["index"], "crosscue plan index FOLDER --run RUN"),
        (["index", "my_images"], "crosscue plan index FOLDER --run RUN"),
        (["index", "my_images", "--run", "zero_shot", "--batch_size", "0"], "at least 1"),
        (["search", "a dog", "--collection", "my_images"], "no collection here"),
        (["everything"], "there is no verb 'everything'"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments: list[str], message: str, place: Path) -> None:
    assert message in refused("plan", *arguments)


def test_a_batch_that_does_not_fit_gets_rows_at_once() -> None:
    found = Step(256, 1e12, 2.0, 2.0, 256e7 / BESIDE)  # 10 MB a pair
    lines = fitting(found, 1e9, 2e9, TrainingConfig(batch_size=256), 1)
    assert lines[0] == "a pair needs 10 MB, so batches of up to 64 fit"
    assert lines[1].startswith("--training.rows_at_once 64 gives the same gradients in 1.6 GB")
    assert kept(found, 64) == pytest.approx(64e7) and kept(found, None, 2) == pytest.approx(128e7)
    assert len(fitting(found, 1e9, 9e9, TrainingConfig(batch_size=256), 1)) == 1
    assert "not even one pair" in fitting(found, 2e9, 2e9, TrainingConfig(batch_size=256), 1)[0]
    assert "1.0 GB free: DOES NOT FIT" in str(Estimate("", [Part("a", 1.0)], 2e9, 1e9))


def test_the_memory_of_an_encoding_grows_with_images_and_captions() -> None:
    backbone = tiny.tiny_backbones["clip"]()
    positions = {count: backbone.image_width * (backbone.patch_count + 1) * count for count in (8, IMAGES)}
    of_words = encoding_bytes(backbone, 0, ["a red dog"] * 9) / HELD / 4
    assert of_words == backbone.text_width * 9 * (backbone.token_count("a red dog") + 2)
    assert encoding_bytes(backbone, 8, ["a red dog"] * 9) == HELD * 4 * (positions[8] + of_words)
    assert encoding_bytes(backbone, 9_000, ["a"] * 9_000) == encoding_bytes(backbone, IMAGES, ["a"] * TEXTS)
    long = encoding_bytes(backbone, 0, ["a"] * 8 + ["a red dog and " * 99]) / HELD / 4
    assert long == backbone.text_width * 9 * backbone.context_length


def test_the_cache_computes_whole_blocks_and_one_image_more(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    computed, behind = [], FrozenFeatures.compute
    monkeypatch.setattr(
        FrozenFeatures, "compute", lambda rows, images: computed.append(len(images)) or behind(rows, images)
    )
    succeeds("evaluate", "zero_shot", "--data", "my_images")
    assert sum(computed) == through_frozen_layers(8) == 33
    assert through_frozen_layers(0) == 0 and through_frozen_layers(64) == 65


def test_long_work_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def calls_of(seconds: list[float]) -> tuple[float, int]:
        left = iter(seconds)

        def work() -> None:
            now[0] += next(left)

        return measured(work), len(list(left))

    assert calls_of([9.0, 5.0, 1.0, 1.0]) == (5.0, 2)
    assert calls_of([9.0, 0.25, 0.125, 0.5]) == (0.125, 0)


def test_the_most_memory_is_that_of_the_process_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory.most_resident_bytes() >= memory.resident_bytes() > 0
    monkeypatch.setattr(memory, "STATUS", tmp_path / "status")
    monkeypatch.setattr(memory, "resident_bytes", lambda: 7.0)
    assert memory.most_resident_bytes() == 7.0
    (tmp_path / "status").write_text("VmPeak:  9 kB\nVmHWM:\t    2048 kB\nVmRSS:  1 kB\n")
    assert memory.most_resident_bytes() == 2_097_152


def test_times_and_sizes_are_short() -> None:
    assert [duration(value) for value in (0.05, 7.26, 45, 200, 3_000, 90_000)] == [
        *("0.05 s", "7.3 s", "45 s", "3 min 20 s", "50 min", "25 h 0 min"),
    ]
    assert [size(value) for value in (12, 2_500, 74_000, 3.2e9, 64e9)] == [
        "12 bytes",
        "2.5 kB",
        "74 kB",
        "3.2 GB",
        "64 GB",
    ]
