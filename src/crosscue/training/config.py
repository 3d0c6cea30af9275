"""What the loop can be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from crosscue.errors import TrainingError


@dataclass(frozen=True)
class TrainingConfig:
    """One set of values for every method; the defaults are those of the CoOp family."""

    epochs: int = 50
    """Passes over the training pairs."""
    batch_size: int = 32
    """Pairs of one contrastive batch."""
    gradient_accumulation: int = 1
    """Batches per optimiser step. Each batch keeps its own negatives."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum, as published for prompts, or AdamW."""
    lr: float = 0.002
    """Peak learning rate."""
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float = 5e-4
    """Weight decay of every learned tensor."""
    schedule: Literal["coop", "cosine", "constant"] = "coop"
    """coop: first epoch at 1e-5, then a cosine by epochs. cosine: linear warm-up, then a cosine by steps."""
    warmup_steps: int = 0
    """Length of the linear warm-up of `cosine`, in optimiser steps."""
    clip_grad: float | None = None
    """Largest norm of the gradient; None leaves it alone."""
    augmentation: Literal["none", "crop", "coop"] = "none"
    """crop: random crops of at least 80 % of the picture. coop: 8 % and flips, which contradict most captions.
    Anything but none makes cached image states impossible."""
    validate_every: int = 1
    """Epochs between two validations."""
    patience: int | None = None
    """Validations without a better Rsum after which training stops; None trains to the end."""
    checkpoint_every: int = 200
    """Optimiser steps between two checkpoints; one is also written at every validation and on interruption."""
    seed: int = 1
    """Seed of the initial values, the order of the pairs, the captions drawn and the crops."""
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Where metrics go besides metrics.jsonl."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "gradient_accumulation", "validate_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise TrainingError(f"training.{name} is {getattr(self, name)}; it must be at least 1.")
        if self.batch_size < 2:
            raise TrainingError("training.batch_size is 1: a contrastive batch needs at least 2 pairs.")
        if self.lr <= 0:
            raise TrainingError(f"training.lr is {self.lr}; it must be above 0.")
