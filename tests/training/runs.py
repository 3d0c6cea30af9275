"""Short training runs on a tiny CLIP, in this process or in another one that can be killed."""

from __future__ import annotations

import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from safetensors.torch import load_file

import crosscue
from crosscue.training.config import TrainingConfig
from crosscue.training.journal import read_journal
from tests import tiny
from tests.forks import forked


def config(**changes: object) -> TrainingConfig:
    """Options of a short run."""
    return TrainingConfig(
        **{"epochs": 3, "batch_size": 8, "lr": 0.05, "schedule": "cosine", "checkpoint_every": 2, **changes}
    )


def adapt(folder: Path, out: str, backbone: str | None = None, **changes: object) -> crosscue.Run:
    """Trains on the images of `folder` and writes the run folder `out` inside it."""
    training = changes.pop("training", config())
    return crosscue.adapt(
        folder,
        changes.pop("method", "dual_prompt"),
        backbone=backbone or str(tiny.clip_folder()),
        out=folder / out,
        training=training,
        precision="fp32",
        **changes,
    )


def learned(folder: Path) -> dict[str, torch.Tensor]:
    """The trained tensors of a run folder."""
    return load_file(folder / "adapter.safetensors")


def execute(code: str) -> None:
    """Executes code with the names of this module."""
    exec(code, globals())


def started(code: str, journal: Path, lines: int, **written: Path) -> BaseProcess:
    """Starts `code` in a process of its own, with `backbone` defined; returns when the journal has so many lines."""
    process = forked(execute, f"backbone = {str(tiny.clip_folder())!r}\n{code}", **written)
    for _ in range(3600):  # three minutes, for a busy machine
        if journal.exists() and len(read_journal(journal)) >= lines:
            return process
        assert process.is_alive(), "the process ended too early"
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"{journal.name} has fewer than {lines} lines after three minutes")
