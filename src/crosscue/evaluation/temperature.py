"""Temperatures that make the largest probability of a query the chance that its first candidate is right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from crosscue.evaluation.recall import hits
from crosscue.retrieval.confidence import Temperatures, largest_probability

if TYPE_CHECKING:
    from crosscue.evaluation.measuring import Ranked
    from crosscue.methods.contract import Method

CELLS = 20_000_000
"""Most scores of a direction that a temperature is fitted on; of larger validation sets the first queries count."""
WIDEST, ROUNDS = 6, 20
"""Powers of 2 around the start in which a temperature lies; steps of the search between two of them."""
NEVER = 1e-6
"""Least probability of the log loss."""


def validation_temperatures(method: Method[Any], ranked: Ranked) -> Temperatures:
    """Returns the temperatures of a trained method, fitted on its ranks of validation pairs."""
    scores, (i2t, t2i) = ranked.scores, ranked.ranks
    start = 1 / float(method.backbone.logit_scale)
    every_image, every_caption = slice(0, scores.image_count), slice(0, scores.caption_count)
    some = slice(0, max(min(scores.image_count, CELLS // scores.caption_count), 1))
    by_image = fitted(scores.block(some, every_caption)[0], torch.from_numpy(hits(i2t, 1))[some], start)
    some = slice(0, max(min(scores.caption_count, CELLS // scores.image_count), 1))
    by_text = fitted(scores.block(every_image, some)[1].T, torch.from_numpy(hits(t2i, 1))[some], start)
    return Temperatures(by_image, by_text, scores.image_count, scores.caption_count)


def fitted(scores: Tensor, right: Tensor, start: float) -> float:
    """Returns the temperature of least log loss: (Q, N) scores, (Q,) 1 where the first candidate is right, 0 where not.

    The search tries powers of 2 around the start, then halves the interval about the best by golden sections.
    """

    def loss(exponent: float) -> float:
        p = largest_probability(scores, start * 2**exponent).double().clamp(NEVER, 1 - NEVER)
        return -float((right * p.log() + (1 - right) * (1 - p).log()).mean())

    centre = min(range(-WIDEST, WIDEST + 1), key=loss)
    low, high, golden = centre - 1.0, centre + 1.0, (5**0.5 - 1) / 2
    for _ in range(ROUNDS):
        left, further = high - golden * (high - low), low + golden * (high - low)
        if loss(left) <= loss(further):
            high = further
        else:
            low = left
    return start * 2 ** ((low + high) / 2)
