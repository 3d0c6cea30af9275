"""The output of the frozen image layers, computed once and read from disk afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from crosscue.backbones.protocol import ImageState
from crosscue.data.rows import RowCache, blocks_of
from crosscue.storage import cache_dir

if TYPE_CHECKING:
    from crosscue.backbones.protocol import Backbone
    from crosscue.data.pixels import PixelStore

BLOCK = 32


class FrozenStates:
    """`states[indices]` -> the `ImageState` of B pictures at the input of `layer`, in the backbone's own number format.

    Kept under a name made of the pictures, the backbone's weights, the layer and the format, so it is never stale.
    """

    def __init__(self, backbone: Backbone, pixels: PixelStore, layer: int) -> None:
        self.backbone, self.pixels, self.layer = backbone, pixels, layer
        self._rows: RowCache | None = None
        self._dtype = torch.float32

    def __getitem__(self, indices: Sequence[int], /) -> ImageState:
        """B positions -> state of (B, S, W)."""
        rows = self._filled()
        values = torch.from_numpy(rows.read(list(indices)))
        return ImageState(values.view(self._dtype).to(self.backbone.device), self.layer)

    def _filled(self) -> RowCache:
        if self._rows is None:
            sample = self._compute_tokens([0])
            self._dtype = sample.dtype
            name = f"{self.pixels.key} {self.backbone.image_checkpoint} {self.layer} {sample.dtype}"
            folder = cache_dir() / "states" / hashlib.sha256(name.encode()).hexdigest()[:24]
            stored = "uint16" if sample.dtype == torch.bfloat16 else "float32"
            rows = RowCache(folder, len(self.pixels), tuple(sample.shape[1:]), stored)
            missing = rows.missing()
            if missing:
                blocks = blocks_of(missing, BLOCK, self._compute)
                rows.fill(blocks, len(missing), f"running {self.layer} frozen image layers", "pictures")
            self._rows = rows
        return self._rows

    def _compute_tokens(self, indices: Sequence[int]) -> torch.Tensor:
        return self.backbone.image_state(self.pixels[indices].to(self.backbone.device), self.layer).tokens.cpu()

    def _compute(self, indices: Sequence[int]) -> np.ndarray[Any, Any]:
        tokens = self._compute_tokens(indices)
        return (tokens.view(torch.uint16) if tokens.dtype == torch.bfloat16 else tokens).numpy()
