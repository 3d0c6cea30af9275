"""The options that several verbs share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from crosscue.data.sources import Reading
from crosscue.training.config import TrainingConfig


@dataclass(frozen=True)
class BackboneOptions:
    """The frozen towers."""

    backbone: str = "starter"
    """starter, a Hub id (org/name or org/name@revision), or a local folder."""
    image_size: int | None = None
    """Another input size than the backbone's own; positions are interpolated. Smaller is faster and less exact."""
    precision: str = "auto"
    """auto, fp32 or bf16: how the frozen towers compute. Learned tensors and losses are always fp32."""
    device: str | None = None
    """Where to compute, e.g. cpu or cuda; default the GPU where there is one."""


@dataclass(frozen=True)
class SourceOptions(Reading):
    """The pairs."""

    data: str = ""
    """Source of pairs: a folder, a CSV, JSON, JSONL or parquet file, a Hub id."""


@dataclass(frozen=True)
class AdaptOptions:
    """What to learn, and where to put it."""

    method: str = "dual_prompt"
    """A name from `crosscue methods`. Its own options are --options.*."""
    out: Path | None = None
    """The run folder; default runs/<method>-<time>."""
    shots: int | None = None
    """Few-shot: use this many training pairs of each category."""
    validation: float | bool | None = None
    """Share of the training pairs to hold out, or false for none; default the source's val split."""
    resume: bool = False
    """Continue the interrupted run in --out."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """The loop."""


@dataclass(frozen=True)
class EvaluateOptions:
    """What to measure with."""

    split: str | None = None
    """The split to measure on; default test, or everything where the source has no splits."""
    json: Path | None = None
    """Write the result here as JSON."""
    oracle: bool = False
    """Diagnostic: encode every caption beside its own image. The result uses the answer and is stamped NOT COMPARABLE."""
