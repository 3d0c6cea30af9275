"""From encoded bytes to a picture: rotated as the camera said, RGB, first frame, within a size limit."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from crosscue.errors import DataError

if TYPE_CHECKING:
    from crosscue.data.pairs import Image

MAX_PIXELS = 178_956_970
"""Pictures with more pixels are refused (CROSSCUE_MAX_PIXELS changes it): a small file can expand to gigabytes."""


def max_pixels() -> int:
    """Returns the largest number of pixels a picture may have."""
    return int(os.environ.get("CROSSCUE_MAX_PIXELS", MAX_PIXELS))


def open_image(image: Image, *, at_least: int | None = None) -> Pillow.Image:
    """Decodes a picture to RGB.

    The EXIF orientation is applied, transparency is put on white, an animation gives its first frame, CMYK and 16-bit
    pictures are converted.

    Args:
        image: the picture.
        at_least: a JPEG may be decoded at a fraction of its size as long as both sides keep this many pixels.

    Raises:
        DataError: missing, empty, unreadable, truncated or larger than the limit; the message names the file.
    """
    try:
        encoded = image.read()
    except OSError as error:
        raise DataError(f"{image.name}: cannot be read ({error.strerror or error}). Check the path.") from error
    if not encoded:
        raise DataError(f"{image.name}: the file is empty. Fetch it again or remove it from the pairs.")
    try:
        picture = Pillow.open(io.BytesIO(encoded))
    except UnidentifiedImageError as error:
        raise DataError(
            f"{image.name}: not a picture that can be decoded. Convert it to JPEG or PNG, or remove it."
        ) from error
    except Pillow.DecompressionBombError as error:
        raise DataError(f"{image.name}: {error}. Scale it down, or raise CROSSCUE_MAX_PIXELS.") from error
    except (OSError, SyntaxError) as error:
        raise damaged(image, error) from error
    width, height = picture.size
    if width * height > max_pixels():
        raise DataError(
            f"{image.name}: {width} x {height} is more than {max_pixels():,} pixels. Scale it down, or raise CROSSCUE_MAX_PIXELS."
        )
    if at_least is not None and min(width, height) > 2 * at_least:
        picture.draft("RGB", (2 * at_least, 2 * at_least))  # a no-op for all but JPEG
    try:
        return to_rgb(ImageOps.exif_transpose(picture))
    except (OSError, SyntaxError, ValueError) as error:
        raise damaged(image, error) from error


def damaged(image: Image, error: Exception) -> DataError:
    """Returns the error for a picture whose bytes end early or make no sense."""
    return DataError(f"{image.name}: damaged or truncated ({error}). Fetch it again or remove it from the pairs.")


def to_rgb(picture: Pillow.Image) -> Pillow.Image:
    """Converts any mode to RGB; transparent areas become white, 16-bit grey is scaled instead of clipped."""
    if picture.mode.startswith("I") or picture.mode == "F":
        import numpy as np

        values = np.asarray(picture, dtype=np.float64)
        scale = 65535.0 if values.max() > 255 else 255.0
        return Pillow.fromarray((values / scale * 255).clip(0, 255).astype(np.uint8)).convert("RGB")
    if "transparency" in picture.info or picture.mode in ("RGBA", "LA", "PA"):
        with_alpha = picture.convert("RGBA")
        return Pillow.alpha_composite(Pillow.new("RGBA", picture.size, "white"), with_alpha).convert("RGB")
    return picture.convert("RGB")


def peculiarities(image: Image) -> list[str]:
    """Returns what `open_image` has to convert: CMYK, animation, EXIF rotation. Empty for an ordinary picture."""
    with Pillow.open(io.BytesIO(image.read())) as picture:
        found = []
        if picture.mode == "CMYK":
            found.append("CMYK, converted to RGB")
        if getattr(picture, "n_frames", 1) > 1:
            found.append("animated, first frame used")
        if picture.getexif().get(0x0112, 1) != 1:
            found.append("rotated by its EXIF orientation")
        return found
