"""The content of images as short hashes: equal for equal files, wherever they are and whatever their names."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from crosscue.data.features import FeatureRow
from crosscue.data.pairs import Image, ImageFile
from crosscue.errors import DataError
from crosscue.progress import track
from crosscue.storage import sha256_file

LENGTH = 16
"""Hexadecimal digits of a hash: 64 bits, so that two of a million images have the same with odds of 1 to 10 million."""


def contents(images: Sequence[Image]) -> list[str]:
    """Returns the hash of each image.

    Raises:
        DataError: a file cannot be read; the message names it.
    """
    with ThreadPoolExecutor() as pool:
        return list(track(pool.map(content, images), "reading images", len(images), "images"))


def content(image: Image) -> str:
    """Returns the hash of an image: of the bytes of its file, or of the place of its row in a bank of features."""
    if isinstance(image, FeatureRow):
        return hashlib.sha256(f"{image.bank.sha256} {image.row}".encode()).hexdigest()[:LENGTH]
    if not isinstance(image, ImageFile):
        return hashlib.sha256(image.read()).hexdigest()[:LENGTH]
    try:
        status = image.path.stat()
        return _of_file(image.path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise DataError(f"{image.name}: cannot be read ({error.strerror}). Check the path.") from error


@lru_cache(maxsize=1_000_000)
def _of_file(path: Path, size: int, changed: int) -> str:
    return sha256_file(path)[:LENGTH]
