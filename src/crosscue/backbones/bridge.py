"""Bridge from a sentence encoder to the space of an image tower it was not trained with."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize

from crosscue.errors import BackboneError
from crosscue.storage import atomic_file


class Bridge(nn.Module):
    """text: h -> A h + B gelu(C norm(h)) + b;  image: f -> f / |f| - m.

    The learned mean m takes out the offset between the two modalities, which a cosine would otherwise spend its range on.
    """

    def __init__(self, text_width: int, embed_dim: int, hidden: int) -> None:
        super().__init__()
        self.size = {"text_width": text_width, "embed_dim": embed_dim, "hidden": hidden}
        self.norm = nn.LayerNorm(text_width)
        self.straight = nn.Linear(text_width, embed_dim)
        self.up, self.down = nn.Linear(text_width, hidden), nn.Linear(hidden, embed_dim)
        self.image_mean = nn.Parameter(torch.zeros(embed_dim))
        self.log_scale = nn.Parameter(torch.tensor(20.0).log())

    def text(self, hidden: Tensor) -> Tensor:
        """(..., W) text (or token) features -> (..., D), not normalised."""
        return self.straight(hidden) + self.down(gelu(self.up(self.norm(hidden))))

    def image(self, pooled: Tensor) -> Tensor:
        """(B, D) image features -> (B, D), not normalised."""
        return normalize(pooled, dim=-1) - self.image_mean

    def save(self, path: Path) -> None:
        """Writes the bridge to a safetensors file, atomically."""
        with atomic_file(path) as part:
            tensors = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
            save_file(tensors, part, metadata={"bridge": json.dumps(self.size)})

    @classmethod
    def load(cls, path: Path) -> Bridge:
        """Reads a bridge.

        Raises:
            BackboneError: the file is missing, damaged, or not a bridge.
        """
        try:
            with safe_open(path, "pt") as file:
                bridge = cls(**json.loads(file.metadata()["bridge"]))
                bridge.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise BackboneError(
                f"{path}: not a bridge ({error}). Convert the starter again, or restore the file."
            ) from error
        return bridge
