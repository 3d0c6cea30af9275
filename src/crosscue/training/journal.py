"""metrics.jsonl: one line per logged step, always written; other trackers by flag."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
from typing import TYPE_CHECKING, Any

from crosscue.errors import TrainingError
from crosscue.storage import json_line, write_text, writing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


LAUNCHER = re.compile(
    r"(ACCELERATE|SLURM|PMI|OMPI|MV2|TORCHELASTIC|FSDP)_|((LOCAL|GROUP|NODE)_)?RANK$|(LOCAL_)?WORLD_SIZE$|MASTER_"
)
"""Variables that tell a process of others that train with it."""


JOURNAL = "metrics.jsonl"


class Journal:
    """Appends metrics to a file that survives interruption and never holds a step twice."""

    def __init__(self, path: Path, resume_step: int | None = None, *, writes: bool = True) -> None:
        """Starts a new journal, or keeps the lines up to `resume_step` of an existing one; without `writes`, does nothing."""
        self.path, self.writes = path, writes
        if not writes:
            return
        kept = [line for line in read_journal(path) if line["step"] <= resume_step] if resume_step is not None else []
        write_text(path, "".join(map(json_line, kept)))

    def write(self, kind: str, step: int, epoch: int, values: dict[str, float]) -> None:
        """Appends one line: kind is `train` or `validation`, step counts optimiser steps from 1."""
        if not self.writes:
            return
        line = {"kind": kind, "step": step, "epoch": epoch, **values}
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json_line(line))


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Returns the lines of a journal; a last line cut by a killed process is left out."""
    lines = []
    if path.exists():
        for text in path.read_bytes().splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:  # no JSON, or no UTF-8
                break
    return lines


def read_validations(folder: Path) -> list[dict[str, Any]]:
    """Returns the validations in the journal of a training; the first is that of the untrained method."""
    return [line for line in read_journal(folder / JOURNAL) if line["kind"] == "validation"]


def require_trackers(names: Sequence[str]) -> None:
    """Raises `TrainingError` for a tracker that is not installed, with the command that installs it."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise TrainingError(
                f"tracker '{name}' is not installed: pip install {name}, or leave it out of training.trackers."
            )


@contextlib.contextmanager
def without_launcher() -> Iterator[None]:
    """Hides the variables of a launcher of several processes, for which a tracker would wait for ever."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if LAUNCHER.match(name)}
    try:
        yield
    finally:
        os.environ.update(hidden)


@contextlib.contextmanager
def tracked(trackers: Sequence[str], folder: Path) -> Iterator[Callable[[dict[str, float], int], None]]:
    """Yields a function that sends the metrics of a step to the trackers.

    Accelerate is here for its trackers alone: it receives no variable of a launcher, and the groups of the processes stay.
    """
    if not trackers:
        yield lambda values, step: None
        return
    from accelerate import Accelerator

    with without_launcher():
        accelerator = Accelerator(log_with=list(trackers), project_dir=str(folder), cpu=True)
        accelerator.init_trackers("crosscue")
    yield lambda values, step: accelerator.log(values, step=step)
    for tracker in accelerator.trackers:
        tracker.finish()
