"""Images inside requests: `data:` URLs, and no other. The server fetches nothing."""

from __future__ import annotations

import base64
import binascii
import io
import re

from PIL import Image as Pillow

from crosscue.data.pairs import EmbeddedImage
from crosscue.serving.failures import Refusal

MAX_UPLOAD_PIXELS = 50_000_000
URL = re.compile(
    r"data:(?P<type>[\w.+/-]*)(?:;[\w=.+-]+)*?(?P<base64>;base64)?,(?P<body>.*)", re.DOTALL | re.IGNORECASE
)
NAME = "the image of the request"


def is_url(text: str) -> bool:
    """Returns whether a text is a URL of any kind, rather than words."""
    return re.match(r"(data:[\w/;]|file:|[a-z][a-z0-9+.-]*://)", text, re.IGNORECASE) is not None


def image_of(url: str, param: str | None = None) -> EmbeddedImage:
    """Returns the image of a data URL; only its header is decoded.

    Raises:
        Refusal: another URL (400), or over 50 megapixels (413).
    """
    found = URL.fullmatch(url)
    if found is None:
        message = "only data: URLs are taken: this server fetches nothing."
        raise Refusal(400, message, code="url_not_taken", param=param)
    if not found["base64"]:
        raise Refusal(400, "the data: URL must be base64.", code="not_base64", param=param)
    try:
        encoded = base64.b64decode(found["body"], validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(400, "the base64 of the data: URL is damaged.", code="not_base64", param=param) from None
    try:
        with Pillow.open(io.BytesIO(encoded)) as header:
            width, height = header.size
            size = f"{width} x {height} pixels"
    except Pillow.DecompressionBombError:
        width, height, size = MAX_UPLOAD_PIXELS, MAX_UPLOAD_PIXELS, "far too many pixels"
    except Exception:  # Pillow raises many kinds for bytes that are no image
        width, height, size = 0, 0, ""
    if width * height > MAX_UPLOAD_PIXELS:
        message = f"{NAME} has {size}; at most {MAX_UPLOAD_PIXELS:,} are taken. Scale it down."
        raise Refusal(413, message, code="too_many_pixels", param=param)
    return EmbeddedImage(NAME, lambda: encoded)
