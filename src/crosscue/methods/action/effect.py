"""Effect of the interaction module of ACT: shares of the variance of its output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from crosscue.methods.action.prompts import CaptionPrompts, union

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosscue.backbones.protocol import ImageState
    from crosscue.methods.action.reading import ImageReader


def variance_shares(output: Tensor, swapped: Tensor) -> dict[str, float]:
    """Returns shares of the variance of a module's output, in percent.

    An output that is the same at all patches of an image only moves the image as a whole. An output that is the same with
    the knowledge of another text does not depend on knowledge.

    Args:
        output: (B, M, W) of B images, each with the knowledge of its own text.
        swapped: (B, M, W) of the same images, each with the knowledge of another text.

    Returns:
        `over patches` of an image and `over images`, which add up to 100; `from knowledge`, half the mean squared
        change by another text, over the same total. All are 0 for a constant output.
    """
    total = output.var((0, 1), unbiased=False).sum()
    parts = {
        "over patches": output.var(1, unbiased=False).mean(0).sum(),
        "over images": output.mean(1).var(0, unbiased=False).sum(),
        "from knowledge": (output - swapped).pow(2).sum(-1).mean() / 2,
    }
    return {name: 100 * float(part / total) if total > 0 else 0.0 for name, part in parts.items()}


def interaction_effect(
    reader: ImageReader, prompts: CaptionPrompts, state: ImageState, texts: Sequence[str], other: Sequence[str]
) -> dict[str, float]:
    """Returns `variance_shares` over the images about both of whose texts something is known; none without such images.

    Args:
        reader: it has an interaction module.
        prompts: action prompts of texts.
        state: B images.
        texts: the text of each image.
        other: another text for each image.
    """
    made = prompts(list(dict.fromkeys([*texts, *other])), training=False)
    known = [
        row for row, pair in enumerate(zip(texts, other, strict=True)) if all(made[text].shape[1] for text in pair)
    ]
    if not known:
        return {}
    patches = reader.patches(state[torch.tensor(known, device=state.tokens.device)])
    own, swapped = (
        reader.interacted(patches, *union([[given[row]] for row in known], made)).float() for given in (texts, other)
    )
    return variance_shares(own, swapped)
