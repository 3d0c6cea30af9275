"""Thumbnails: WebP files by the content of the image, shared by all spaces."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from PIL import Image as Pillow

from crosscue.storage import writing

SIDE = 320
"""Most pixels of a side."""


def thumbnail_path(folder: Path, content: str) -> Path:
    """Returns the place of a thumbnail below the folder `thumbs`."""
    return folder / content[:2] / f"{content}.webp"


def has_thumbnail(folder: Path, content: str) -> bool:
    """Returns True if there is a thumbnail; a power cut can leave an empty file."""
    try:
        return thumbnail_path(folder, content).stat().st_size > 0
    except OSError:
        return False


def write_thumbnail(folder: Path, content: str, image: Pillow.Image) -> Path:
    """Writes the thumbnail of an RGB image and returns its path. The image keeps its size.

    Raises:
        StorageError: the disk is full or refuses.
    """
    target = thumbnail_path(folder, content)
    small = image.copy()
    small.thumbnail((SIDE, SIDE), Pillow.Resampling.LANCZOS, reducing_gap=2.0)
    part = target.with_suffix(f".{os.getpid()}.{threading.get_ident()}.part")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            small.save(part, "WEBP", quality=75, method=1)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    return target
