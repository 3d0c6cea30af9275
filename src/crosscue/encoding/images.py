"""Pixels as an exported image tower reads them. `crosscue.data.pixels` and `crosscue.data.stream` decode the files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from crosscue.data.pixels import PixelSpec
    from crosscue.encoding.encoder import Floats, Pixels


def normalised(pixels: Pixels, spec: PixelSpec) -> Floats:
    """(B, 3, S, S) uint8 -> (B, 3, S, S) float32 with the mean and deviation of the checkpoint."""
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (spec.mean, spec.std))
    return ((pixels.astype(np.float32) / np.float32(255) - mean) / std).astype(np.float32)
