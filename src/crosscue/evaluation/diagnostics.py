"""Controls of methods that encode images beside texts, on a sample of queries: do the scores depend on the image?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from crosscue.backbones.protocol import ImageFeatures
from crosscue.evaluation.ranks import placed
from crosscue.evaluation.recall import hits
from crosscue.methods.capabilities import ReadsTogether
from crosscue.progress import progress
from crosscue.retrieval.conditioning import ConditionedImages
from crosscue.retrieval.reranking import candidates_of

if TYPE_CHECKING:
    from crosscue.methods.contract import Method
    from crosscue.retrieval.scores import Scores


AT_ONCE = 64
"""Queries between two steps of the progress bar."""
EFFECT = 64
"""Most images whose encoding is examined for the variance that comes from texts."""


@dataclass(frozen=True)
class Diagnostic:
    """One control and what to compare it with."""

    name: str
    value: float
    note: str


@dataclass(frozen=True)
class Questions:
    """Q queries of one direction whose answer is among their C candidates."""

    image: Tensor
    """(Q, C) image of each candidate pair."""
    caption: Tensor
    """(Q, C)"""
    right: Tensor
    """(Q, C) bool"""
    image_first: bool

    @classmethod
    def of(cls, preselected: Scores, owner: Tensor, top: int, most: int, *, image_first: bool) -> Questions | None:
        """Returns at most `most` queries, spread evenly; None if no answer was pre-selected."""
        count = preselected.image_count if image_first else preselected.caption_count
        image, caption, _ = candidates_of(preselected, slice(0, count), top, image_first=image_first)
        right = owner[caption] == image
        answerable = right.any(1).nonzero()[:, 0]
        if not len(answerable):
            return None
        rows = answerable[torch.linspace(0, len(answerable) - 1, min(most, len(answerable))).round().long()]
        return cls(image[rows], caption[rows], right[rows], image_first)

    @property
    def about(self) -> str:
        """Candidates, queries and chance in words."""
        queries, candidates = self.image.shape
        chance = 100 * float(self.right.float().mean())
        return f"R@1 among {candidates} candidates, {queries} queries, in percent; chance is {chance:.1f}"

    def scores(self, scorer: ConditionedImages, advance: Callable[[int], None]) -> Tensor:
        """Returns (Q, C) the scores of the candidates, some queries at a time."""
        parts = []
        for image, caption in zip(self.image.split(AT_ONCE), self.caption.split(AT_ONCE), strict=True):
            parts.append(scorer(image, caption, torch.zeros(image.shape), image_first=self.image_first))
            advance(len(image))
        return torch.cat(parts)

    def r1(self, scores: Tensor) -> float:
        """Returns R@1 in percent."""
        return 100 * float(hits(placed(scores, self.right), 1).mean())


class BlankImage:
    """A gallery of one white image."""

    def __init__(self, method: Method[Any]) -> None:
        side = method.backbone.pixels.size
        self.pixels = torch.full((1, 3, side, side), 255, dtype=torch.uint8)

    def __getitem__(self, indices: Sequence[int], /) -> Tensor:
        """B numbers, all 0 -> (B, 3, S, S)."""
        return self.pixels[list(indices)]


def diagnose(
    scorer: ConditionedImages, owner: Tensor, preselected: Scores, *, top: int, sample: int
) -> list[Diagnostic]:
    """Scores queries whose answer was pre-selected again, with a blank image and with the knowledge of other captions.

    R@1 is among the pre-selected candidates, by the new score alone. A method that looks at the image falls to chance with a
    blank one. A method that copies the text into the image does not, and has a high copy index.

    Args:
        scorer: what was measured.
        owner: (M,) the image of each caption; only used to decide what was right.
        preselected: scores that pre-select.
        top: candidates.
        sample: the most queries of each direction.
    """
    method, texts, captions = scorer.method, scorer.texts, scorer.captions
    assert isinstance(method, ReadsTogether)
    blank = BlankImage(method)
    other = (torch.arange(len(texts)) + max(len(texts) // 2, 1)) % len(texts)
    swapped = replace(scorer, texts=[texts[number] for number in other.tolist()])
    empty = replace(scorer, images=blank)
    questions = [
        asked
        for image_first in (True, False)
        if (asked := Questions.of(preselected, owner, top, sample, image_first=image_first)) is not None
    ]
    found: list[Diagnostic] = []
    total = 3 * sum(len(asked.right) for asked in questions)
    with torch.no_grad(), progress("scoring with other knowledge and a blank image", total, "queries") as advance:
        for asked in questions:
            own, mixed = asked.scores(scorer, advance), asked.scores(swapped, advance)
            white = replace(asked, image=torch.zeros_like(asked.image)).scores(empty, advance)
            arrow = "image to text" if asked.image_first else "text to image"
            changed = 100 * float((own.argmax(1) != mixed.argmax(1)).float().mean())
            found += [
                Diagnostic(f"{arrow}, as it is", asked.r1(own), asked.about),
                Diagnostic(f"{arrow}, blank image", asked.r1(white), "should be at chance"),
                Diagnostic(f"{arrow}, swapped knowledge", asked.r1(mixed), "should lie below 'as it is'"),
                Diagnostic(f"{arrow}, first candidate changed by swapped knowledge", changed, "percent of the queries"),
            ]
        chosen = torch.linspace(0, len(texts) - 1, min(sample, len(texts))).round().long()
        both = torch.stack([chosen, other[chosen]], 1)  # (s, 2) a caption, and another
        copied = torch.cat(
            [
                method.scores_given_texts(
                    blank[[0] * len(part)].to(method.backbone.device),
                    [[texts[number]] for number in part[:, 0].tolist()],
                    captions[part].to(method.backbone.device),
                    torch.zeros(part.shape, device=method.backbone.device),
                ).cpu()
                for part in both.split(scorer.at_once)
            ]
        )  # (s, 2) cosines of f(blank | T) with T and T'
        shown = chosen[torch.linspace(0, len(chosen) - 1, min(EFFECT, len(chosen))).round().long()]
        shown_images = scorer.images[owner[shown].tolist()]
        assert not isinstance(shown_images, ImageFeatures)  # only of methods that leave the whole image tower alone
        shares = method.effect(
            shown_images.to(method.backbone.device),
            [texts[number] for number in shown.tolist()],
            [texts[number] for number in other[shown].tolist()],
        )
    found += [
        Diagnostic(f"output of the module: variance {name}", share, "percent of its variance")
        for name, share in shares.items()
    ]
    index = float((copied[:, 0] - copied[:, 1]).mean())
    found.append(
        Diagnostic(
            "copy index",
            index,
            "cosine of a blank image read with a caption, to that caption minus to another; 0 is none",
        )
    )
    return found
