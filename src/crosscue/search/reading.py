"""One read of a file: its hash, metadata and captions, and from one decode its thumbnail and pixels."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import threading
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from crosscue.data.images import heic, open_header, open_image
from crosscue.data.pairs import EmbeddedImage
from crosscue.data.pixels import PixelSpec, square
from crosscue.encoding.encoder import Pixels
from crosscue.errors import DataError
from crosscue.search.grouping import looks_of
from crosscue.search.metadata import clean, metadata_of
from crosscue.search.scanning import Item
from crosscue.search.schema import Record
from crosscue.search.thumbnails import SIDE, has_thumbnail, write_thumbnail

HEIC, SVG = (b".heic", b".heif"), (b".svg",)
LONGEST = 2000
"""Characters that are kept of a caption."""
INSTALL = "pip install"
"""Part of a reason that an installation puts right; such a file is tried again every time."""
REFUSED = "cannot be read ("
"""Beginning of a reason of the disk, such as a permission; such a file is tried again too, because its time stays when it changes."""


@dataclass(frozen=True)
class Captions:
    """Captions of an image from a source of pairs."""

    captions: tuple[str, ...]
    category: str | None
    split: str | None

    @property
    def sign(self) -> str:
        """A hash of all; see `Record.sidecar`."""
        parts = (*self.captions, self.category or "", self.split or "")
        return "pairs " + hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class ReadImage:
    """A file that could be read."""

    item: Item
    record: Record
    pixels: Pixels | None
    """(3, S, S) uint8; None where its content has a vector already, or another thread decodes it."""
    looks: Pixels | None
    """(192,) uint8 cells of colour, with the pixels; see `crosscue.search.grouping`."""


@dataclass(frozen=True)
class Failure:
    """A file that could not be read."""

    item: Item
    content: str
    reason: str


@dataclass
class Reader:
    """Reads files for one space; threads share it. Each content is decoded by the first thread that meets it."""

    roots: Mapping[str, Path]
    spec: PixelSpec | None
    """The square to read; None reads no pixels at all, for a plan."""
    thumbnails: Path | None
    """Folder `thumbs`; None writes no thumbnails."""
    known: Mapping[str, object]
    """Contents that have a vector."""
    captions: Mapping[str, Captions] = field(default_factory=dict)
    """Id -> captions of a source of pairs."""
    _claimed: set[str] = field(default_factory=set)
    _alone: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, item: Item) -> ReadImage | Failure | None:
        """Reads one file; None if it is gone since the walk."""
        path = os.path.join(os.fsencode(self.roots[item.root]), item.raw)  # noqa: PTH118
        try:
            with open(path, "rb") as file:  # noqa: PTH123
                encoded = file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            return Failure(item, "", f"{REFUSED}{error.strerror or error})")
        content = hashlib.sha256(encoded).hexdigest()
        shown = unicodedata.normalize("NFC", item.raw.decode("utf-8", "replace"))
        try:
            image = EmbeddedImage(shown, lambda: decodable(item.raw, encoded))
            record = self._record(item, shown, content, image)
            pixels, looks = self._pixels(image, content) if self._claims(content) else (None, None)
        except DataError as error:
            return Failure(item, content, str(error).removeprefix(f"{shown}: "))
        except (MemoryError, ValueError, TypeError, KeyError, IndexError, RuntimeError) as error:  # a plug-in of Pillow
            return Failure(item, content, f"damaged ({type(error).__name__}). Fetch it again or remove it.")
        return ReadImage(item, record, pixels, looks)

    def _claims(self, content: str) -> bool:
        with self._alone:
            if self.spec is None or content in self.known or content in self._claimed:
                return False
            self._claimed.add(content)
            return True

    def release(self, content: str) -> None:
        """Lets the next file with a content be decoded again."""
        with self._alone:
            self._claimed.discard(content)

    def _pixels(self, image: EmbeddedImage, content: str) -> tuple[Pixels, Pixels]:
        assert self.spec is not None
        opened = open_image(image, at_least=max(self.spec.size, SIDE // 2))
        if self.thumbnails is not None and not has_thumbnail(self.thumbnails, content):
            write_thumbnail(self.thumbnails, content, opened)
        return square(opened, self.spec.size, self.spec.resample, self.spec.crop), looks_of(opened)

    def _record(self, item: Item, shown: str, content: str, image: EmbeddedImage) -> Record:
        header = open_header(image)
        known, own = metadata_of(header), self.captions.get(item.id)
        width, height = header.size
        listed = own.captions if own else self._sidecar(item)
        captions = tuple(dict.fromkeys(text[:LONGEST] for text in (*listed, *known.descriptions)))
        folder, _, name = shown.rpartition("/")
        suffix = Path(name).suffix.lower()
        return Record(
            id=item.id,
            root=item.root,
            path=shown,
            raw=None if shown.encode() == item.raw else item.raw,
            folder=folder,
            name=name,
            content=content,
            size=item.size,
            modified=item.modified,
            format="svg" if suffix == ".svg" else (header.format or suffix[1:]).lower(),
            width=height if known.turned else width,
            height=width if known.turned else height,
            taken=known.taken,
            latitude=known.latitude,
            longitude=known.longitude,
            camera=known.camera,
            captions=captions,
            category=own.category if own else None,
            split=own.split if own else None,
            text=" ".join(filter(None, (*captions, *known.keywords, words_of(shown.removesuffix(Path(name).suffix))))),
            sidecar=item.sidecar,
        )

    def _sidecar(self, item: Item) -> list[str]:
        if item.sidecar is None:
            return []
        path = os.path.join(os.fsencode(self.roots[item.root]), os.path.splitext(item.raw)[0] + b".txt")  # noqa: PTH118, PTH122
        try:
            with open(path, "rb") as file:  # noqa: PTH123
                text = file.read(1 << 20).decode("utf-8", "replace")
        except OSError:
            return []
        return [line for line in map(clean, text.splitlines()) if line]


def words_of(path: str) -> str:
    """Returns the words of a path, for full-text search."""
    return " ".join(re.split(r"[\W_]+", path)).strip()


def decodable(raw: bytes, encoded: bytes) -> bytes:
    """Returns bytes that Pillow opens: those of the file, for SVG a rendered PNG.

    Raises:
        DataError: a package for this format is not installed, or the SVG cannot be rendered.
    """
    suffix = os.path.splitext(raw)[1].lower()  # noqa: PTH122
    name = unicodedata.normalize("NFC", raw.decode("utf-8", "replace"))
    if suffix in HEIC and not heic():
        raise DataError(f"{name}: HEIC needs a package: {INSTALL} 'crosscue[heic]'")
    if suffix not in SVG or not encoded:
        return encoded
    if importlib.util.find_spec("resvg_py") is None:
        raise DataError(f"{name}: SVG needs a package: {INSTALL} resvg_py")
    import resvg_py

    try:
        return bytes(resvg_py.svg_to_bytes(svg_string=encoded.decode("utf-8"), width=512, background="#ffffff"))
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{name}: not an SVG that can be rendered ({str(error)[:80]}).") from error
