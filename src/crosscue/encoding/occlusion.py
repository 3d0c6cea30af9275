"""Effect of each part of an image on a score: the score with the part and with the part greyed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosscue.encoding.encoder import Explanation
from crosscue.encoding.words import word_effects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosscue.encoding.encoder import Encoder, Floats, Pixels

CELLS = 4
"""Rows, and columns, of the parts of an image."""


def occluded(pixels: Pixels, mean: Sequence[float]) -> Pixels:
    """(3, S, S) uint8 -> (1 + 16, 3, S, S): the image, then the image with each cell in the mean colour, row by row."""
    grey = np.array([round(255 * value) for value in mean], np.uint8)[:, None, None]
    edges = [round(place * pixels.shape[1] / CELLS) for place in range(CELLS + 1)]
    copies = np.repeat(pixels[None], 1 + CELLS**2, 0)
    for cell in range(CELLS**2):
        row, column = divmod(cell, CELLS)
        copies[1 + cell, :, edges[row] : edges[row + 1], edges[column] : edges[column + 1]] = grey
    return copies


def explained(encoder: Encoder, pixels: Pixels, text: str) -> Explanation:
    """Returns the exact effect of each cell of an image (3, S, S), and of each word, on its score with a text."""
    vector = encoder.encode_texts([text]).vectors[0]
    images = encoder.encode_images(occluded(pixels, encoder.pixels.mean))  # (1 + 16, D)
    scores = images @ vector
    places: Floats = (scores[0] - scores[1:]).reshape(CELLS, CELLS)
    words = word_effects(text, lambda texts: encoder.encode_texts(texts).vectors @ images[0])
    return Explanation("occlusion", float(scores[0]), places, float(places.sum()), 0.0, words)
