"""Places of an image that move its score with a text: direct effects of attention (Gandelsman et al., ICLR 2024).

The token that is read in the end is a sum. An attention layer adds one summand for each position p of the image: the
attention to p, times its value, through the output projection. Its product with G, the gradient of the score by the
token, is the part of the score that p adds through that layer. What positions give each other in earlier layers, the
MLPs, and the curvature of the last norm are not in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils.rnn import pad_sequence

from crosscue.backbones.tracing import traced
from crosscue.encoding.encoder import Explanation
from crosscue.encoding.words import texts_without, word_effects
from crosscue.methods.capabilities import text_modes

if TYPE_CHECKING:
    from crosscue.methods.contract import Method

LAYERS = 4
"""Last attention layers whose effects are summed."""


def explained(method: Method[Any], pixels: torch.Tensor, text: str) -> Explanation:
    """Returns the direct effects on the score of one image, (3, S, S) uint8, and the effect of each word.

    Raises:
        BackboneError: the backbone is not one of the built-in families.
    """
    backbone = method.backbone
    with torch.no_grad():
        vectors = method.encode_text(texts_without(text), text_modes(method)[0])  # (1 + words, D)
    with traced(backbone, LAYERS) as trace, torch.enable_grad():
        image = method.encode_image(pixels[None].to(backbone.device))[0]  # (D,)
        score = image @ vectors[0]
        (gradient,) = torch.autograd.grad(score, trace.token)  # (1, W)
    with torch.no_grad():
        parts = [read(gradient[0]) for read in trace.reads]  # layers before the first prompts have fewer positions
        added = pad_sequence(parts).sum(1)  # (positions,)
        scores = (vectors @ image.detach()).cpu().numpy()
    start, count = trace.first_patch, backbone.patch_count
    side = int(count**0.5)
    places = added[start : start + count].view(side, side).cpu().numpy()
    effects = word_effects(text, lambda _: scores)
    return Explanation(
        "direct", float(scores[0]), places, float(places.sum()), float(added[start + count :].sum()), effects
    )
