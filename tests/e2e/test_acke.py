"""ACKE from its configuration files to its reports, on a tiny checkpoint and a small file in Karpathy's format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crosscue.knowledge.views.record import ViewKnowledge, Views
from tests import tiny
from tests.cli import crosscue, refused
from tests.images import draw_noise

CONFIGS = Path(__file__).parents[2] / "configs"
NAMES = [f"{number:03d}.jpg" for number in range(24)]
SMALL = (
    *("--training.epochs", 1, "--training.batch_size", 6, "--training.warmup_steps", 0),
    *("--options.image_start_layer", 1, "--options.pool_size", 6, "--options.top_k", 2, "--options.depth", 1),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images with five captions each, described by a model, in Karpathy's format."""
    folder = tmp_path_factory.mktemp("karpathy")
    (folder / "images").mkdir()
    records = []
    for number, name in enumerate(NAMES):
        draw_noise(folder / "images" / name, number)
        split = "train" if number < 12 else "val" if number < 18 else "test"
        texts = [f"a {word} thing {number}" for word in ("red", "green", "blue", "white", "pink")]
        records.append({"filename": name, "split": split, "sentences": [{"raw": text} for text in texts]})
    (folder / "dataset.json").write_text(json.dumps({"images": records}))
    return folder


@pytest.fixture(scope="module")
def views(place: Path) -> Path:
    from crosscue.data.sources import Reading, read_pairs

    pairs = read_pairs(place / "dataset.json", reading=Reading(images=place / "images"))
    made = {
        pair.image_id: Views(f"a photo {number}", f"the grass {number}", f"a dog {number}", "a-vision-model")
        for number, pair in enumerate(pairs)
    }
    ViewKnowledge(made).save(place / "views.jsonl")
    ViewKnowledge({name: made[name] for name in list(made)[:5]}).save(place / "few.jsonl")
    written = {name: Views("a", "b", "c", "captions") for name in made}
    ViewKnowledge(written).save(place / "written.jsonl")
    return place / "views.jsonl"


def adapt(place: Path, config: str, out: str, *more: object) -> Path:
    done = crosscue(
        *("adapt", "--config", CONFIGS / "acke" / config, "--data", "dataset.json", "--images", "images", "--out", out),
        *("--backbone", tiny.clip_folder(), "--image_size", tiny.SIZE, *SMALL, *more),
        cwd=place,
        CROSSCUE_CACHE=str(place / "cache"),
    )
    assert done.returncode == 0, done.stderr
    assert "finished after 2 steps" in done.stdout
    return place / out


def evaluate(*arguments: object) -> tuple[object, ...]:
    return ("evaluate", *arguments, "--data", "dataset.json", "--images", "images")


@pytest.mark.parametrize("config", ["flickr30k.yaml", "coco.yaml"])
def test_the_papers_protocol_from_start_to_report(place: Path, views: Path, config: str) -> None:
    run = adapt(
        place, config, config.removesuffix(".yaml"), "--options.views", "views.jsonl", "--options.image_start_layer", 0
    )
    environment = json.loads((run / "environment.json").read_text())
    assert environment["data"]["views"] == "views.jsonl"
    assert environment["data"]["images_without_views"] == 0
    views.rename(place / "hidden.jsonl")  # a trained run needs its descriptions no more
    try:
        done = crosscue(*evaluate(run, "--json", "plain.json"), cwd=place)
    finally:
        (place / "hidden.jsonl").rename(views)
    assert done.returncode == 0, done.stderr
    report = json.loads((run / "report" / "report.json").read_text())
    for direction, queries in (("i2t", 6), ("t2i", 30)):
        measures = report["calibration"][direction]
        assert set(measures) - {"calibrated_probability"} == {"largest_probability", "margin", "vacuity"}
        assert ("calibrated_probability" in measures) == (run / "calibration.json").exists()
        assert sum(group["queries"] for group in measures["vacuity"]["bins"]) == queries
    assert "Does it know when it is wrong?" in (run / "report" / "report.html").read_text()


def test_enriched_galleries_are_a_track_of_their_own(place: Path, views: Path) -> None:
    run = adapt(place, "caltech101_reduced.yaml", "small", "--shots", "null", "--validation", "null")
    command = evaluate(run)
    done = crosscue(*command, "--views", "views.jsonl", "--json", "enriched.json", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "ENRICHED GALLERY: images carry descriptions by a-vision-model" in done.stdout
    protocol = json.loads((place / "enriched.json").read_text())["protocol"]
    assert protocol["enrichment"] == 0.3
    assert len(protocol["descriptions_fingerprint"]) == 64
    assert "6 gallery images were made of their captions" in refused(*command, "--views", "written.jsonl", cwd=place)
    assert "6 of 6 images have no views" in refused(*command, "--views", "few.jsonl", cwd=place)


def test_the_leak_has_to_be_requested_twice(place: Path, views: Path) -> None:
    options = ("--options.acp", "paired_leaky", "--shots", "null", "--validation", "null")
    config = CONFIGS / "acke" / "caltech101_reduced.yaml"
    line = refused(
        *("adapt", "--config", config, "--data", "dataset.json", "--images", "images", "--out", "no", *options),
        *("--backbone", tiny.clip_folder(), "--image_size", tiny.SIZE, *SMALL),
        cwd=place,
    )
    assert "--options.allow_leak true" in line
    assert not (place / "no").exists(), "nothing is left behind"
    run = adapt(place, "caltech101_reduced.yaml", "leaky", *options, "--options.allow_leak", "true")
    done = crosscue(*evaluate(run, "--oracle"), cwd=place)
    assert done.returncode == 0, done.stderr
    assert "NOT COMPARABLE" in done.stdout


def test_missing_descriptions_are_counted_or_skipped(place: Path, views: Path) -> None:
    options = ("--shots", "null", "--validation", "null", "--options.views", "few.jsonl")
    config = CONFIGS / "acke" / "flickr8k_reduced.yaml"
    line = refused(
        *("adapt", "--config", config, "--data", "dataset.json", "--images", "images", "--out", "few", *options),
        *("--backbone", tiny.clip_folder(), "--image_size", tiny.SIZE, *SMALL),
        cwd=place,
    )
    assert "7 of 12 images have no views" in line
    run = adapt(place, "flickr8k_reduced.yaml", "few", *options, "--options.missing_views", "skip")
    assert json.loads((run / "environment.json").read_text())["data"]["images_without_views"] == 7
