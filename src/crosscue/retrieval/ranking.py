"""The best candidates of one query, in the order in which evaluation ranks them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from crosscue.backbones.frozen import Chosen
from crosscue.data.folder_tree import SUFFIXES
from crosscue.data.stream import Given, listed, pixel_batches, require_readable
from crosscue.errors import DataError, MethodError
from crosscue.methods.capabilities import require
from crosscue.retrieval.bank import first_scores
from crosscue.retrieval.encoding import embed_captions
from crosscue.retrieval.reranking import candidates_of, second_look

if TYPE_CHECKING:
    from crosscue.backbones.frozen import Images
    from crosscue.data.pixels import PixelSpec
    from crosscue.methods.contract import Method
    from crosscue.retrieval.bank import Bank
    from crosscue.retrieval.options import Inference


@dataclass(frozen=True)
class Candidate:
    """A text or an image, and its score with the query."""

    item: Given
    """The candidate as it was given."""
    index: int
    """Its position among the candidates."""
    score: float
    reranked: bool
    """True if the score is that of re-ranking, which has another scale than the first scores of the candidates behind."""


class GivenImages:
    """Images that are decoded when they are read; see `frozen.Images`."""

    def __init__(self, images: Sequence[Given], spec: PixelSpec) -> None:
        self.images, self.spec = images, spec

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, indices: Sequence[int], /) -> Tensor:
        """B indices -> (B, 3, S, S) uint8.

        Raises:
            DataError: images cannot be read; the message names each, those of other batches too.
        """
        (batch,) = pixel_batches([self.images[index] for index in indices], self.spec, len(indices))
        if batch.unreadable:
            require_readable(pixel_batches(self.images, self.spec))
        return torch.from_numpy(batch.pixels)


@torch.no_grad()
def best_candidates(
    method: Method[Any],
    query: Given,
    candidates: Iterable[Given],
    top: int,
    inference: Inference,
    bank: Bank | None = None,
) -> list[Candidate]:
    """Returns the first `top` candidates of a query, best first.

    A text is a query for images, and an image is a query for texts. A string with the suffix of an image file is a path of an
    image; any other string is a text.

    Args:
        method: the method that encodes.
        query: a text, or an image.
        candidates: images for a text, texts for an image.
        top: most candidates that are returned. `inference.top` of them are re-ranked, if the method re-ranks.
        inference: complete options of inference (`Inference.of`).
        bank: training queries, which `inference.normalise` needs.

    Raises:
        DataError: images cannot be read; query and candidates are of one kind; or the method lacks knowledge of a text.
        MethodError: an option needs a whole set of queries.
    """
    _check(top, inference)
    items = _listed(candidates)
    if not items:
        return []
    image_first = _image_first(query, items)
    texts = cast("list[str]", items if image_first else [query])
    images = GivenImages([query] if image_first else items, method.backbone.pixels)
    require(method, texts, inference.knowledge)
    first = first_scores(method, texts, images, len(images), inference)
    if inference.normalise != "none":
        assert bank is not None
        first = bank.correct(first, inference)
    image, caption, plain = candidates_of(first, slice(0, 1), len(items), image_first=image_first)
    order, scores = (caption if image_first else image)[0], plain[0].clone()  # (C,) best first
    depth = min(inference.top, len(items)) if inference.rerank else 0
    if depth:
        again = _again(method, texts, images, order[:depth], scores[:depth], inference, image_first=image_first)
        by_score = again.argsort(descending=True, stable=True)
        order = torch.cat([order[:depth][by_score], order[depth:]])
        scores[:depth] = again[by_score]
    numbered = zip(order[:top].tolist(), scores[:top].tolist(), strict=True)
    return [Candidate(items[index], index, score, place < depth) for place, (index, score) in enumerate(numbered)]


def _again(
    method: Method[Any],
    texts: Sequence[str],
    images: GivenImages,
    chosen: Tensor,
    plain: Tensor,
    inference: Inference,
    *,
    image_first: bool,
) -> Tensor:
    """Scores the k chosen candidates again: (k,) positions and (k,) first scores -> (k,)."""
    places, numbers, zeros = chosen.tolist(), torch.arange(len(chosen))[None], torch.zeros(1, len(chosen)).long()
    read: Images = images if image_first else Chosen(images, places)
    texts = [texts[place] for place in places] if image_first else texts
    captions = embed_captions(method, texts, inference)
    scorer = second_look(method, read, 1 if image_first else len(places), captions, texts, inference, batch_size=32)
    image, caption = (zeros, numbers) if image_first else (numbers, zeros)
    return scorer(image, caption, plain[None], image_first=image_first)[0]


def _check(top: int, inference: Inference) -> None:
    if type(top) is not int or top < 1:
        raise MethodError(f"top is {top!r}; it must be a whole number of at least 1.")
    if inference.centre:
        raise MethodError("one query has no mean that could be subtracted. Leave centre out.")
    if inference.views is not None:
        raise MethodError("a list of candidates has no image ids to find descriptions by. Leave views out.")


def _listed(candidates: Iterable[Given]) -> list[Given]:
    """Returns the candidates as a list; one text or image is refused, because its letters or rows are no candidates."""
    return list(listed(candidates, "candidates", "run.rank(query, [...])"))


def _image_first(query: Given, items: Sequence[Given]) -> bool:
    """Returns True if an image is the query and texts are the candidates.

    Raises:
        DataError: query and candidates are of one kind, or the candidates are of both.
    """
    kinds = [_is_image(item) for item in items]
    rule = f"A string is an image if it ends in {', '.join(sorted(SUFFIXES))}; otherwise it is a text."
    if len(set(kinds)) > 1:
        place = kinds.index(not kinds[0])
        found = "an image" if kinds[place] else "a text"
        raise DataError(f"candidate {place} is {found}, and candidate 0 is not: {items[place]!r}. {rule}")
    if kinds[0] == _is_image(query):
        kind = "images" if kinds[0] else "texts"
        raise DataError(f"query and candidates are all {kind}. Give a text with images, or an image with texts. {rule}")
    return not kinds[0]


def _is_image(item: Given) -> bool:
    return not isinstance(item, str) or Path(item).suffix.lower() in SUFFIXES
