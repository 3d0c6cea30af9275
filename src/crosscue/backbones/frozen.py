"""The output of the frozen image layers, computed once and read from disk afterwards."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from crosscue.backbones.banks import BankFeatures, no_patches
from crosscue.backbones.protocol import ImageFeatures, ImageInput, ImageState
from crosscue.backbones.rows import WHOLE, divided
from crosscue.data.features import FeatureBank, FeatureRow, feature_rows
from crosscue.data.pixels import PixelStore
from crosscue.data.rows import RowCache
from crosscue.data.writing import write_pairs
from crosscue.errors import StorageError
from crosscue.storage import atomic_folder, cache_dir, write_json

if TYPE_CHECKING:
    from crosscue.backbones.protocol import Backbone
    from crosscue.data.pairs import Image, Pairs

BLOCK = 32
BANK, LISTING = "features.safetensors", "captions.jsonl"
"""Files of a folder that `write_bank` writes."""


class Images(Protocol):
    """Images by index: decoded pixels, or the cached output of frozen layers."""

    def __getitem__(self, indices: Sequence[int], /) -> ImageInput:
        """B indices -> (B, 3, S, S) uint8, or the state or features of B images."""
        ...


@dataclass(frozen=True)
class Chosen:
    """Some images of a gallery, by position."""

    images: Images
    places: Sequence[int]

    def __getitem__(self, indices: Sequence[int], /) -> ImageInput:
        """B indices among the chosen images -> as `images`."""
        return self.images[[self.places[index] for index in indices]]


class FrozenRows(ABC):
    """One tensor an image, in the dtype of the backbone.

    The folder is named by a hash of the weights, the computation and the dtype, and a row by its image. So no row is
    ever stale.
    """

    what: str
    """The text of the progress bar."""
    about: str
    """The rows in words, for the list of the cache."""

    def __init__(self, backbone: Backbone, pixels: PixelStore) -> None:
        self.backbone, self.pixels = backbone, pixels
        self.images: Images = pixels
        """The input of the computation."""
        self._rows: RowCache | None = None
        self._dtype = torch.float32

    @abstractmethod
    def compute(self, images: Any) -> Tensor:
        """B images -> (B, ...)."""

    @abstractmethod
    def key(self) -> str:
        """Returns a text of everything that the rows depend on beside the images."""

    def read(self, indices: Sequence[int]) -> Tensor:
        """B indices -> (B, ...) on the backbone's device."""
        rows = self._filled()
        values = torch.from_numpy(rows.read(list(indices)))
        return values.view(self._dtype).to(self.backbone.device)

    def _filled(self) -> RowCache:
        if self._rows is None:
            sample = self._on_cpu([0])
            self._dtype = sample.dtype
            spec = self.backbone.pixels
            name = f"{self.pixels.square} {spec.mean} {spec.std} {self.key()}"
            folder = cache_dir() / "states" / hashlib.sha256(name.encode()).hexdigest()[:24]
            stored = "uint16" if sample.dtype == torch.bfloat16 else "float32"
            about = f"{self.about}, {self.backbone.source}, {spec.size} px, {self.backbone.precision.name}"
            rows = RowCache(folder, self.pixels.keys, tuple(sample.shape[1:]), stored, about)
            rows.fill(self._values, BLOCK, self.what, "images")
            self._rows = rows
        return self._rows

    def _on_cpu(self, indices: Sequence[int]) -> Tensor:
        with torch.no_grad(), divided(self.backbone, WHOLE):
            return self.compute(self.images[indices].to(self.backbone.device)).cpu()

    def _values(self, indices: Sequence[int]) -> np.ndarray[Any, Any]:
        """B indices -> rows that depend on no other image: every block has one size, and so one order of sums."""
        block = [*indices, *[indices[-1]] * (BLOCK - len(indices))]
        rows = self._on_cpu(block)[: len(indices)]
        return (rows.view(torch.uint16) if rows.dtype == torch.bfloat16 else rows).numpy()


class FrozenStates(FrozenRows):
    """`states[indices]` -> the `ImageState` of B images at the input of `layer`."""

    def __init__(self, backbone: Backbone, pixels: PixelStore, layer: int) -> None:
        super().__init__(backbone, pixels)
        self.layer, self.what = layer, f"running {layer} frozen image layers"
        self.about = f"tokens behind {layer} image layers"

    def __getitem__(self, indices: Sequence[int], /) -> ImageState:
        """B indices -> state of (B, S, W)."""
        return ImageState(self.read(indices), self.layer)

    def compute(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, S, W)."""
        return self.backbone.image_state(pixels, self.layer).tokens

    def key(self) -> str:
        """Returns the weights of the image tower alone: a state does not depend on a bridge behind it."""
        return f"{self.backbone.image_checkpoint} {self.layer} {self.backbone.precision.dtype}"


class FrozenFeatures(FrozenRows):
    """`features[indices]` -> the `ImageFeatures` of B images: the pooled feature alone, a few kilobytes an image."""

    what, about = "running the frozen image tower", "image features"

    def __init__(self, backbone: Backbone, pixels: PixelStore, images: Images | None = None) -> None:
        """`images`: the same images behind some layers, where they are cached."""
        super().__init__(backbone, pixels)
        self.images: Images = pixels if images is None else images

    def __getitem__(self, indices: Sequence[int], /) -> ImageFeatures:
        """B indices -> features with (B, D) and (B, W), without patches."""
        rows = self.read(indices)
        width = self.backbone.embed_dim
        return ImageFeatures(rows[:, :width], rows[:, width:], no_patches)

    def compute(self, images: ImageInput) -> Tensor:
        """(B, 3, S, S), or a state -> (B, D + W)."""
        features = self.backbone.encode_image(images)
        return torch.cat([features.pooled, features.hidden], dim=1)

    def key(self) -> str:
        """Returns all weights, those of a bridge among them."""
        return f"{self.backbone.checkpoint} features {self.backbone.precision.dtype}"


def pixel_store(images: Sequence[Image], backbone: Backbone, *, cache: bool = True, source: str = "") -> PixelStore:
    """Returns images at the size that the backbone's checkpoint reads; `source` is for messages."""
    return PixelStore(images, backbone.pixels, cache=cache, source=source)


def cached_images(images: PixelStore, backbone: Backbone, frozen_layers: int | Literal["pooled"]) -> Images:
    """Returns images behind the layers of the image tower that stay frozen.

    Args:
        images: decoded images.
        backbone: the tower.
        frozen_layers: number of first layers that stay frozen. `pooled`: all do, and only the pooled feature is read.
    """
    if frozen_layers == "pooled":
        rows = feature_rows(images.images, images.source)
        return BankFeatures(rows, backbone, images.source) if rows else FrozenFeatures(backbone, images)
    return FrozenStates(backbone, images, frozen_layers) if frozen_layers else images


WholeFeatures = FrozenFeatures | BankFeatures
"""Pooled features of the untouched image tower, by index."""


def untouched_features(images: Images, backbone: Backbone, pixels: PixelStore) -> WholeFeatures:
    """Returns the features of the untouched tower; `images` are the same images behind some of its layers."""
    return images if isinstance(images, WholeFeatures) else FrozenFeatures(backbone, pixels, images)


class TowerOutputs(FrozenRows):
    """`outputs.read(indices)` -> (B, D) pooled features without a bridge: the rows of a bank of features."""

    what, about = "running the image tower", "image features before a bridge"

    def compute(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, D)."""
        return self.backbone.image_output(images)

    def key(self) -> str:
        """Returns the weights of the tower and its projection, without a bridge."""
        return f"{self.backbone.feature_checkpoint} output {self.backbone.precision.dtype}"


def write_bank(pairs: Pairs, backbone: Backbone, folder: Path) -> Path:
    """Writes a folder with the features of all images and a listing of the pairs: a source without pixels.

    Images that were encoded before an interruption are read from the cache.

    Raises:
        StorageError: there is something in the folder.
        DataError: images cannot be read, or are rows of features already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StorageError(f"{folder}: there is something here already. Remove it, or choose another --out.")
    outputs = TowerOutputs(backbone, pixel_store(pairs.images, backbone, source=pairs.origin))
    matrix = outputs.read(range(len(pairs))).cpu()
    origin = {
        "tower": backbone.feature_checkpoint,
        "backbone": backbone.source,
        "image_size": backbone.pixels.size,
        "precision": backbone.precision.name,
        "names": [pair.image_id for pair in pairs],
    }
    with atomic_folder(folder) as part:
        file = part / BANK
        save_file({"image_features": matrix}, file)
        write_json(Path(f"{file}.json"), origin)
        bank = FeatureBank(file)
        write_pairs(part / LISTING, (replace(pair, image=FeatureRow(bank, row)) for row, pair in enumerate(pairs)))
    return folder / LISTING
