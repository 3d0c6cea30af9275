"""The oracle: a diagnostic that encodes every caption beside its own image, so it depends on the pairing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from crosscue.errors import MethodError
from crosscue.evaluation.measuring import score
from crosscue.methods.capabilities import ScoresPairs
from crosscue.retrieval.encoding import embed_images, pair_features

if TYPE_CHECKING:
    from crosscue.backbones.frozen import Images
    from crosscue.data.pairs import Pairs
    from crosscue.evaluation.result import Retrieval
    from crosscue.methods.contract import Method


@torch.no_grad()
def oracle(method: Method[Any], pairs: Pairs, images: Images, *, batch_size: int = 32) -> Retrieval:
    """Returns the recall with every caption encoded beside its own image, stamped NOT COMPARABLE.

    Args:
        method: a method that scores pairs.
        pairs: images with at least one caption each.
        images: the images of `pairs`, by position.
        batch_size: images encoded at once.

    Raises:
        MethodError: the method encodes no text beside an image.
    """
    if not isinstance(method, ScoresPairs):
        raise MethodError(f"method '{method.name}' encodes no text beside an image. Leave --oracle out.")
    gallery = embed_images(method, images, len(pairs), batch_size)
    own = pair_features(method, images, len(pairs), batch_size)[torch.tensor(pairs.caption_owner)]  # (M, E)
    parts = [
        method.text_given_image(pairs.captions[start : start + batch_size], beside.to(method.backbone.device)).cpu()
        for start, beside in zip(range(0, len(own), batch_size), own.split(batch_size), strict=True)
    ]
    result = score(method, pairs, gallery, torch.cat(parts))
    return replace(result, protocol=result.protocol | {"oracle": True, "comparable": False})
