"""The loop: resume after a kill is bit-exact, bad numbers stop it, early stopping and collapse work."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import crosscue
from crosscue.data.batches import Batches
from crosscue.data.neighbours import nearest
from crosscue.data.pairs import ImageFile, Pair, Pairs
from crosscue.errors import DataError, MethodError, TrainingError
from crosscue.knowledge.actions.record import ActionKnowledge, CaptionKnowledge, Triplet
from crosscue.methods.contract import Batch
from crosscue.methods.registry import build
from crosscue.retrieval.encoding import untouched_embeddings
from crosscue.testing import eight_pairs
from crosscue.testing.steps import total_loss
from crosscue.training.feed import training_feed
from crosscue.training.journal import read_journal
from crosscue.training.loop import add_gradients
from crosscue.training.optimisers import select_trainable
from tests import tiny
from tests.cli import succeeds
from tests.training.runs import adapt, config, learned, started

STAGED = {"visual_prompts": 2, "deep_start": 1, "candidates": 2, "second_stage_epochs": 3}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "options", "lines"),
    [
        ("dual_prompt", {}, 8),
        ("dual_prompt", {"image_start_layer": 1}, 8),
        ("action", STAGED, 8),  # in the first of two stages: the resumed part crosses into the second
        ("action", {**STAGED, "aim_layer": 1}, 32),  # in the second
        ("dcar", {"ca": False, "weights_image": "frozen"}, 8),
        ("acke", {"pool_size": 6, "top_k": 2}, 8),
    ],
)
def test_killed_and_resumed_equals_uninterrupted(folder: Path, method: str, options: dict, lines: int) -> None:
    """kill -9 in the middle of an epoch, between two checkpoints; AdamW, accumulation and crops on."""
    if method == "action":
        options = {**options, "knowledge": str(known(folder))}
    training = {
        "epochs": 8,
        "batch_size": 4,
        "gradient_accumulation": 2,
        "optimizer": "adamw",
        "checkpoint_every": 3,
        "schedule": "cosine",
        "lr": 0.01,
    }
    if options == {}:
        training["augmentation"] = "crop"
    whole = adapt(folder, "whole", method=method, training=config(**training), options=options)
    script = f"""
import time
from crosscue.training import loop
step = loop.Journal.write
def slow(self, *arguments):
    step(self, *arguments)
    time.sleep(0.25)
loop.Journal.write = slow
adapt(Path({str(folder)!r}), "cut", backbone, method={method!r}, training=config(**{training!r}), options={options!r})
"""
    process = started(script, folder / "cut" / "metrics.jsonl", lines)
    process.kill()
    process.join()
    assert not (folder / "cut" / "adapter.safetensors").exists()
    assert (folder / "cut" / "checkpoints" / "last" / "position.json").exists()
    resumed = adapt(folder, "cut", method=method, training=config(**training), options=options, resume=True)
    first, second = learned(folder / "whole"), learned(folder / "cut")
    assert first.keys() == second.keys()
    assert resumed.outcome.steps == whole.outcome.steps
    written, expected = (read_journal(folder / name / "metrics.jsonl") for name in ("cut", "whole"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert written == expected


def known(folder: Path) -> Path:
    """Knowledge of all captions of the folder."""
    rows = map(json.loads, (folder / "captions.jsonl").read_text().splitlines())
    knowledge = {
        row["caption"]: CaptionKnowledge(
            (Triplet("thing", "is", row["category"], "attribute"),), (f"the thing looks {row['category']}",), "test"
        )
        for row in rows
    }
    ActionKnowledge(knowledge).save(folder / "known.jsonl")
    return folder / "known.jsonl"


def test_stages_have_losses_tensors_and_rates_of_their_own(folder: Path) -> None:
    options = {**STAGED, "knowledge": str(known(folder)), "second_stage_epochs": 1}
    training = config(epochs=3, optimizer="adamw", lr=0.01, schedule="cosine", validate_every=1)
    adapt(folder, "first", method="action", training=training, options={**options, "second_stage_lr": 1e-30})
    adapt(folder, "both", method="action", training=training, options=options, validation=False)
    steps = [line for line in read_journal(folder / "both" / "metrics.jsonl") if line["kind"] == "train"]
    assert [("contrastive_loss" in line, "ranking_loss" in line) for line in steps] == [(True, False)] * 8 + [
        (False, True)
    ] * 4
    assert steps[8]["lr"] == pytest.approx(0.2 * 0.01)
    assert steps[7]["lr"] < steps[1]["lr"]
    first = load_file(folder / "first" / "checkpoints" / "last" / "adapter.safetensors")
    both = learned(folder / "both")
    moved = {name for name in both if not torch.equal(first[name], both[name])}
    assert moved
    assert all(name.startswith("interaction.") for name in moved)
    with pytest.raises(
        TrainingError, match=r"training.epochs is 3 and the stages need: contrastive the rest, ranking 3"
    ):
        adapt(folder, "short", method="action", training=training, options={**options, "second_stage_epochs": 3})


def test_a_method_that_wants_neighbours_gets_its_hard_negatives(folder: Path) -> None:
    pairs, backbone = crosscue.read_pairs(folder).split("train"), tiny.tiny_backbones["clip"]()
    method = build("action", backbone, {**STAGED, "knowledge": str(known(folder)), "candidates": 3})
    feed = training_feed(method, pairs, config(batch_size=4, seed=5))
    near = nearest(
        *untouched_embeddings(backbone, pairs.captions, feed.images, len(pairs)), torch.tensor(pairs.caption_owner)
    )
    wanted, chance = Batches(pairs, 4, 5, 3, near), Batches(pairs, 4, 5)
    assert [feed.batches.step(1, step) for step in range(8)] == [wanted.step(1, step) for step in range(8)]
    assert [chance.step(1, step) for step in range(8)] != [wanted.step(1, step) for step in range(8)]


def test_gradients_of_batches_that_make_one_step_are_averaged() -> None:
    backbone = tiny.tiny_backbones["clip"]()
    method, whole = build("linear_probe", backbone).train(), eight_pairs(backbone)
    parameters = [parameter for _, parameter in select_trainable(method)]
    parts = [Batch(whole.images[own], whole.captions[own], whole.image_ids[own]) for own in (slice(3), slice(3, 8))]
    wanted = [torch.autograd.grad(total_loss(method, part), parameters) for part in parts]
    for part in parts:
        add_gradients(method, part, config(), 1, parts=2)
    for parameter, first, second in zip(parameters, *wanted, strict=True):
        torch.testing.assert_close(parameter.grad, (first + second) / 2, rtol=1e-4, atol=1e-6)


def test_a_step_is_no_longer_than_the_rate_times_the_largest_norm(folder: Path) -> None:
    """A probe starts at zero; two steps of plain SGD, whose gradients are longer than allowed."""
    training = config(
        epochs=1, batch_size=16, schedule="constant", lr=0.5, clip_grad=1e-3, momentum=0.0, weight_decay=0.0
    )
    adapt(folder, "run", method="linear_probe", training=training, validation=False)
    steps = [line for line in read_journal(folder / "run" / "metrics.jsonl") if line["kind"] == "train"]
    assert min(line["gradient_norm"] for line in steps) > 0.01
    moved = torch.cat([tensor.flatten() for tensor in learned(folder / "run").values()]).norm()
    assert len(steps) == 2
    assert 0.5e-3 < float(moved) <= 1e-3 * 1.001


def test_interrupt_stops_between_steps_and_can_be_continued(folder: Path) -> None:
    script = f"print(adapt(Path({str(folder)!r}), 'stopped', backbone, training=config(epochs=4000)).outcome.ended)"
    journal, printed = folder / "stopped" / "metrics.jsonl", folder / "printed.txt"
    process = started(script, journal, 3, output=printed)
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert "interrupted" in printed.read_text()
    position = json.loads((folder / "stopped" / "checkpoints" / "last" / "position.json").read_text())
    assert position["step"] == [line["step"] for line in read_journal(journal) if line["kind"] == "train"][-1]


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crosscue.methods.parts import contrastive as method

    whole, calls = method.contrastive, []

    def poisoned(*arguments, **options):
        calls.append(1)
        return whole(*arguments, **options) * (float("nan") if len(calls) == 6 else 1)

    monkeypatch.setattr(method, "contrastive", poisoned)
    with pytest.raises(
        TrainingError, match=r"step 6: the loss is nan.*last good checkpoint is kept.*Lower training.lr"
    ):
        adapt(folder, "nan")
    kept = load_file(folder / "nan" / "checkpoints" / "last" / "adapter.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())
    monkeypatch.undo()


def test_collapse_is_recognised(folder: Path) -> None:
    with pytest.raises(TrainingError, match=r"the (image|text) embeddings have collapsed"):
        adapt(
            folder,
            "collapsed",
            options={"tune_projection": True, "projection_lr_scale": 1.0},
            training=config(lr=1e6, optimizer="sgd", weight_decay=0.0, epochs=2),
        )


def test_the_untrained_method_is_candidate_0(folder: Path) -> None:
    run = adapt(folder, "first", training=config(epochs=1, lr=1e-9))
    history = read_journal(folder / "first" / "metrics.jsonl")
    first, *later = (line for line in history if line["kind"] == "validation")
    assert (first["step"], first["epoch"]) == (0, 0)
    assert history[0] == first
    assert first["rsum"] == pytest.approx(later[0]["rsum"])  # at this rate nothing is learned
    assert (run.outcome.best_epoch, run.outcome.best_rsum) == (0, first["rsum"])
    start = load_file(folder / "first" / "checkpoints" / "best.safetensors")
    assert all(torch.equal(start[name], tensor) for name, tensor in learned(folder / "first").items())


def test_the_end_compares_with_the_untouched_backbone(folder: Path) -> None:
    given = ("--data", folder, "--backbone", tiny.clip_folder(), "--precision", "fp32", "--method", "linear_probe")
    worse = ("--training.epochs", 1, "--training.lr", 3, "--training.schedule", "constant")
    printed = succeeds("adapt", *given, *worse, "--out", folder / "worse")
    val = crosscue.read_pairs(folder).split("val")
    untouched = crosscue.evaluate("zero_shot", val, str(tiny.clip_folder()), precision="fp32")
    assert (
        f"the untrained method is best (Rsum {untouched.rsum:.2f})" in printed
    )  # a linear probe starts as the backbone
    assert f"the untouched backbone has {untouched.rsum:.2f}, so the run is not better" in printed
    assert f"trained on 32 images, validated on {len(val)}" in printed
    assert f"{len(val)} validation images choose little" in printed
    assert "so the run is not better" in (folder / "worse" / "README.md").read_text()
    assert crosscue.load(folder / "worse", precision="fp32").evaluate(val).metrics() == untouched.metrics()


def test_early_stopping_returns_the_best_epoch(folder: Path) -> None:
    run = adapt(folder, "early", training=config(epochs=40, patience=2, lr=1e-9))
    assert run.outcome.ended == "stopped early"
    assert run.outcome.epochs == run.outcome.best_epoch + 2
    best = load_file(folder / "early" / "checkpoints" / "best.safetensors")
    assert all(torch.equal(best[name], tensor) for name, tensor in learned(folder / "early").items())


def test_the_environment_of_a_launcher_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapt(folder, "plain")
    for name, value in {
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4",
        "ACCELERATE_MIXED_PRECISION": "bf16",
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "2",
    }.items():
        monkeypatch.setenv(name, value)
    adapt(folder, "launched")
    assert all(
        torch.equal(learned(folder / "plain")[name], tensor) for name, tensor in learned(folder / "launched").items()
    )


def test_validation_must_be_decided(folder: Path) -> None:
    listing = folder / "captions.jsonl"
    listing.write_text("\n".join(line for line in listing.read_text().splitlines() if '"val"' not in line))
    with pytest.raises(DataError, match=r"no split 'val' \(splits: test, train\). Hold out .* --validation 0.1"):
        adapt(folder, "run")
    run = adapt(folder, "held", validation=0.25)
    assert run.outcome.best_rsum is not None
    assert adapt(folder, "none", validation=False).outcome.best_rsum is None


def test_pairs_without_splits_hold_out_a_tenth(folder: Path) -> None:
    pairs = crosscue.read_pairs(folder)
    unsplit = Pairs([Pair(ImageFile(p.image.path), p.captions, p.image_id, p.category) for p in pairs], "unsplit")
    adapt_record = crosscue.adapt(
        unsplit, "dual_prompt", str(tiny.clip_folder()), out=folder / "run", training=config(), precision="fp32"
    )
    record = json.loads((folder / "run" / "environment.json").read_text())["data"]
    assert (record["train"]["images"], record["val"]["images"]) == (43, 5)
    assert adapt_record.outcome.best_rsum is not None


def test_zero_shot_has_nothing_to_train(folder: Path) -> None:
    with pytest.raises((TrainingError, MethodError), match="nothing to train"):
        adapt(folder, "run", method="zero_shot")


def test_few_shot_runs_differ_by_seed(folder: Path) -> None:
    for seed in (1, 2):
        adapt(folder, f"shots{seed}", shots=2, training=config(seed=seed))
    one, two = (
        json.loads((folder / f"shots{seed}" / "environment.json").read_text())["data"]["train"] for seed in (1, 2)
    )
    assert one["images"] == two["images"] == 8
    assert one["fingerprint"] != two["fingerprint"]


def test_trackers_that_are_not_installed_are_named(folder: Path) -> None:
    with pytest.raises(TrainingError, match="pip install trackio"):
        adapt(folder, "run", training=config(trackers=("trackio",)))
    adapt(folder, "board", training=config(trackers=("tensorboard",)))
    assert list((folder / "board").rglob("events.out.tfevents*"))
