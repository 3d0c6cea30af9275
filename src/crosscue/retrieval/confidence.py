"""Confidence of a query in its first candidate, from the query's scores alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from crosscue.errors import RunError
from crosscue.retrieval.scores import Scores
from crosscue.storage import read_json, write_json

FILE = "calibration.json"
BLOCK = 255
"""Most images compared with all captions at once."""
AT_ONCE = 12_000_000
"""Most scores of a block; the sums of a block hold as many numbers again."""
MOST = 2.0
"""Margin of a query with one candidate: the distance of the largest and the smallest cosine."""


@dataclass(frozen=True)
class Temperatures:
    """Divisors of the scores before the softmax over a gallery, fitted on validation pairs."""

    i2t: float
    t2i: float
    images: int
    """Number of validation images."""
    captions: int

    def save(self, folder: Path) -> None:
        """Writes calibration.json of a run folder."""
        write_json(folder / FILE, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> Temperatures | None:
        """Returns the temperatures of a run; None if it was trained without validation pairs.

        Raises:
            RunError: the file is damaged.
        """
        path = folder / FILE
        if not path.exists():
            return None
        try:
            return cls(**read_json(path, RunError, "Adapt again."))
        except TypeError as error:
            raise RunError(f"{path}: not as written by crosscue ({error}). Adapt again.") from error


def largest_probability(scores: Tensor, temperature: float) -> Tensor:
    """(B, N) scores of B queries -> (B,) the probability of the first candidate, by a softmax of scores / temperature."""
    logits = scores.float() / temperature
    return (logits.amax(1) - logits.logsumexp(1)).exp()


@dataclass(frozen=True)
class FirstCandidates:
    """First candidates of the Q queries of one direction."""

    margin: Tensor
    """(Q,) score of the first candidate above that of the second."""
    probability: Tensor
    """(T, Q) probability of the first candidate at each of T temperatures."""


def first_candidates(scores: Scores, i2t: list[float], t2i: list[float]) -> tuple[FirstCandidates, FirstCandidates]:
    """Returns the first candidates of both directions, in one pass over the scores.

    Args:
        scores: of N images and M captions.
        i2t: temperatures of image to text.
        t2i: temperatures of text to image.
    """
    everything, rows = slice(0, scores.caption_count), []
    best = torch.full((2, scores.caption_count), -torch.inf)
    total = torch.full((len(t2i), scores.caption_count), -torch.inf)
    block = max(min(BLOCK, AT_ONCE // scores.caption_count), 1)
    for start in range(0, scores.image_count, block):
        by_image, by_text = scores.block(slice(start, min(start + block, scores.image_count)), everything)
        top = by_image.topk(min(2, by_image.shape[1]), dim=1).values.T  # (2, b)
        rows.append((top, torch.stack([(by_image / one).logsumexp(1) for one in i2t])))
        best = torch.cat([best, by_text]).topk(2, dim=0).values  # (2, M)
        total = torch.logaddexp(total, torch.stack([(by_text / one).logsumexp(0) for one in t2i]))
    top, sums = (torch.cat(parts, dim=1) for parts in zip(*rows, strict=True))
    return _candidates(top, sums, i2t), _candidates(best, total, t2i)


def _candidates(top: Tensor, sums: Tensor, temperatures: list[float]) -> FirstCandidates:
    """(2, Q) best scores, (T, Q) log sums of exp(score / temperature) -> the first candidates."""
    probability = torch.stack([(top[0] / one - row).exp() for one, row in zip(temperatures, sums, strict=True)])
    second = top[1] if len(top) > 1 else torch.full_like(top[0], -torch.inf)
    return FirstCandidates((top[0] - second).clamp(max=MOST), probability.clamp(0, 1))
