"""Images that DCAR compares captions with beside their own: the mean training image, and images without content."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from crosscue.backbones.protocol import Backbone


class MeanImage(nn.Module):
    """Mean image feature of the training images in the last epoch. Zero before the first step."""

    mean: Tensor
    """(D,) of this epoch so far."""
    before: Tensor
    """(D,) of the epoch before."""
    seen: Tensor
    """() images in `mean`."""
    epoch: Tensor
    """() index of this epoch."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        for name in ("mean", "before"):
            self.register_buffer(name, torch.zeros(embed_dim))
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("epoch", torch.zeros(()))

    def start(self, epoch: int) -> None:
        """Begins a new mean, unless the epoch is already the present one, as in a resumed run."""
        if self.epoch != epoch:
            self.before.copy_(self.mean)
            self.mean.zero_()
            self.seen.zero_()
            self.epoch.fill_(epoch)

    def add(self, images: Tensor) -> None:
        """Takes image features (B, D) into the mean."""
        self.seen += len(images)
        self.mean += (images - self.mean).sum(0) / self.seen

    def feature(self) -> Tensor:
        """(D,) unit vector: in training the mean of the epoch before where there is one, otherwise of the last epoch."""
        return normalize(self.before if self.training and self.before.any() else self.mean, dim=-1)


def blank_pixels(backbone: Backbone, kind: str) -> Tensor:
    """(1, 3, S, S) an image without content: uint8, or float zeros for `mean`, which are taken as normalised."""
    side = backbone.pixels.size
    pixels = torch.full((1, 3, side, side), 255 if kind == "white" else 0, dtype=torch.uint8)
    if kind == "noise":
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, pixels.shape, generator=generator, dtype=torch.uint8)
    return (torch.zeros(pixels.shape) if kind == "mean" else pixels).to(backbone.device)
