"""Options of the verbs, as dataclasses."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crosscue.data.pairs import Pairs
from crosscue.data.sources import Reading, read_pairs
from crosscue.progress import note
from crosscue.storage import write_json
from crosscue.training.config import TrainingConfig


@dataclass(frozen=True)
class BackboneOptions:
    """Options of the backbone."""

    backbone: str = "starter"
    """Frozen backbone: `starter`, a Hub id (org/name or org/name@revision), or a local folder."""
    image_size: int | None = None
    """Side of the input image in pixels; default the backbone's own. At another size the positions are interpolated.
    A smaller size is faster and less exact."""
    precision: str = "auto"
    """dtype of the frozen towers: auto, fp32 or bf16. Learned tensors and losses are always fp32."""
    device: str | None = None
    """Device, such as cpu or cuda; default the GPU if there is one."""


@dataclass(frozen=True)
class SourceOptions(Reading):
    """Options of the pairs."""

    data: str = ""
    """Source of pairs: a folder, a CSV, JSON, JSONL or parquet file, a Hub id."""


@dataclass(frozen=True)
class AdaptOptions:
    """Options of `crosscue adapt`."""

    method: str | None = None
    """Method: a name from `crosscue methods`, whose own options are --options.*. `auto`: tries several and chooses on
    validation pairs. Default `auto`, or `dual_prompt` if there are options of a single training."""
    budget: str | None = None
    """Time that `auto` may take, such as 90s, 10m or 2h; default 10m. With more time it tries costlier methods for longer."""
    out: Path | None = None
    """Run folder; default runs/<method>-<time>."""
    shots: int | None = None
    """Number of training pairs of each category (few-shot). null: all training pairs."""
    validation: float | bool | None = None
    """Share of the training pairs that is held out for validation. Default the split `val` of the source. false: no validation."""
    folds: int | None = None
    """Number of folds that validate one method, in place of --validation, for few images. Then it is trained on all pairs."""
    resume: bool = False
    """True: the interrupted run in --out is continued."""
    processes: int = 1
    """Number of processes of this machine that train together, with the results of one. 1 is right for prompts and small
    batches. More are faster for `full_ft`, large batches and validation, if each has a GPU or several cores of its own."""
    timeout: float = 120
    """Seconds that a process waits for another before the run ends with a message."""
    chosen_by: str | None = None
    """Record in the config.yaml of a run whose method `auto` chose. It changes nothing."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """Options of the training loop."""


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of `crosscue evaluate`."""

    split: str | None = None
    """Split to evaluate on; default `test`, or all pairs if the source has no splits."""
    json: bool | Path = False
    """JSON file of the result. Without a value the JSON is the only text on standard output."""
    bank: str | None = None
    """Source of the training pairs for --normalise. Default the bank of the run folder; for a method the split `train` of --data."""
    folds: int | None = None
    """Number of equal parts of the gallery whose mean recall is given too. Default 5 for 5,000 images (MSCOCO 1K beside 5K)."""
    oracle: bool = False
    """True: every caption is encoded beside its own image (diagnostic). The result uses the answer and is stamped NOT COMPARABLE."""


def read_source(source: str, reading: Reading, faults: dict[str, list[str]] | None = None) -> Pairs:
    """Reads a source of pairs, and names it and what was found on standard error; `faults` collects those of rows."""
    note(f"reading {source}")
    pairs = read_pairs(source, reading=reading, faults=faults)
    splits = ", ".join(f"{len(pairs.split(name)):,} {name}" for name in pairs.splits)
    note(f"read {len(pairs):,} images and {len(pairs.captions):,} captions{f' ({splits})' if splits else ''}")
    return pairs


def put_json(target: bool | Path, content: dict[str, Any]) -> None:
    """Writes the content of an option `--json`: to standard output where it has no value, else to its file."""
    if target is True:
        plain = not (sys.stdout.encoding or "utf-8").lower().startswith("utf")
        sys.stdout.write(json.dumps(content, indent=1, ensure_ascii=plain) + "\n")
    elif target:
        write_json(target, content)
