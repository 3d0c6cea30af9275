"""Adapt a pre-trained image-text model to your own images and captions, and prove that retrieval got better.

import crosscue

run = crosscue.adapt("my_images/", method="dual_prompt")
print(run.evaluate("my_test_images/"))
vectors = run.encode_text(["a red bicycle against a wall"])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crosscue.errors import CrosscueError
from crosscue.version import __version__

if TYPE_CHECKING:
    from crosscue.api import adapt, before_and_after, evaluate, load
    from crosscue.backbones.loading import load_backbone
    from crosscue.backbones.protocol import Backbone
    from crosscue.data.pairs import Negative, Pair, Pairs
    from crosscue.data.sources import Reading, read_pairs
    from crosscue.data.splits import held_out
    from crosscue.evaluation.comparison import Comparison
    from crosscue.evaluation.result import Retrieval
    from crosscue.methods.contract import Batch, Method
    from crosscue.opening.collections import OpenedCollection
    from crosscue.opening.collections import open as open
    from crosscue.retrieval.options import Inference
    from crosscue.run import Run
    from crosscue.training.config import TrainingConfig

__all__ = [
    "Backbone",
    "Batch",
    "Comparison",
    "CrosscueError",
    "Inference",
    "Method",
    "Negative",
    "OpenedCollection",
    "Pair",
    "Pairs",
    "Reading",
    "Retrieval",
    "Run",
    "TrainingConfig",
    "__version__",
    "adapt",
    "before_and_after",
    "evaluate",
    "held_out",
    "load",
    "load_backbone",
    "read_pairs",
]
"""Names of `from crosscue import *`: all but `open`, which would hide Python's own."""

_MODULES = {
    "api": ("adapt", "before_and_after", "evaluate", "load"),
    "backbones.loading": ("load_backbone",),
    "backbones.protocol": ("Backbone",),
    "data.pairs": ("Negative", "Pair", "Pairs"),
    "data.sources": ("Reading", "read_pairs"),
    "data.splits": ("held_out",),
    "evaluation.comparison": ("Comparison",),
    "evaluation.result": ("Retrieval",),
    "methods.contract": ("Batch", "Method"),
    "opening.collections": ("OpenedCollection", "open"),
    "retrieval.options": ("Inference",),
    "run": ("Run",),
    "training.config": ("TrainingConfig",),
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Imports the module of a name on first use, so that `import crosscue` takes milliseconds."""
    from importlib import import_module

    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"crosscue.{module}"), name)
    raise AttributeError(f"module 'crosscue' has no attribute '{name}'")
