"""Run folders: complete, checked before a run is continued, and safe to load."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import crosscue
from crosscue.errors import RunError, StorageError, TrainingError
from crosscue.locks import sole_run
from crosscue.methods.parts.frozen_towers import FrozenTowersMethod
from crosscue.training.journal import read_journal
from tests.training.runs import adapt, config, learned


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
    images = [folder / "0.jpg", Image.open(folder / "1.jpg")]
    assert torch.equal(run.encode_image(images), loaded.encode_image(images))
    assert run.fingerprint == loaded.fingerprint
    assert run.fingerprint != adapt(folder, "other", training=config(lr=0.01)).fingerprint
    result = loaded.evaluate(folder)
    assert result.protocol["gallery"] == 8
    steps = [line["step"] for line in read_journal(folder / "run" / "metrics.jsonl") if line["kind"] == "train"]
    assert steps == list(range(1, 13))


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


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.yaml", b"\xff\xfe", "config.yaml: not valid YAML"),
        ("config.yaml", b"method: [dcar]", "config.yaml: names no method"),
        ("config.yaml", b"method: dcar\noptions: 3", "config.yaml: options is 3; it must be a mapping"),
        ("config.yaml", b"method: dcar\noptions: {weights: typo}", "weights is typo; it must be one of abs"),
        ("backbone.json", b"[]", "backbone.json: not as written by crosscue"),
        ("backbone.json", b'{"format": 1, "source": "x"}', "are required: family, image_size, fingerprint"),
        ("adapter.safetensors", b"x", "adapter.safetensors: damaged"),
    ],
)
def test_a_damaged_run_folder_is_one_line(folder: Path, file: str, content: bytes, message: str) -> None:
    adapt(folder, "run", training=config(epochs=1))
    (folder / "run" / file).write_bytes(content)
    with pytest.raises(RunError, match=message) as caught:
        crosscue.load(folder / "run")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [None, 3])
def test_a_backbone_record_of_wrong_types_is_refused(folder: Path, value: object) -> None:
    adapt(folder, "run", training=config(epochs=1))
    file = folder / "run" / "backbone.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "fingerprint": value}))
    with pytest.raises(RunError, match=r"backbone\.json: not as written by crosscue: backbone: fingerprint is"):
        crosscue.load(folder / "run")


def test_a_journal_that_is_not_utf8_ends_there(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n\xff\n{"step": 2}\n')
    assert read_journal(tmp_path / "metrics.jsonl") == [{"step": 1}]


def test_a_renamed_option_of_an_older_format_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapt(folder, "run", training=config(epochs=1), options={"context_tokens": 3})
    file = folder / "run" / "config.yaml"
    file.write_text(file.read_text().replace("context_tokens:", "words:"))
    with pytest.raises(RunError, match=r"config\.yaml: method 'dual_prompt' has no option 'words'"):
        crosscue.load(folder / "run", precision="fp32")
    monkeypatch.setattr("crosscue.training.runs.FORMAT", 2)
    monkeypatch.setattr("crosscue.training.runs.RENAMED", {2: [("options", "words", "context_tokens")]})
    assert crosscue.load(folder / "run", precision="fp32").method.config.context_tokens == 3


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


def test_two_runs_do_not_share_a_folder(folder: Path) -> None:
    with sole_run(folder / "busy"), pytest.raises(StorageError, match="another run is writing here"):
        adapt(folder, "busy")
    assert not (folder / "busy" / "config.yaml").exists()
    adapt(folder, "busy", training=config(epochs=1))
    adapt(folder, "busy", training=config(epochs=1), resume=True)


def test_a_run_that_failed_at_its_first_step_can_be_repeated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crosscue.training import loop

    def fails(*_: object) -> None:
        raise TrainingError("the first step failed")

    with monkeypatch.context() as patched, pytest.raises(TrainingError):
        patched.setattr(loop, "_require_finite", fails)
        adapt(folder, "run")
    assert read_journal(folder / "run" / "metrics.jsonl")  # the validation before the first step
    adapt(folder, "run", training=config(epochs=1))
    with pytest.raises(RunError, match="there is a run in this folder"):
        adapt(folder, "run", training=config(epochs=1))
