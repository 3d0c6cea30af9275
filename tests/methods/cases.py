"""The grid: one row per method and configuration gives it every check of test_contract.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    name: str
    options: dict[str, Any] = field(default_factory=dict)
    identity: bool = False
    """The untrained method is exactly the backbone."""
    memorise: dict[str, Any] | None = None
    """Options with which 8 pairs are learned by heart; None where the method has nothing to train."""
    families: tuple[str, ...] = ()
    """The only families it works with; none for all."""

    @property
    def id(self) -> str:
        return "-".join([self.name, *(f"{key}={value}" for key, value in self.options.items())])

    @property
    def trains(self) -> bool:
        return self.memorise is not None


CASES = [
    Case("zero_shot", identity=True),
    Case(
        "dual_prompt", memorise={"context_tokens": 4, "depth": 2, "tune_projection": True, "projection_lr_scale": 1.0}
    ),
    Case(
        "dual_prompt",
        {"context_tokens": 2, "depth": 1, "image_start_layer": 1, "tune_projection": True},
        memorise={"context_tokens": 4, "image_start_layer": 1, "tune_projection": True, "projection_lr_scale": 1.0},
    ),
    Case(
        "dcar",
        {"context_tokens": 2, "category_width": 16},
        memorise={"context_tokens": 4, "depth": 2, "tune_projection": True, "projection_lr_scale": 1.0, "tw": False},
    ),
    Case(
        "dcar",
        {
            "context_tokens": 2,
            "image_start_layer": 1,
            "token_feature": "projected",
            "weights_image": "frozen",
            "ca": False,
        },
        memorise={
            "context_tokens": 4,
            "depth": 2,
            "tune_projection": True,
            "projection_lr_scale": 1.0,
            "ca": False,
            "weight_dropout": 0.5,  # without it only weighted captions are learned, and plain ones are what is measured
        },
    ),
    Case("filip", {"context_tokens": 2}, memorise={"context_tokens": 4, "depth": 2}),
    Case("filip", {"carrier": "full_ft", "global_weight": 0.5}, memorise={"carrier": "heads_only"}),
    Case(
        "alip", {"context_tokens": 2, "image_start_layer": 1}, memorise={"carrier": "full_ft", "tower_lr_scale": 0.05}
    ),
    Case("alip", {"carrier": "heads_only", "synthetic": "class"}, memorise={"carrier": "heads_only"}),
    Case(
        "fineclip",
        {"context_tokens": 2},
        memorise={"carrier": "full_ft", "tower_lr_scale": 0.05, "boxes": 1},
        families=("clip", "dual"),
    ),
    Case(
        "fineclip",
        {"carrier": "full_ft", "boxes": 1, "teacher_grad": True},
        memorise={"carrier": "heads_only", "boxes": 1},
        families=("clip", "dual"),
    ),
]
TRAINED = [case for case in CASES if case.trains]
