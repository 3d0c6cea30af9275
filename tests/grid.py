"""The contract grid: a row for each method and set of options gives it every check of `crosscue.testing`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pytest

from crosscue.testing import Case, contract_checks
from tests.tiny import colour_knowledge

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet

KNOWN = str(colour_knowledge())
CAUSAL, BIDIRECTIONAL = ("clip",), ("siglip",)
"""Families of two kinds of text tower: rows of one method take turns to memorise."""

CASES = [
    Case("zero_shot", identity=True),
    Case(
        "dual_prompt",
        memorise={"context_tokens": 4, "depth": 2, "tune_projection": True, "projection_lr_scale": 1.0},
        memorised_by=CAUSAL,
    ),
    Case(
        "dual_prompt",
        {"context_tokens": 2, "depth": 1, "image_start_layer": 1, "tune_projection": True},
        memorise={"context_tokens": 4, "image_start_layer": 1, "tune_projection": True, "projection_lr_scale": 1.0},
        memorised_by=BIDIRECTIONAL,
    ),
    Case(
        "dcar",
        {"context_tokens": 2, "category_width": 16},
        memorise={"context_tokens": 4, "depth": 2, "tune_projection": True, "projection_lr_scale": 1.0, "tw": False},
        memorised_by=CAUSAL,
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
        memorised_by=BIDIRECTIONAL,
    ),
    Case("filip", {"context_tokens": 2}, memorise={"context_tokens": 4, "depth": 2}, memorised_by=BIDIRECTIONAL),
    Case(
        "filip", {"carrier": "full_ft", "global_weight": 0.5}, memorise={"carrier": "heads_only"}, memorised_by=CAUSAL
    ),
    Case(
        "alip",
        {"context_tokens": 2, "image_start_layer": 1},
        memorise={"carrier": "full_ft", "tower_lr_scale": 0.05},
        memorised_by=CAUSAL,
    ),
    Case(
        "alip",
        {"carrier": "heads_only", "synthetic": "class"},
        memorise={"carrier": "heads_only"},
        memorised_by=BIDIRECTIONAL,
    ),
    Case(
        "fineclip",
        {"context_tokens": 2},
        memorise={"carrier": "full_ft", "tower_lr_scale": 0.05, "boxes": 1},
        families=("clip", "dual"),
        memorised_by=CAUSAL,
    ),
    Case(
        "fineclip",
        {"carrier": "full_ft", "boxes": 1, "teacher_grad": True},
        memorise={"carrier": "heads_only", "boxes": 1},
        families=("clip", "dual"),
        memorised_by=("dual",),
    ),
    Case(
        "acke",
        {"pool_size": 6, "top_k": 2, "projector_width": 16},
        memorise={"pool_size": 8, "top_k": 4, "depth": 2, "tune": "projection", "projection_lr_scale": 1.0},
        memorised_by=CAUSAL,
    ),
    Case(
        "acke",
        {
            "acp": "pairwise",
            "weights": "pau",
            "pool_size": 6,
            "top_k": 2,
            "prompt_length": 2,
            "image_start_layer": 1,
            "pairwise_negatives": 2,
            "tune": "projection",
        },
        memorise={"acp": "vision", "keys": "static", "depth": 2, "tune": "projection", "projection_lr_scale": 1.0},
    ),
    Case(
        "acke",
        {"acp": "none", "tune": "full", "tower_lr_scale": 1.0, "weights": "shuffled"},
        identity=True,
        memorise={"acp": "text_query", "keys": "random", "pool_size": 8, "depth": 2, "tune": "projection"}
        | {"projection_lr_scale": 1.0, "weights": "none"},
        memorised_by=CAUSAL,
    ),
    Case(
        "acke_released",
        {
            "pool_size": 6,
            "top_k": 2,
            "projector_width": 16,
            "weights": "none",  # the released losses of descriptions need a tower whose widths are equal
            "defects": (),
        },
    ),
    Case("coop", {"context_tokens": 4}, memorise={"context_tokens": 8}, memorised_by=("siglip", "siglip2")),
    Case(
        "coop",
        {"context_tokens": 4, "class_token_position": "middle", "context_words": "a photo of a"},
        memorise={"context_tokens": 8, "class_token_position": "front"},
        memorised_by=("clip", "siglip"),
    ),
    Case("clip_adapter", memorise={"adapters": "both", "output_relu": False, "image_ratio": 0.8, "text_ratio": 0.8}),
    Case("clip_adapter", {"adapters": "both", "output_relu": False}, memorise={"adapters": "both", "text_ratio": 0.8}),
    Case(
        "maple",
        {"depth": 3, "maple_keep_of_a": True},
        memorise={"context_tokens": 4, "depth": 3, "tune_projection": True, "projection_lr_scale": 1.0},
    ),
    Case("lora", identity=True, memorise={"rank": 16, "alpha": 32}),
    Case("lora", {"text_start_layer": 1, "image_start_layer": 2}, identity=True),
    Case("full_ft", {"alpha": 0.5}, identity=True, memorise={}, lr=0.001),
    Case("full_ft", {"text_start_layer": 1, "image_start_layer": 2}, identity=True),
    Case("linear_probe", identity=True, memorise={}),
    Case(
        "action",
        {"knowledge": KNOWN, "visual_prompts": 2, "deep_start": 1, "adapter_width": 8, "candidates": 3},
        memorise={"knowledge": KNOWN, "visual_prompts": 4, "aim_layer": 1, "deep_start": 2},
        lr=0.002,
        memorised_by=("dual", "siglip"),
    ),
    Case(
        "action",
        {
            "knowledge": KNOWN,
            "visual_prompts": 2,
            "aim_layer": 1,
            "aim": "cat",
            "conditioning": "pairwise",
            "strategy": "combined",
        },
    ),
]


def contract_grid(cases: Iterable[Case]) -> Iterator[ParameterSet]:
    """Yields the checks of the cases as parameters of a test; those that train for long are marked `slow`."""
    for case in cases:
        for check in contract_checks(case):
            slow = [pytest.mark.slow] if check.promise.__name__ == "memorises" else []
            yield pytest.param(check, id=str(check), marks=slow)
