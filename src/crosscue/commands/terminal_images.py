"""Images in a terminal: by the protocols of kitty and iTerm2, or as coloured half blocks."""

from __future__ import annotations

import base64
import io
import os
import sys
from pathlib import Path
from typing import Literal

from PIL import Image as Pillow

from crosscue.data.images import open_image
from crosscue.data.pairs import ImageFile
from crosscue.errors import DataError

Protocol = Literal["kitty", "iterm", "blocks"]
ROWS, COLUMNS = 8, 24
"""Lines and columns of an image."""
CHUNK = 4096
"""Most base64 characters of one escape sequence of kitty."""


def protocol_of(wanted: str) -> Protocol | None:
    """Returns the protocol of an option `--thumbs`; None for no images."""
    if wanted != "auto":
        return None if wanted == "off" else wanted  # type: ignore[return-value]
    if not sys.stdout.isatty():
        return None
    term, program = os.environ.get("TERM", ""), os.environ.get("TERM_PROGRAM", "")
    if "kitty" in term or "ghostty" in term or program == "ghostty":
        return "kitty"
    if program in ("iTerm.app", "WezTerm"):
        return "iterm"
    return "blocks" if os.environ.get("COLORTERM") in ("truecolor", "24bit") else None


def drawn(path: Path, protocol: Protocol) -> str:
    """Returns the characters that draw an image, with a line break; of a file that cannot be read, its fault."""
    try:
        image = open_image(ImageFile(path), at_least=320)
    except DataError as error:
        return f"    {error}\n"
    if protocol == "blocks":
        return blocks(image)
    image.thumbnail((320, 320))
    held = io.BytesIO()
    image.save(held, "PNG")
    data = base64.b64encode(held.getvalue()).decode()
    if protocol == "iterm":
        return f"\x1b]1337;File=inline=1;height={ROWS};preserveAspectRatio=1:{data}\a\n"
    parts = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
    first = f"a=T,f=100,r={ROWS},"
    return (
        "".join(
            f"\x1b_G{first if place == 0 else ''}m={int(place + 1 < len(parts))};{part}\x1b\\"
            for place, part in enumerate(parts)
        )
        + "\n"
    )


def blocks(image: Pillow.Image) -> str:
    """Returns an image as lines of upper half blocks: the colour of a character is its upper pixel, the background its lower."""
    image.thumbnail((COLUMNS, 2 * ROWS))
    width, height = image.size
    pixels = image.load()
    assert pixels is not None
    lines = []
    for row in range(0, height - 1, 2):
        cells = []
        for column in range(width):
            (r, g, b), (s, t, u) = pixels[column, row], pixels[column, row + 1]  # type: ignore[misc]
            cells.append(f"\x1b[38;2;{r};{g};{b}m\x1b[48;2;{s};{t};{u}m▀")
        lines.append(f"    {''.join(cells)}\x1b[0m\n")
    return "".join(lines)
