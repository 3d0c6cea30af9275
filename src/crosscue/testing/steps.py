"""Eight pairs to train on, a training step, and the embeddings and scores after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from crosscue.data.pairs import Negative
from crosscue.methods.capabilities import LateInteraction, ReadsTogether
from crosscue.methods.contract import Batch, Method
from crosscue.testing.backbones import COLOURS

if TYPE_CHECKING:
    from crosscue.backbones.protocol import Backbone


def eight_images(backbone: Backbone) -> Tensor:
    """Returns noisy images of eight colours, (8, 3, S, S) uint8."""
    generator = torch.Generator().manual_seed(0)
    size = backbone.pixels.size
    colours = torch.tensor([[(i >> bit & 1) * 255 for bit in range(3)] for i in range(8)])[:, :, None, None]
    noise = torch.randint(0, 256, (8, 3, size, size), generator=generator)
    return ((3 * colours + noise) // 4).to(torch.uint8)


def eight_pairs(backbone: Backbone) -> Batch:
    """Returns the eight images, each with a caption, a category and two negatives."""
    captions = [f"a {colour} thing" for colour in COLOURS]
    wrong = [Negative(f"a {colour} thing") for colour in (COLOURS[-1], *COLOURS[:-1])]
    counted = [Negative(f"two {colour} things", "attribute") for colour in COLOURS]
    return Batch(
        eight_images(backbone), captions, [str(i) for i in range(8)], COLOURS, list(zip(wrong, counted, strict=True))
    )


def total_loss(method: Method[Any], batch: Batch) -> Tensor:
    """Returns the sum of all losses, as the training loop adds them."""
    return sum((value for key, value in method.losses(batch).items() if key.endswith("_loss")), torch.zeros(()))


def step(method: Method[Any], batch: Batch, optimiser: torch.optim.Optimizer) -> float:
    """Takes one training step and returns the loss before it."""
    optimiser.zero_grad()
    loss = total_loss(method, batch)
    loss.backward()
    optimiser.step()
    return loss.item()


def embeddings(method: Method[Any], batch: Batch) -> tuple[Tensor, Tensor]:
    """Returns the unit vectors (B, D) of the images and of the captions."""
    with torch.no_grad():
        return method.encode_image(batch.images), method.encode_text(batch.captions)


def similarity(method: Method[Any], batch: Batch) -> tuple[Tensor, Tensor]:
    """Returns (B, B) scores of images and captions, as image to text and as text to image rank them."""
    if isinstance(method, LateInteraction):
        with torch.no_grad():
            return method.token_scores(method.image_tokens(batch.images), method.text_tokens(batch.captions))
    images, texts = embeddings(method, batch)
    if not isinstance(method, ReadsTogether):
        return images @ texts.T, images @ texts.T
    count = len(batch)
    everything, none = texts.expand(count, -1, -1), torch.zeros(count, count)
    with torch.no_grad():
        i2t = method.scores_given_texts(batch.images, [batch.captions] * count, everything, none)
        t2i = [method.scores_given_texts(batch.images, [[text]] * count, everything, none) for text in batch.captions]
    return i2t, torch.stack([scores[:, caption] for caption, scores in enumerate(t2i)], dim=1)
