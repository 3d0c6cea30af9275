"""Pictures at the size a backbone sees, decoded once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as Pillow

from crosscue.data.images import open_image
from crosscue.data.pairs import Image, ImageFile, Pairs
from crosscue.data.rows import RowCache, blocks_of
from crosscue.errors import DataError
from crosscue.storage import cache_dir

if TYPE_CHECKING:
    from torch import Tensor

RESAMPLING = {"bicubic": Pillow.Resampling.BICUBIC, "bilinear": Pillow.Resampling.BILINEAR}
BLOCK = 64


def square(picture: Pillow.Image, size: int, resample: str = "bicubic", crop: bool = True) -> np.ndarray[Any, Any]:
    """Resizes to (3, size, size) uint8 as CLIP's image processor does.

    Args:
        picture: RGB.
        size: side of the square.
        resample: bicubic or bilinear.
        crop: True resizes the short side and crops the centre; False squashes.
    """
    width, height = picture.size
    if crop:
        short = min(width, height)
        scaled = (int(size * width / short), int(size * height / short))
    else:
        scaled = (size, size)
    resized = picture.resize(scaled, RESAMPLING[resample])
    left, top = (scaled[0] - size) // 2, (scaled[1] - size) // 2
    cropped = resized.crop((left, top, left + size, top + size))
    return np.asarray(cropped).transpose(2, 0, 1)


class PixelStore:
    """`store[indices]` -> (B, 3, S, S) uint8. Decoded on first use, all at once, into a file in the cache."""

    def __init__(
        self, pairs: Pairs, size: int, *, resample: str = "bicubic", crop: bool = True, cache: bool = True
    ) -> None:
        """Describes the store; nothing is decoded yet.

        Args:
            pairs: the pictures, by position.
            size: side of the square.
            resample: bicubic or bilinear.
            crop: centre crop, or squash.
            cache: False decodes on every access.
        """
        self.pairs, self.size, self.resample, self.crop, self.cache = pairs, size, resample, crop, cache
        self._rows: RowCache | None = None
        self._key: str | None = None

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def key(self) -> str:
        """A hash of which pictures these are and how they were squared."""
        if self._key is None:
            digest = hashlib.sha256(f"{self.size} {self.resample} {self.crop}".encode())
            for pair in self.pairs:
                digest.update(identity(pair.image).encode() + b"\x00")
            self._key = digest.hexdigest()[:24]
        return self._key

    def __getitem__(self, indices: Sequence[int]) -> Tensor:
        """B positions -> (B, 3, S, S) uint8.

        Raises:
            DataError: pictures cannot be decoded; names the first few, `crosscue data check` lists all.
        """
        import torch

        indices = list(indices)
        if not self.cache:
            return torch.from_numpy(self._decode(indices))
        return torch.from_numpy(self._filled().read(indices))

    def _filled(self) -> RowCache:
        if self._rows is None:
            rows = RowCache(cache_dir() / "pixels" / self.key, len(self), (3, self.size, self.size), "uint8")
            missing = rows.missing()
            if missing:
                rows.fill(blocks_of(missing, BLOCK, self._decode), len(missing), "decoding pictures", "pictures")
            self._rows = rows
        return self._rows

    def _decode(self, indices: Sequence[int]) -> np.ndarray[Any, Any]:
        def one(index: int) -> np.ndarray[Any, Any] | DataError:
            try:
                picture = open_image(self.pairs[index].image, at_least=self.size)
                return square(picture, self.size, self.resample, self.crop)
            except DataError as error:
                return error

        with ThreadPoolExecutor() as pool:
            decoded = list(pool.map(one, indices))
        failures = [result for result in decoded if isinstance(result, DataError)]
        if failures:
            more = f" (and {len(failures) - 1} more in this block)" if len(failures) > 1 else ""
            raise DataError(f"{failures[0]}{more} `crosscue data check {self.pairs.source}` lists every such picture.")
        return np.stack([result for result in decoded if not isinstance(result, DataError)])


def identity(image: Image) -> str:
    """Returns what tells one picture from another without decoding it: path, size and time, or the name in its table.

    Raises:
        DataError: the file is not there.
    """
    if not isinstance(image, ImageFile):
        return f"{image.name} {hashlib.sha256(image.read()).hexdigest()}"
    try:
        status = image.path.stat()
    except OSError as error:
        raise DataError(f"{image.name}: {error.strerror}. Check the path, or remove the pair.") from error
    return f"{image.path.resolve()} {status.st_size} {status.st_mtime_ns}"
