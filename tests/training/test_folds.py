"""Validation of one method in folds."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import crosscue
from crosscue.errors import CrosscueError
from crosscue.selection import single
from crosscue.training import loop
from crosscue.training.config import TrainingConfig
from crosscue.training.feed import Feed
from crosscue.training.journal import read_journal
from tests import tiny
from tests.cli import refused, succeeds
from tests.images import write_source
from tests.training.runs import adapt, config, learned

EPOCHS = 4


def curve(folder: Path) -> dict[int, float]:
    return {
        line["epoch"]: line["rsum"] for line in read_journal(folder / "metrics.jsonl") if line["kind"] == "validation"
    }


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path, train=16, val=8, test=4)


def test_the_epoch_is_that_of_the_best_mean_and_all_pairs_are_trained_on(source: Path) -> None:
    run = adapt(source, "run", method="linear_probe", training=config(epochs=EPOCHS), folds=3)
    curves = [curve(source / "run" / "folds" / str(index)) for index in range(3)]
    assert all(list(one) == [0, 1, 2, 3, 4] for one in curves)
    means = [np.mean([one[epoch] for one in curves]) for epoch in range(EPOCHS + 1)]
    assert run.outcome is not None
    assert run.outcome.best_epoch == run.outcome.epochs == int(np.argmax(means))
    assert run.outcome.best_rsum == pytest.approx(max(means))
    assert run.outcome.untouched_rsum == pytest.approx(means[0])  # a probe begins as the untouched backbone
    written = json.loads((source / "run" / "environment.json").read_text())["data"]
    assert (written["train"]["images"], written["val"], written["folds"]) == (24, None, 3)
    assert len(json.loads((source / "run" / "pairs.json").read_text())["train"]) == 24
    assert "Validated on 3 folds of these images" in (source / "run" / "README.md").read_text()
    assert crosscue.load(source / "run").method.name == "linear_probe"


@pytest.mark.parametrize("best", [0, 2])
def test_training_ends_after_the_best_epoch_of_the_folds(
    source: Path, monkeypatch: pytest.MonkeyPatch, best: int
) -> None:
    means = iter([float(epoch == best) for _ in range(2) for epoch in (0, 1, 2, 3, 4)] * 2)
    ranked = single.validation_metrics

    def planned(method: object, *pairs: object) -> dict[str, float]:
        values = ranked(method, *pairs)
        return values if getattr(method, "name", "") == "zero_shot" else values | {"rsum": next(means)}

    monkeypatch.setattr("crosscue.selection.single.validation_metrics", planned)
    run = adapt(source, "run", method="linear_probe", training=config(epochs=EPOCHS), folds=2)
    assert run.outcome is not None
    assert (run.outcome.best_epoch, run.outcome.epochs, run.outcome.best_rsum) == (best, best, 1.0)
    assert run.outcome.steps == 3 * best  # 24 pairs in batches of 8
    rates = [line["lr"] for line in read_journal(source / "run" / "metrics.jsonl") if "lr" in line]
    whole = [0.025 * (1 + np.cos(np.pi * step / (3 * EPOCHS))) for step in range(3 * best)]
    assert rates == pytest.approx(whole)  # the schedule keeps its length


def test_an_interrupted_run_in_folds_continues_to_the_same_tensors(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"method": "linear_probe", "folds": 2, "training": config(epochs=2)}
    adapt(source, "whole", **options)
    steps = {"count": 0}
    write = loop.Journal.write

    def stopping(journal: loop.Journal, kind: str, *values: object) -> None:
        write(journal, kind, *values)  # type: ignore[arg-type]
        steps["count"] += kind == "train"
        if steps["count"] in (1, 4):
            steps["count"] += 1
            raise KeyboardInterrupt

    monkeypatch.setattr(loop.Journal, "write", stopping)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            adapt(source, "stopped", resume=True, **options)
    with pytest.raises(CrosscueError, match="there is a run in this folder"):
        adapt(source, "stopped", **options)
    with pytest.raises(CrosscueError, match="folds was 2 and is 3"):
        adapt(source, "stopped", resume=True, **options | {"folds": 3})
    adapt(source, "stopped", resume=True, **options)
    whole, stopped = learned(source / "whole"), learned(source / "stopped")
    assert whole.keys() == stopped.keys()
    assert all((whole[name] == stopped[name]).all() for name in whole)


def test_the_offer_of_folds_can_be_pasted(source: Path) -> None:
    (source / "options.yaml").write_text(
        f"method: linear_probe\nbackbone: {tiny.clip_folder()}\ntraining: {{epochs: 1, batch_size: 4}}\n"
    )
    given = ("adapt", "--config", "options.yaml", "--data", ".", "--out", "a run", "--validation", "0.2")
    printed = succeeds(*given, cwd=source)
    (offer,) = re.findall(r"validate in folds: crosscue (.*)", printed)
    assert "validated in 4 folds of them" in succeeds(*shlex.split(offer), cwd=source)
    assert yaml.safe_load((source / "a run-folds" / "config.yaml").read_text())["folds"] == 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--folds", "1"), "folds is 1; it must be from 2 to 12, half of the 24 images"),
        (("--folds", "13"), "folds is 13; it must be from 2 to 12"),
        (("--folds", "2", "--validation", "0.1"), "--validation has no effect beside --folds"),
        (("--folds", "2", "--training.patience", "2"), "patience has no effect with --folds"),
        (("--folds", "2", "--method", "auto"), "method 'auto' chooses folds itself"),
    ],
)
def test_folds_without_effect_are_refused(source: Path, given: tuple[str, ...], message: str) -> None:
    method = () if "auto" in given else ("--method", "coop")
    assert message in refused("adapt", "--data", ".", *method, *given, "--out", "run", cwd=source)
    assert not (source / "run").exists()


def test_a_fold_is_validated_on_images_that_it_did_not_learn_from(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned_from, validated_on = list[set[str]](), list[set[str]]()
    feed, ranked = single.training_feed, single.validation_metrics

    def fed(method: Any, train: crosscue.Pairs, training: TrainingConfig) -> Feed:
        learned_from.append({pair.image_id for pair in train})
        return feed(method, train, training)

    def validated(method: Any, val: crosscue.Pairs, images: Any) -> dict[str, float]:
        validated_on.append({pair.image_id for pair in val})
        return ranked(method, val, images)

    monkeypatch.setattr("crosscue.selection.single.training_feed", fed)
    monkeypatch.setattr("crosscue.selection.single.validation_metrics", validated)
    adapt(source, "run", method="linear_probe", training=config(epochs=1), folds=3)
    everything, held = learned_from[-1], list(dict.fromkeys(map(frozenset, validated_on)))
    assert len(everything) == 24 and len(held) == 3
    assert [everything - one for one in held] == learned_from[:3]
    assert set().union(*held) == everything
