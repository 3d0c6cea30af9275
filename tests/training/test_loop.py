"""The loop: resume after a kill is bit-exact, bad numbers stop it, early stopping and collapse work."""

from __future__ import annotations

import json
import pickle
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import crosscue
from crosscue.data.pairs import ImageFile, Pair, Pairs
from crosscue.errors import DataError, MethodError, RunError, StorageError, TrainingError
from crosscue.knowledge.actions.record import ActionKnowledge, CaptionKnowledge, Triplet
from crosscue.methods.parts.frozen_towers import FrozenTowersMethod
from crosscue.storage import sole_run
from crosscue.training.journal import read_journal
from tests import tiny
from tests.training.runs import adapt, config, learned, started


def test_run_folder_is_complete_and_loads(folder: Path) -> None:
    run = adapt(folder, "run")
    for name in (
        "config.yaml",
        "adapter.safetensors",
        "backbone.json",
        "metrics.jsonl",
        "environment.json",
        "README.md",
    ):
        assert (folder / "run" / name).exists(), name
    loaded = crosscue.load(folder / "run", precision="fp32")
    texts = ["a red thing", "a blue thing"]
    assert torch.equal(run.encode_text(texts), loaded.encode_text(texts))
    pictures = [folder / "0.jpg", Image.open(folder / "1.jpg")]
    assert torch.equal(run.encode_image(pictures), loaded.encode_image(pictures))
    result = loaded.evaluate(folder)
    assert result.protocol["gallery"] == 8
    steps = [line["step"] for line in read_journal(folder / "run" / "metrics.jsonl") if line["kind"] == "train"]
    assert steps == list(range(1, 13))


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
    process.send_signal(signal.SIGKILL)
    process.wait()
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
        TrainingError, match=r"training.epochs is 3 and the stages ask for: contrastive the rest, ranking 3"
    ):
        adapt(folder, "short", method="action", training=training, options={**options, "second_stage_epochs": 3})


def test_interrupt_stops_between_steps_and_can_be_continued(folder: Path) -> None:
    script = f"print(adapt(Path({str(folder)!r}), 'stopped', backbone, training=config(epochs=4000)).outcome.ended)"
    journal = folder / "stopped" / "metrics.jsonl"
    process = started(script, journal, 3, stdout=subprocess.PIPE)
    process.send_signal(signal.SIGINT)
    assert "interrupted" in process.communicate(timeout=60)[0]
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


def test_early_stopping_returns_the_best_epoch(folder: Path) -> None:
    run = adapt(folder, "early", training=config(epochs=40, patience=2, lr=1e-9))
    assert run.outcome.ended == "stopped early"
    assert run.outcome.epochs == run.outcome.best_epoch + 2
    best = load_file(folder / "early" / "checkpoints" / "best.safetensors")
    assert all(torch.equal(best[name], tensor) for name, tensor in learned(folder / "early").items())


def test_a_folder_is_checked_before_anything_is_computed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapt(folder, "run", method="linear_probe", training=config(epochs=1))
    monkeypatch.setattr(FrozenTowersMethod, "study", lambda *_: pytest.fail("captions were encoded"))
    with pytest.raises(RunError, match="Add --resume"):
        adapt(folder, "run", method="linear_probe", training=config(epochs=1))
    with pytest.raises(RunError, match=r"training.lr was 0\.05 and is 0\.01"):
        adapt(folder, "run", method="linear_probe", training=config(epochs=1, lr=0.01), resume=True)


def test_a_resume_with_another_configuration_names_every_difference(folder: Path) -> None:
    adapt(folder, "run")
    with pytest.raises(RunError, match=r"there is a run in this folder. Add --resume"):
        adapt(folder, "run")
    with pytest.raises(RunError, match=r"training.lr was 0.05 and is 0.01; training.seed was 1 and is 2"):
        adapt(folder, "run", training=config(lr=0.01, seed=2), resume=True)
    (folder / "captions.jsonl").write_text(
        (folder / "captions.jsonl").read_text().replace("a red thing 0", "a red thing")
    )
    with pytest.raises(RunError, match=r"data train.fingerprint was"):
        adapt(folder, "run", resume=True)


def test_resuming_a_finished_run_changes_nothing(folder: Path) -> None:
    adapt(folder, "run")
    before = learned(folder / "run")
    again = adapt(folder, "run", resume=True)
    assert again.outcome.steps == 12
    assert all(torch.equal(before[name], tensor) for name, tensor in learned(folder / "run").items())


def test_a_run_folder_has_a_format_and_the_version_that_wrote_it(folder: Path) -> None:
    adapt(folder, "run", training=config(epochs=1))
    file = folder / "run" / "backbone.json"
    record = json.loads(file.read_text())
    assert (record["format"], record["crosscue"]) == (1, crosscue.__version__)
    assert f"crosscue {crosscue.__version__}" in (folder / "run" / "README.md").read_text()
    for number, version, remedy in ((2, "9.1.0", r"pip install crosscue==9\.1\.0"), (None, None, "Adapt again\\.")):
        file.write_text(json.dumps({**record, "format": number, "crosscue": version}))
        for command in (lambda: crosscue.load(folder / "run"), lambda: adapt(folder, "run", resume=True)):
            with pytest.raises(
                RunError, match=rf"in format {number}, and crosscue .* reads formats 1 to 1\..* {remedy}"
            ):
                command()


def test_a_renamed_option_of_an_older_format_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapt(folder, "run", training=config(epochs=1), options={"context_tokens": 3})
    file = folder / "run" / "config.yaml"
    file.write_text(file.read_text().replace("context_tokens:", "words:"))
    with pytest.raises(RunError, match=r"config\.yaml: method 'dual_prompt' has no option 'words'"):
        crosscue.load(folder / "run", precision="fp32")
    monkeypatch.setattr("crosscue.training.runs.FORMAT", 2)
    monkeypatch.setattr("crosscue.training.runs.RENAMED", {2: [("options", "words", "context_tokens")]})
    assert crosscue.load(folder / "run", precision="fp32").method.config.context_tokens == 3


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


class Trap:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


def test_a_pickle_in_a_checkpoint_is_not_executed(folder: Path) -> None:
    adapt(folder, "run")
    before, last = learned(folder / "run"), folder / "run" / "checkpoints" / "last"
    assert {file.suffix for file in last.iterdir()} == {".json", ".safetensors"}
    trap = pickle.dumps(Trap(folder / "executed"))
    for name in ("random_states_0.pkl", "optimizer.bin", "scheduler.bin", "pytorch_model.bin"):
        (last / name).write_bytes(trap)
    adapt(folder, "run", resume=True)
    assert all(torch.equal(before[name], tensor) for name, tensor in learned(folder / "run").items())
    for name in ("training.safetensors", "training.json", "adapter.safetensors", "position.json"):
        whole = (last / name).read_bytes()
        (last / name).write_bytes(trap)
        with pytest.raises(RunError, match=r"the checkpoint cannot be read .* Remove this folder"):
            adapt(folder, "run", resume=True)
        (last / name).write_bytes(whole)
    assert not (folder / "executed").exists()
    pickle.loads(trap)
    assert (folder / "executed").exists()


def test_a_removed_checkpoint_starts_anew(folder: Path) -> None:
    adapt(folder, "run")
    before = learned(folder / "run")
    shutil.rmtree(folder / "run" / "checkpoints" / "last")
    assert adapt(folder, "run", resume=True).outcome.steps == 12
    assert all(torch.equal(before[name], tensor) for name, tensor in learned(folder / "run").items())


def test_a_run_of_another_backbone_is_refused(folder: Path) -> None:
    adapt(folder, "run")
    record = json.loads((folder / "run" / "backbone.json").read_text())
    (folder / "run" / "backbone.json").write_text(json.dumps({**record, "fingerprint": "0" * 64}))
    with pytest.raises(RunError, match=r"made with backbone"):
        crosscue.load(folder / "run", precision="fp32")
    (folder / "run" / "adapter.safetensors").write_bytes(b"cut")
    (folder / "run" / "backbone.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match="damaged"):
        crosscue.load(folder / "run", precision="fp32")
    with pytest.raises(RunError, match="not a run folder"):
        crosscue.load(folder)


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
        unsplit, backbone=str(tiny.clip_folder()), out=folder / "run", training=config(), precision="fp32"
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


def test_two_runs_do_not_share_a_folder(folder: Path) -> None:
    with sole_run(folder / "busy"), pytest.raises(StorageError, match="another run is writing here"):
        adapt(folder, "busy")
    assert not (folder / "busy" / "config.yaml").exists()
    adapt(folder, "busy", training=config(epochs=1))
    adapt(folder, "busy", training=config(epochs=1), resume=True)
