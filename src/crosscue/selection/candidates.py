"""Candidates of a search: methods with a few learning rates each, the cheapest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from crosscue.training.config import TrainingConfig

if TYPE_CHECKING:
    from crosscue.backbones.protocol import Backbone
    from crosscue.data.pairs import Pair

HEADS = ("linear_probe", "clip_adapter")
"""Methods behind frozen towers. They are trained to the end at once, because a step takes milliseconds."""
NEEDY = {
    "action": "needs triplets of the captions: crosscue describe triplets --help",
    "acke": "needs descriptions of the images: crosscue describe views --help",
}
"""Methods that need a file of knowledge, and the command that explains how to write it."""
PROMISING = ("lora", "full_ft", "dual_prompt", "maple", "dcar", "alip")
"""Methods through the towers. The first gain most for their time in docs/results.md. A short budget tries them alone."""
HEAD_BATCH = 128
FROZEN_SHARE = 0.75
"""Share of the image layers that stay frozen, so that their output is computed once for all methods."""
WANTED_STEPS = 200
"""Steps through the other layers that the time of the search must be enough for. Otherwise all layers but the last stay frozen: of
the last one only the pooled position is computed, about a sixth."""
LONG = 100
"""Steps from which on a training is validated after each third, not at its end alone."""
STEP = 3
"""Time of a training step through some layers, relative to that of encoding its images through them."""


@dataclass(frozen=True)
class Candidate:
    """A method with its options and its learning rate."""

    method: str
    lr: float
    options: dict[str, Any] = field(default_factory=dict)
    place: int = 0
    """Place of the rate among those of the method; the most promising one is the first."""

    @property
    def name(self) -> str:
        """The candidate's name in tables and folders."""
        return f"{self.method} lr {self.lr:g}"

    @property
    def head(self) -> bool:
        """True for a method behind frozen towers."""
        return self.method in HEADS

    @property
    def promise(self) -> tuple[int, int]:
        """Key of an order from the most promising candidate to the least: the first rates of all methods, then the second."""
        return self.place, PROMISING.index(self.method)

    def training(self, base: TrainingConfig, steps: int, steps_per_epoch: int) -> TrainingConfig:
        """Returns the options of a training of at most `steps` steps in whole epochs, at least one epoch."""
        epochs = max(1, steps // steps_per_epoch)
        steps = epochs * steps_per_epoch
        return replace(
            base,
            epochs=epochs,
            batch_size=self.batch_size(base),
            optimizer="adamw",
            schedule="cosine",
            lr=self.lr,
            warmup_steps=min(10, steps // 10),
            weight_decay=0.01,
            validate_every=epochs if steps < LONG else -(-epochs // 3),
            checkpoint_every=200 if self.head else 20,
        )

    def batch_size(self, base: TrainingConfig) -> int:
        """Returns the number of pairs in a batch: large where a step costs little."""
        return max(base.batch_size, HEAD_BATCH) if self.head else base.batch_size


def lacking(pairs: Sequence[Pair]) -> dict[str, str]:
    """Returns the methods that cannot learn from these pairs alone, with the reasons."""
    found = dict(NEEDY)
    if not any(pair.negatives for pair in pairs):
        found["dcar"] = "needs negatives of the captions: crosscue data negatives --help"
    if not all(pair.synthetic for pair in pairs):
        found["alip"] = "is tried only with a caption that a model wrote for every image: a column 'synthetic'"
    return found


def candidates(backbone: Backbone, start: int) -> list[Candidate]:
    """Returns all candidates for a backbone, the cheapest first; image layers before `start` stay frozen."""
    return [
        Candidate(method, rate, options, place)
        for method, rates, options in _grid(backbone, start)
        for place, rate in enumerate(rates)
    ]


def frozen_layers(backbone: Backbone, batch: int, seconds: float, budget: float) -> int:
    """Returns the number of image layers that the candidates leave frozen.

    Args:
        backbone: the towers.
        batch: number of images in a step.
        seconds: time of encoding one image here.
        budget: seconds of the search after all images are encoded.
    """
    start = int(FROZEN_SHARE * backbone.image_layers)
    step = STEP * batch * seconds * (1 - start / backbone.image_layers)
    return start if WANTED_STEPS * step <= budget else backbone.image_layers - 1


def last_alone(backbone: Backbone, start: int) -> bool:
    """Returns True if the layers from `start` on are fewer than the last quarter: then the last image layer alone learns."""
    return start > FROZEN_SHARE * backbone.image_layers


def _grid(backbone: Backbone, start: int) -> Iterator[tuple[str, tuple[float, ...], dict[str, Any]]]:
    depth = min(backbone.image_layers - start, backbone.text_layers)
    prompts = {"context_tokens": 8, "depth": depth, "image_start_layer": start}
    yield "linear_probe", (1e-4, 3e-4, 1e-3), {}
    yield "clip_adapter", (3e-4, 1e-3), {"adapters": "both"}
    yield "lora", (2e-3, 5e-4), {"image_start_layer": start}
    yield "dual_prompt", (6e-3, 2e-3), prompts | {"tune_projection": True, "projection_lr_scale": 0.02}
    yield "maple", (4e-3, 1e-3), prompts | {"context_words": None}
    yield "dcar", (1e-3,), prompts
    yield "alip", (1e-3,), prompts | {"synthetic": "given"}
    yield "full_ft", (6e-5, 2e-5), {"alpha": 0.5, "image_start_layer": start}
