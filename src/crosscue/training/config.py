"""Options of the training loop."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from crosscue.errors import TrainingError

AT_LEAST = {
    "epochs": 1,
    "batch_size": 2,
    "gradient_accumulation": 1,
    "validate_every": 1,
    "checkpoint_every": 1,
    "patience": 1,
    "rows_at_once": 1,
    "warmup_steps": 0,
    "seed": 0,
    "momentum": 0,
    "weight_decay": 0,
}
"""Smallest value of an option. A contrastive batch needs two pairs."""


@dataclass(frozen=True)
class TrainingConfig:
    """Options of the training loop, the same for every method. The defaults are those of the CoOp family."""

    epochs: int = 50
    """Number of passes over the training pairs."""
    batch_size: int = 32
    """Number of pairs in a contrastive batch."""
    gradient_accumulation: int = 1
    """Number of batches per optimiser step. Each batch keeps its own negatives."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """Optimiser. `sgd`: with momentum, as published for prompts. `adamw`: AdamW."""
    lr: float = 0.002
    """Peak learning rate."""
    momentum: float = 0.9
    """Momentum of `sgd`, below 1."""
    weight_decay: float = 5e-4
    """Weight decay of the trainable parameters."""
    schedule: Literal["coop", "cosine", "constant"] = "coop"
    """Learning rate over the run. `coop`: 1e-5 in the first epoch, then a cosine by epochs. `cosine`: a linear warm-up,
    then a cosine by steps. `constant`: the peak rate throughout."""
    warmup_steps: int = 0
    """Length of the linear warm-up of `cosine`, in optimiser steps. Each stage of a run has its share by epochs."""
    clip_grad: float | None = None
    """Largest norm of the gradient. null: gradients are not clipped."""
    augmentation: Literal["none", "crop", "coop"] = "none"
    """Random change of each training image. `none`: no change, so that image features can be cached.
    `crop`: crops of at least 80 % of the image. `coop`: crops of at least 8 % and flips, which contradict most captions."""
    validate_every: int = 1
    """Number of epochs between two validations."""
    patience: int | None = None
    """Number of validations without a better Rsum after which training stops. null: training runs to the end."""
    checkpoint_every: int = 200
    """Number of optimiser steps between two checkpoints. One is also written at every validation and on interruption."""
    seed: int = 1
    """Seed of the initial values, the order of the pairs, the drawn captions and the crops."""
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Services that receive the metrics besides metrics.jsonl."""
    rows_at_once: int | None = None
    """Number of images or texts in one call of a tower in a training step. null: all, which is fastest. A number: less memory
    and 1.5 times the time, with the same gradients. It is no part of config.yaml, so a run may be resumed with another."""

    @property
    def chunk(self) -> int | None:
        """`rows_at_once`; None where a batch is no larger."""
        return self.rows_at_once if self.rows_at_once and self.rows_at_once < self.batch_size else None

    def recorded(self) -> dict[str, Any]:
        """Returns the options that decide a result, in types that YAML has: all but `rows_at_once`."""
        return {name: value for name, value in asdict(self).items() if name != "rows_at_once"} | {
            "trackers": list(self.trackers)
        }

    def require_validation(self, there: bool) -> None:
        """Raises `TrainingError` for `patience` where there are no validation pairs to wait for."""
        if not there and self.patience is not None:
            raise TrainingError(
                "training.patience has no effect without validation. Leave it out, or add --validation 0.1"
            )

    def __post_init__(self) -> None:
        for name in ("seed", *AT_LEAST, "lr", "clip_grad"):
            value, usual = getattr(self, name), getattr(type(self), name)
            if not isinstance(value, int | float) and (value is not None or usual is not None):
                raise TrainingError(f"training.{name} is {value!r}; it must be a number.")
        if self.seed >= 1 << 63:
            raise TrainingError(f"training.seed is {self.seed}; it must be below 2 to the power of 63.")
        for name, smallest in AT_LEAST.items():
            value = getattr(self, name)
            if value is not None and not value >= smallest:  # nan is refused too
                raise TrainingError(f"training.{name} is {value}; it must be at least {smallest}.")
        for name in ("lr", "clip_grad"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise TrainingError(f"training.{name} is {value}; it must be above 0 and finite.")
        if self.momentum >= 1:
            raise TrainingError(f"training.momentum is {self.momentum}; it must be below 1.")
        if self.weight_decay == math.inf:
            raise TrainingError("training.weight_decay is inf; it must be finite.")
        if self.optimizer != "sgd" and self.momentum != type(self).momentum:
            raise TrainingError(
                f"training.momentum belongs to sgd, and training.optimizer is {self.optimizer}. Leave it out."
            )
        if self.schedule != "cosine" and self.warmup_steps:
            raise TrainingError(
                f"training.warmup_steps belongs to cosine, and training.schedule is {self.schedule}. Leave it out."
            )
