"""Adapt a pre-trained image-text model to your own pictures and sentences, and prove that retrieval got better.

import crosscue

run = crosscue.adapt("my_pictures/", method="dual_prompt")
print(run.evaluate("my_test_pictures/"))
vectors = run.encode_text(["a red bicycle against a wall"])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from crosscue.api import Run, adapt, evaluate, load
    from crosscue.backbones.loading import load_backbone
    from crosscue.data.pairs import Pair, Pairs
    from crosscue.data.sources import read_pairs

__all__ = ["Pair", "Pairs", "Run", "adapt", "evaluate", "load", "load_backbone", "read_pairs"]

_HOMES = {
    "Run": "crosscue.api",
    "adapt": "crosscue.api",
    "evaluate": "crosscue.api",
    "load": "crosscue.api",
    "load_backbone": "crosscue.backbones.loading",
    "Pair": "crosscue.data.pairs",
    "Pairs": "crosscue.data.pairs",
    "read_pairs": "crosscue.data.sources",
}


def __getattr__(name: str) -> Any:
    """Imports the heavy parts on first use, so that `import crosscue` stays fast."""
    if name not in _HOMES:
        raise AttributeError(f"module 'crosscue' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
