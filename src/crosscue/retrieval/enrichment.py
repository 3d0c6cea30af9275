"""A gallery whose images have generated descriptions: a track of its own, because every image is described beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crosscue.errors import DataError
from crosscue.knowledge.views.from_captions import SOURCE as FROM_CAPTIONS
from crosscue.knowledge.views.record import ViewKnowledge
from crosscue.methods.capabilities import EnrichesGallery

if TYPE_CHECKING:
    from torch import Tensor

    from crosscue.data.pairs import Pairs
    from crosscue.methods.contract import Method
    from crosscue.retrieval.options import Inference


def enriched(method: Method[Any], pairs: Pairs, gallery: Tensor, inference: Inference) -> Tensor:
    """Adds descriptions to a gallery (N, D) by `EnrichesGallery.enrich` -> (N, D). Queries stay as they are.

    Raises:
        DataError: images without descriptions, or descriptions that were made of the captions.
        MethodError: the method does not use descriptions.
    """
    assert inference.views is not None
    known = ViewKnowledge.load(inference.views)
    names = [pair.image_id for pair in pairs]
    known.require(names)
    views = [known[name] for name in names]
    telling = sum(FROM_CAPTIONS in view.source for view in views)
    if telling:
        raise DataError(
            f"{inference.views}: the descriptions of {telling:,} gallery images were made of their captions, which are the queries: "
            "the result would be the answer. Describe the images with a vision-language model (crosscue describe views SOURCE --out FILE.jsonl)."
        )
    texts = [[view.overall for view in views], [view.background for view in views], [view.entity for view in views]]
    assert isinstance(method, EnrichesGallery)  # see `Inference.check`
    return method.enrich(gallery, texts, inference.enrichment)


def enrichment_protocol(inference: Inference) -> dict[str, Any]:
    """Returns what a number measured on an enriched gallery needs beside it; nothing for other numbers."""
    if inference.views is None:
        return {}
    known = ViewKnowledge.load(inference.views)
    return {
        "enrichment": inference.enrichment,
        "described_by": ", ".join(sorted({views.source for views in known.values()})),
        "descriptions_fingerprint": known.fingerprint(),
    }
