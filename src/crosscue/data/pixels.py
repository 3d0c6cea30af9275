"""Images at the size a backbone reads, decoded once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as Pillow

from crosscue.data.images import open_image
from crosscue.data.pairs import Image, ImageFile, OpenedImage
from crosscue.data.rows import RowCache
from crosscue.errors import DataError
from crosscue.storage import cache_dir

if TYPE_CHECKING:
    from torch import Tensor

RESAMPLING = {method.name.lower(): method for method in Pillow.Resampling}
BLOCK = 64
THIN = 16
"""Ratio of the sides from which an image is cropped before it is resized; the strip would take gigabytes."""


@dataclass(frozen=True)
class PixelSpec:
    """The square that an image tower reads. The values come with the checkpoint, never from the user."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resample: str = "bicubic"
    crop: bool = True
    """True: the short side is resized, then the centre is cropped. False: squashed to a square."""
    margin: float = 1.0
    """Length of the resized short side, as a multiple of `size`."""

    @property
    def short_side(self) -> int:
        """The length to which the short side is resized before the crop."""
        return round(self.size * self.margin)

    def read(self, image: Image | OpenedImage) -> np.ndarray[Any, Any]:
        """Returns an image as (3, size, size) uint8.

        Raises:
            DataError: it cannot be decoded; the message names it.
        """
        opened = open_image(image, at_least=self.short_side)
        return square(opened, self.size, self.resample, self.crop, self.short_side)


def square(
    opened: Pillow.Image, size: int, resample: str = "bicubic", crop: bool = True, short_side: int | None = None
) -> np.ndarray[Any, Any]:
    """Resizes to (3, size, size) uint8 as `CLIPImageProcessor` does.

    Args:
        opened: RGB.
        size: side of the square.
        resample: name of a method of Pillow, such as bicubic.
        crop: True resizes the short side and crops the centre; False squashes.
        short_side: the length of the short side before the crop; default `size`.
    """
    width, height = opened.size
    if crop:
        short = min(width, height)
        length = short_side or size
        scaled = (int(length * width / short), int(length * height / short))
    else:
        scaled = (size, size)
    left, top = (scaled[0] - size) // 2, (scaled[1] - size) // 2
    if crop and max(width, height) > THIN * short:
        across, down = width / scaled[0], height / scaled[1]
        box = (left * across, top * down, (left + size) * across, (top + size) * down)
        return np.asarray(opened.resize((size, size), RESAMPLING[resample], box)).transpose(2, 0, 1)
    resized = opened.resize(scaled, RESAMPLING[resample])
    return np.asarray(resized.crop((left, top, left + size, top + size))).transpose(2, 0, 1)


class PixelStore:
    """`store[indices]` -> (B, 3, S, S) uint8. Decoded on first use, all at once, into the cache, where each image is once."""

    def __init__(self, images: Sequence[Image], spec: PixelSpec, *, cache: bool = True, source: str = "") -> None:
        """Describes the store; nothing is decoded yet.

        Args:
            images: the images by index.
            spec: the square they become.
            cache: False decodes on every access.
            source: the source of pairs they come from, for the command in a message.
        """
        self.images, self.spec, self.cache, self.source = images, spec, cache, source
        self._rows: RowCache | None = None

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def keys(self) -> list[str]:
        """A text for each image, which differs between images and between their versions."""
        return [identity(image) for image in self.images]

    @property
    def square(self) -> str:
        """The square that the images become, as text."""
        kept = "crop" if self.spec.crop else "squashed"
        return f"{self.spec.size} px, {self.spec.resample}, {kept}, {self.spec.short_side}"

    def __getitem__(self, indices: Sequence[int]) -> Tensor:
        """B indices -> (B, 3, S, S) uint8.

        Raises:
            DataError: images cannot be decoded; the message names the first and the command that lists all.
        """
        import torch

        indices = list(indices)
        if not self.cache:
            return torch.from_numpy(self._decode(indices))
        return torch.from_numpy(self._filled().read(indices))

    def _filled(self) -> RowCache:
        if self._rows is None:
            folder = cache_dir() / "pixels" / hashlib.sha256(self.square.encode()).hexdigest()[:24]
            shape = (3, self.spec.size, self.spec.size)
            rows = RowCache(folder, self.keys, shape, "uint8", f"decoded images: {self.square}")
            rows.fill(self._decode, BLOCK, "decoding images", "images")
            self._rows = rows
        return self._rows

    def _decode(self, indices: Sequence[int]) -> np.ndarray[Any, Any]:
        def one(index: int) -> np.ndarray[Any, Any] | DataError:
            try:
                return self.spec.read(self.images[index])
            except DataError as error:
                return error

        with ThreadPoolExecutor() as pool:
            decoded = list(pool.map(one, indices))
        failures = [result for result in decoded if isinstance(result, DataError)]
        if failures:
            more = f" (and {len(failures) - 1} more in this block)" if len(failures) > 1 else ""
            listed = f" List every such image: crosscue data check {self.source}" if self.source else ""
            raise DataError(f"{failures[0]}{more}{listed}")
        return np.stack([result for result in decoded if not isinstance(result, DataError)])


def identity(image: Image) -> str:
    """Returns a text that differs between images, without decoding them.

    A file has its path, size and time; an image inside a table has the hash of its bytes.

    Raises:
        DataError: the file is not there.
    """
    if not isinstance(image, ImageFile):
        return hashlib.sha256(image.read()).hexdigest()
    try:
        status = image.path.stat()
    except OSError as error:
        raise DataError(f"{image.name}: {error.strerror}. Check the path, or remove the pair.") from error
    return f"{image.path.resolve()} {status.st_size} {status.st_mtime_ns}"
