"""Confidence of a query in its first candidate, from the query's scores alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad

from crosscue.errors import RunError
from crosscue.retrieval.readers import read_scores
from crosscue.retrieval.scores import Scores
from crosscue.storage import read_json, write_json

FILE = "calibration.json"
Divisors = tuple[tuple[float, ...], tuple[float, ...]]
"""Temperatures of image to text and of text to image."""
FEW = 8
"""Candidates among which two are found at once."""
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


class Confidences:
    """Reads the first candidates of both directions; see `Reader`."""

    def __init__(self, i2t: Sequence[float], t2i: Sequence[float]) -> None:
        """Takes the temperatures of image to text and of text to image."""
        self.divisors: Divisors = (tuple(i2t), tuple(t2i))

    def start(self, scores: Scores) -> None:
        """See `Reader.start`."""
        counts = scores.image_count, scores.caption_count
        self.best = [torch.full((2, count), -torch.inf) for count in counts]
        self.total = [
            torch.full((len(own), count), -torch.inf, dtype=torch.float64)
            for own, count in zip(self.divisors, counts, strict=True)
        ]

    def read(self, i2t: Tensor, t2i: Tensor, images: slice, captions: slice) -> None:
        """See `Reader.read`."""
        for direction, (tile, queries) in enumerate(((i2t, images), (t2i.T, captions))):
            best, total = self.best[direction], self.total[direction]
            best[:, queries] = torch.cat([best[:, queries], two_best(tile)]).topk(2, dim=0).values
            own = torch.stack([(tile / one).logsumexp(1) for one in self.divisors[direction]])  # (T, q)
            total[:, queries] = torch.logaddexp(total[:, queries], own)

    def candidates(self) -> tuple[FirstCandidates, FirstCandidates]:
        """Returns the first candidates of images and of captions."""
        of_images, of_captions = map(_candidates, self.best, self.total, self.divisors)
        return of_images, of_captions


def first_candidates(
    scores: Scores, i2t: Sequence[float], t2i: Sequence[float]
) -> tuple[FirstCandidates, FirstCandidates]:
    """Returns the first candidates of both directions, in one pass over the scores; see `Confidences`."""
    reader = Confidences(i2t, t2i)
    read_scores(scores, [reader])
    return reader.candidates()


def two_best(scores: Tensor) -> Tensor:
    """(q, c) scores -> (2, q) the largest of each row and the second; -inf where there is none.

    The larger of every two candidates contain the largest one, so the second is theirs or among the smaller.
    """
    count = scores.shape[1]
    if count < FEW:
        return pad(scores, (0, 1), value=-torch.inf).topk(2, dim=1).values.T
    half = count // 2
    left, right = scores[:, :half], scores[:, half : 2 * half]
    best, second = two_best(torch.maximum(left, right))
    found = [best, second, torch.minimum(left, right).amax(1), *scores[:, 2 * half :].unbind(1)]
    return torch.stack(found).topk(2, dim=0).values


def _candidates(best: Tensor, total: Tensor, temperatures: Sequence[float]) -> FirstCandidates:
    """(2, Q) best scores, (T, Q) log sums of exp(score / temperature) -> the first candidates."""
    probability = torch.stack(
        [(best[0].double() / one - row).exp().float() for one, row in zip(temperatures, total, strict=True)]
    )
    return FirstCandidates((best[0] - best[1]).clamp(max=MOST), probability.clamp(0, 1))
