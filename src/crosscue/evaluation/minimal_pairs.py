"""Minimal pairs: does an image prefer its caption to the same caption with one thing changed?"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from crosscue.data.pairs import Pairs
from crosscue.errors import DataError
from crosscue.evaluation.ranks import TIE
from crosscue.intervals import interval
from crosscue.methods.capabilities import LateInteraction, require
from crosscue.retrieval.bank import preselected_by_clip
from crosscue.retrieval.encoding import embed_captions, embed_images, untouched_embeddings
from crosscue.retrieval.late_scores import late_scores
from crosscue.retrieval.options import Inference
from crosscue.retrieval.reranking import second_look

if TYPE_CHECKING:
    from crosscue.backbones.frozen import Images
    from crosscue.methods.contract import Method

ALL = "all"


@dataclass(frozen=True)
class Contests:
    """Every caption of an image against every edited caption of the image."""

    texts: list[str]
    """All captions, then all edited ones."""
    image: Tensor
    """(P,) indices of images."""
    choice: Tensor
    """(P, 2) indices of two texts; the first is right."""
    kinds: list[tuple[str, ...]]
    """Parts of the result that each contest counts for: everything, its type of edit, and the category of its image."""

    @classmethod
    def of(cls, pairs: Pairs) -> Contests:
        """Makes the contests of a source.

        Raises:
            DataError: nothing in it has an edited caption.
        """
        captions = pairs.captions
        edited = [negative for pair in pairs for negative in pair.negatives]
        if not edited:
            raise DataError(
                f"{pairs.source}: no image has edited captions, so there are no minimal pairs. They are read from the column "
                "'negatives'; write it: crosscue data negatives SOURCE --out PAIRS.jsonl"
            )
        contests, kinds, own, wrong = list[tuple[int, int, int]](), list[tuple[str, ...]](), 0, len(captions)
        for number, pair in enumerate(pairs):
            for place, negative in enumerate(pair.negatives):
                for caption in range(len(pair.captions)):
                    contests.append((number, own + caption, wrong + place))
                    kinds.append((ALL, negative.type, *filter(None, [pair.category])))
            own, wrong = own + len(pair.captions), wrong + len(pair.negatives)
        numbers = torch.tensor(contests)  # (P, 3)
        return cls([*captions, *(negative.text for negative in edited)], numbers[:, 0], numbers[:, 1:], kinds)

    def decide(self, scores: Tensor) -> dict[str, dict[str, float]]:
        """(P, 2) scores of the choices -> kind -> how often the right one was preferred."""
        ahead = scores[:, 0] - scores[:, 1]  # (P,)
        won = ((ahead > TIE).double() + 0.5 * (ahead.abs() <= TIE)).numpy()
        members: dict[str, list[int]] = defaultdict(list)
        for number, names in enumerate(self.kinds):
            for name in dict.fromkeys(names):
                members[name].append(number)
        clusters = self.image.numpy()
        return {name: preference(won[rows], clusters[rows]) for name, rows in sorted(members.items())}


def preference(won: np.ndarray, clusters: np.ndarray) -> dict[str, float]:
    """Returns the share of contests won (P,) in percent, a tie counted half, and its 95 % interval over clusters (P,)."""
    _, cluster = np.unique(clusters, return_inverse=True)
    found = interval(won, cluster)
    return {"pairs": len(won), "preferred": found.mean, "low": found.low, "high": found.high}


@torch.no_grad()
def preferences(
    method: Method[Any], pairs: Pairs, images: Images, inference: Inference | None = None, *, batch_size: int = 32
) -> dict[str, dict[str, float]]:
    """Lets every image choose between each of its captions and each of its edited captions, with the scores of retrieval.

    A method that encodes images beside texts encodes each with both (`pooled`), or with one after the other. Scores are
    not normalised, centred or enriched.

    Args:
        method: what encodes.
        pairs: images with captions, some of them with negatives.
        images: the images of `pairs`, by position.
        inference: options of inference.
        batch_size: images encoded at once.

    Returns:
        Kind of edit, category or `all` -> how often the caption was preferred.

    Raises:
        DataError: there are no edited captions, or knowledge of one is missing.
    """
    inference = (inference or Inference()).of(method)
    contests = Contests.of(pairs)
    try:
        require(method, contests.texts, inference.knowledge)
    except DataError as error:
        raise DataError(f"{error} Edited captions need it too: add --negatives to that command.") from error
    image, choice = contests.image[:, None].expand(-1, 2), contests.choice
    if isinstance(method, LateInteraction):
        own = late_scores(method, images, len(pairs), contests.texts, method.backbone.device, batch_size).own
        return contests.decide(own(image.flatten(), choice.flatten())[0].view(-1, 2))
    gallery = embed_images(method, images, len(pairs), batch_size)
    captions = embed_captions(method, contests.texts, inference)
    first = gallery, captions
    if preselected_by_clip(inference):
        first = untouched_embeddings(method.backbone, contests.texts, images, len(pairs), batch_size)
    scores = (first[0][image] * first[1][choice]).sum(-1)  # (P, 2)
    if inference.rerank:
        look = second_look(method, images, len(gallery), captions, contests.texts, inference, batch_size)
        scores = look(image, choice, scores, image_first=True)
    return contests.decide(scores)
