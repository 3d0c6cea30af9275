"""Decoded images: rotated by their EXIF orientation, RGB, first frame, within a size limit."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import io
import os
import threading
from collections.abc import Callable, Iterator
from functools import cache
from typing import TypeVar

from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from crosscue.data.locations import is_file, mode
from crosscue.data.pairs import Image, ImageFile, OpenedImage
from crosscue.errors import CrosscueError, DataError, OptionError
from crosscue.source_files import HEAD, require_own, short

_loading = threading.Lock()
"""Held while an opened image reads its file: Pillow does not guard an image that two threads load."""

MAX_PIXELS = 178_956_970
"""Images with more pixels are refused (CROSSCUE_MAX_PIXELS changes it): a small file can expand to gigabytes."""


PNG = b"\x89PNG\r\n\x1a\n"
HEIC = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
"""Kinds of HEIC, as phones write them, also into files that are called .jpg."""
PROGRAMS = ("EPS", "WMF")
"""Formats that Pillow hands to a program of the system, whatever the suffix of the file."""
Read = TypeVar("Read")
METADATA = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
"""Chunks of a PNG with text and colour profiles, which Pillow refuses beyond a megabyte."""


def max_pixels() -> int:
    """Returns the largest number of pixels an image may have."""
    given = os.environ.get("CROSSCUE_MAX_PIXELS", str(MAX_PIXELS))
    if not given.isdecimal():
        raise OptionError(f"CROSSCUE_MAX_PIXELS is {given!r}; it must be an integer, such as {MAX_PIXELS}.")
    return int(given)


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
    if isinstance(image, OpenedImage):
        with decoding(image.name), _loading:
            image.opened.load()
            return upright(image.name, image.opened)
    encoded = encoded_bytes(image)
    with decoding(image.name):
        return png_spared(encoded, lambda content: _decoded(image.name, content, at_least))


def open_header(image: Image) -> Pillow.Image:
    """Returns an image whose header is read and whose pixels are not.

    Raises:
        DataError: missing, empty, or no image; the message names the file.
    """
    encoded = encoded_bytes(image)
    with decoding(image.name):
        return png_spared(encoded, lambda content: _opened(image.name, content))


def png_spared(encoded: bytes, read: Callable[[bytes], Read]) -> Read:
    """Returns `read(encoded)`; where Pillow refuses the texts in a PNG, it is read without them."""
    try:
        return read(encoded)
    except ValueError:
        if not encoded.startswith(PNG):
            raise
        return read(without_metadata(encoded))


@cache
def heic() -> bool:
    """Registers the decoder of HEIC where it is installed, and returns True if it is."""
    if importlib.util.find_spec("pillow_heif") is None:
        return False
    import pillow_heif

    pillow_heif.register_heif_opener()
    return True


def _opened(name: str, encoded: bytes) -> Pillow.Image:
    if encoded[4:8] == b"ftyp" and encoded[8:12] in HEIC and not heic():
        raise DataError(f"{name}: HEIC needs a package: pip install 'crosscue[heic]'")
    opened = Pillow.open(io.BytesIO(encoded))
    if opened.format in PROGRAMS:
        raise DataError(
            f"{name}: {opened.format} is a program that draws an image. Convert it to JPEG or PNG, or remove it."
        )
    return opened


def _decoded(name: str, encoded: bytes, at_least: int | None) -> Pillow.Image:
    opened = _opened(name, encoded)
    if at_least is not None and min(opened.size) > 2 * at_least:
        opened.draft("RGB", (2 * at_least, 2 * at_least))  # a no-op for all but JPEG
    return upright(name, opened)


def upright(name: str, opened: Pillow.Image) -> Pillow.Image:
    """Returns an opened image in RGB, turned by its EXIF orientation.

    Raises:
        DataError: it has no pixels, or more than the limit.
    """
    width, height = opened.size
    if not width * height:
        raise DataError(f"{name}: {width} x {height} has no pixels. Remove it.")
    if width * height > max_pixels():
        raise DataError(
            f"{name}: {width} x {height} is more than {max_pixels():,} pixels. Scale it down, or raise CROSSCUE_MAX_PIXELS."
        )
    return to_rgb(ImageOps.exif_transpose(opened))


def encoded_bytes(image: Image) -> bytes:
    """Returns the bytes of an image that is not opened; raises `DataError` where there are none."""
    if isinstance(image, ImageFile) and mode(image.path) is not None and not is_file(image.path):
        raise DataError(f"{image.name}: this is no file. Check the path.")
    try:
        encoded = image.read()
    except OSError as error:
        raise DataError(f"{short(image.name)}: cannot be read ({error.strerror or error}). Check the path.") from error
    except ValueError as error:
        raise DataError(f"{short(image.name)}: cannot be read ({error}). Check the path.") from error
    if not encoded:
        raise DataError(f"{image.name}: the file is empty. Fetch it again or remove it.")
    require_own(image.name, encoded[:HEAD])
    return encoded


@contextlib.contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turns the errors of a decoder into one line that names the image."""
    try:
        yield
    except CrosscueError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(
            f"{name}: not an image that can be decoded. Convert it to JPEG or PNG, or remove it."
        ) from error
    except Pillow.DecompressionBombError as error:
        raise DataError(f"{name}: {str(error).rstrip('.')}. Scale it down, or raise CROSSCUE_MAX_PIXELS.") from error
    except Exception as error:  # decoders of damaged files raise errors of many kinds
        raise DataError(f"{name}: damaged or truncated ({error}). Fetch it again or remove it.") from error


def without_metadata(encoded: bytes) -> bytes:
    """Returns the bytes of a PNG without texts and colour profiles; the pixels stay as they are."""
    kept, place = [PNG], len(PNG)
    while place + 8 <= len(encoded):
        end = place + 12 + int.from_bytes(encoded[place : place + 4], "big")
        if encoded[place + 4 : place + 8] not in METADATA:
            kept.append(encoded[place:end])
        place = end
    return b"".join(kept)


def jpeg_url(image: Image, side: int, quality: int) -> str:
    """Returns an image as a JPEG data URL; see `jpeg`."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(image, side, quality)).decode("ascii")


def jpeg(image: Image, side: int, quality: int) -> bytes:
    """Returns an image as a JPEG, both sides at most `side` pixels.

    Raises:
        DataError: the image cannot be read.
    """
    opened = open_image(image, at_least=side)
    opened.thumbnail((side, side), Pillow.Resampling.LANCZOS)
    encoded = io.BytesIO()
    opened.save(encoded, "JPEG", quality=quality)
    return encoded.getvalue()


def to_rgb(opened: Pillow.Image) -> Pillow.Image:
    """Converts any mode to RGB; transparent areas become white, 16-bit grey is scaled instead of clipped."""
    if opened.mode.startswith("I") or opened.mode == "F":
        import numpy as np

        values = np.nan_to_num(np.asarray(opened, dtype=np.float64))
        scale = 65535.0 if values.max() > 255 else 255.0
        return Pillow.fromarray((values / scale * 255).clip(0, 255).astype(np.uint8)).convert("RGB")
    opened = opened.convert({"RGBa": "RGBA", "La": "LA"}[opened.mode]) if opened.mode in ("RGBa", "La") else opened
    if "transparency" in opened.info or opened.mode in ("RGBA", "LA", "PA"):
        with_alpha = opened.convert("RGBA")
        return Pillow.alpha_composite(Pillow.new("RGBA", opened.size, "white"), with_alpha).convert("RGB")
    return opened.convert("RGB")


def peculiarities(image: Image) -> list[str]:
    """Returns the conversions that `open_image` makes: CMYK, animation, EXIF rotation. Empty for an ordinary image."""
    encoded = encoded_bytes(image)
    with decoding(image.name):
        return png_spared(encoded, lambda content: _peculiarities(image.name, content))


def _peculiarities(name: str, encoded: bytes) -> list[str]:
    with _opened(name, encoded) as opened:
        found = []
        if opened.mode == "CMYK":
            found.append("CMYK, converted to RGB")
        if getattr(opened, "n_frames", 1) > 1:
            found.append("animated, first frame used")
        if opened.getexif().get(0x0112, 1) != 1:
            found.append("rotated by its EXIF orientation")
        return found
