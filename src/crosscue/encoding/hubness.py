"""Correction of hubness without torch: the amount that an image scores with training captions on average.

An image that is near to every text loses that amount (see `crosscue.retrieval.normalising`, which holds the formula).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open

from crosscue.encoding.line import Floats as Floats
from crosscue.encoding.line import Line

BLOCK = 4096
"""Images that are corrected at once."""


@dataclass(frozen=True)
class TextBank:
    """Vectors of training captions, and the sharpness of the mean over them."""

    vectors: Floats
    """(M, D) unit vectors."""
    beta: float
    helps: bool = False
    """True if the correction finds more images on the run's validation pairs."""
    line: Line | None = None
    """Limits of a likely result, from the same pairs."""

    def hubness(self, images: Floats) -> Floats:
        """Returns (N,) `log(mean_b exp(beta s_ib)) / beta` of images (N, D); a search may subtract it from their scores."""
        parts = []
        for start in range(0, len(images), BLOCK):
            scores = self.beta * (images[start : start + BLOCK] @ self.vectors.T)  # (n, M)
            highest = scores.max(1, keepdims=True)
            parts.append(highest[:, 0] + np.log(np.exp(scores - highest).mean(1)))
        return (np.concatenate(parts) / self.beta if parts else np.empty(0)).astype(np.float32)


def load_text_bank(path: Path, reading: str, name: str = "run") -> TextBank | None:
    """Returns the captions of a bank that a run folder or an export contains.

    Args:
        path: file `bank.safetensors`.
        reading: text mode that the bank must be made with, such as `text mode plain`.
        name: name of the bank in the file.

    Returns:
        None if there is no such file, no such bank in it, or one of another text mode.
    """
    if not path.exists():
        return None
    with safe_open(path, "numpy") as file:
        notes = file.metadata() or {}
        if f"{name}.captions" not in file.keys() or notes.get(f"{name}.reading") != reading:  # noqa: SIM118
            return None
        vectors = file.get_tensor(f"{name}.captions").astype(np.float32)
    return TextBank(vectors, float(notes[f"{name}.beta"]), helps_of(notes, name), line_of_notes(notes, name))


def helps_of(notes: Mapping[str, str], name: str) -> bool:
    """Returns `TextBank.helps` from the notes of a file."""
    return notes.get(f"{name}.helps") == "True"


def line_of_notes(notes: Mapping[str, str], name: str) -> Line | None:
    """Returns `TextBank.line` from the notes of a file."""
    return Line(float(notes[f"{name}.z"]), float(notes[f"{name}.floor"])) if f"{name}.z" in notes else None
