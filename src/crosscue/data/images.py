"""Decoded images: rotated by their EXIF orientation, RGB, first frame, within a size limit."""

from __future__ import annotations

import base64
import io
import os
import threading

from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from crosscue.data.pairs import Image, OpenedImage
from crosscue.errors import DataError

_loading = threading.Lock()
"""Held while an opened image reads its file: Pillow does not guard an image that two threads load."""

MAX_PIXELS = 178_956_970
"""Images with more pixels are refused (CROSSCUE_MAX_PIXELS changes it): a small file can expand to gigabytes."""


def max_pixels() -> int:
    """Returns the largest number of pixels an image may have."""
    return int(os.environ.get("CROSSCUE_MAX_PIXELS", MAX_PIXELS))


def open_image(image: Image | OpenedImage, *, at_least: int | None = None) -> Pillow.Image:
    """Returns an image in RGB, decoded where it is not opened yet.

    The EXIF orientation is applied, transparency is put on white, an animation gives its first frame, CMYK and 16-bit
    images are converted.

    Args:
        image: the image.
        at_least: a JPEG may be decoded at a fraction of its size as long as both sides keep this many pixels.

    Raises:
        DataError: missing, empty, unreadable, truncated or larger than the limit; the message names the file.
    """
    opened = image.opened if isinstance(image, OpenedImage) else open_header(image)
    width, height = opened.size
    if width * height > max_pixels():
        raise DataError(
            f"{image.name}: {width} x {height} is more than {max_pixels():,} pixels. Scale it down, or raise CROSSCUE_MAX_PIXELS."
        )
    try:
        if isinstance(image, OpenedImage):
            with _loading:
                opened.load()
        elif at_least is not None and min(width, height) > 2 * at_least:
            opened.draft("RGB", (2 * at_least, 2 * at_least))  # a no-op for all but JPEG
        return to_rgb(ImageOps.exif_transpose(opened))
    except (OSError, SyntaxError, ValueError) as error:
        raise damaged(image.name, error) from error


def open_header(image: Image) -> Pillow.Image:
    """Returns an image whose header is read and whose pixels are not.

    Raises:
        DataError: missing, empty, or no image; the message names the file.
    """
    try:
        encoded = image.read()
    except OSError as error:
        raise DataError(f"{image.name}: cannot be read ({error.strerror or error}). Check the path.") from error
    if not encoded:
        raise DataError(f"{image.name}: the file is empty. Fetch it again or remove it.")
    try:
        return Pillow.open(io.BytesIO(encoded))
    except UnidentifiedImageError as error:
        raise DataError(
            f"{image.name}: not an image that can be decoded. Convert it to JPEG or PNG, or remove it."
        ) from error
    except Pillow.DecompressionBombError as error:
        raise DataError(f"{image.name}: {error}. Scale it down, or raise CROSSCUE_MAX_PIXELS.") from error
    except (OSError, SyntaxError) as error:
        raise damaged(image.name, error) from error


def jpeg_url(image: Image, side: int, quality: int) -> str:
    """Returns an image as a JPEG data URL, both sides at most `side` pixels.

    Raises:
        DataError: the image cannot be read.
    """
    opened = open_image(image, at_least=side)
    opened.thumbnail((side, side), Pillow.Resampling.LANCZOS)
    encoded = io.BytesIO()
    opened.save(encoded, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.getvalue()).decode("ascii")


def damaged(name: str, error: Exception) -> DataError:
    """Returns the error for an image whose bytes end early or make no sense."""
    return DataError(f"{name}: damaged or truncated ({error}). Fetch it again or remove it.")


def to_rgb(opened: Pillow.Image) -> Pillow.Image:
    """Converts any mode to RGB; transparent areas become white, 16-bit grey is scaled instead of clipped."""
    if opened.mode.startswith("I") or opened.mode == "F":
        import numpy as np

        values = np.asarray(opened, dtype=np.float64)
        scale = 65535.0 if values.max() > 255 else 255.0
        return Pillow.fromarray((values / scale * 255).clip(0, 255).astype(np.uint8)).convert("RGB")
    if "transparency" in opened.info or opened.mode in ("RGBA", "LA", "PA"):
        with_alpha = opened.convert("RGBA")
        return Pillow.alpha_composite(Pillow.new("RGBA", opened.size, "white"), with_alpha).convert("RGB")
    return opened.convert("RGB")


def peculiarities(image: Image) -> list[str]:
    """Returns the conversions that `open_image` makes: CMYK, animation, EXIF rotation. Empty for an ordinary image."""
    with Pillow.open(io.BytesIO(image.read())) as opened:
        found = []
        if opened.mode == "CMYK":
            found.append("CMYK, converted to RGB")
        if getattr(opened, "n_frames", 1) > 1:
            found.append("animated, first frame used")
        if opened.getexif().get(0x0112, 1) != 1:
            found.append("rotated by its EXIF orientation")
        return found
