"""Any number of images as batches of pixels, in bounded memory; an unreadable image is reported, not raised."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image as Pillow

from crosscue.data.cells import readable
from crosscue.data.pairs import EmbeddedImage, ImageFile, OpenedImage
from crosscue.errors import DataError

if TYPE_CHECKING:
    from crosscue.data.pixels import PixelSpec

Given = str | Path | Pillow.Image | np.ndarray[Any, Any] | ImageFile | EmbeddedImage
"""A path, an opened image, a uint8 array of (H, W) or (H, W, 3), or an image of a pair."""


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be decoded."""

    index: int
    """Place in the iterable, counted from 0."""
    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


Decoded = tuple[int, np.ndarray[Any, Any]] | Unreadable
"""The index and (3, S, S) uint8 of one image, or the reason that there are none."""


@dataclass(frozen=True)
class PixelBatch:
    """The readable images among up to `batch_size` consecutive ones, and the others."""

    indices: list[int]
    """Places of the readable images in the iterable."""
    pixels: np.ndarray[Any, Any]
    """(B, 3, S, S) uint8; B may be 0."""
    unreadable: list[Unreadable]


class HasUnreadable(Protocol):
    """A batch, of pixels or of what was computed from them."""

    @property
    def unreadable(self) -> list[Unreadable]:
        """The images that could not be decoded."""
        ...


def pixel_batches(images: Iterable[Given], spec: PixelSpec, batch_size: int = 32) -> Iterator[PixelBatch]:
    """Yields the images as batches, in their order; the next batch is decoded by threads while one is in use.

    At most two batches are in memory, and an image is taken from the iterable only when its batch is due.

    Raises:
        DataError: `images` is one image.
    """
    numbered = enumerate(listed(images, "images"))
    with ThreadPoolExecutor() as pool:
        ahead: deque[list[Future[Decoded]]] = deque()
        while batch := list(islice(numbered, batch_size)):
            ahead.append([pool.submit(_decoded, index, given, spec) for index, given in batch])
            del batch
            if len(ahead) == 2:
                yield _batch(ahead.popleft(), spec)
        if ahead:
            yield _batch(ahead.popleft(), spec)


def listed(given: Iterable[Any], kind: str, call: str = "") -> Iterable[Any]:
    """Returns the given images or texts; one text or image is refused, because its letters or rows are none.

    Raises:
        DataError: it is one text or image, or cannot be iterated over.
    """
    single = isinstance(given, str | bytes | Path | Pillow.Image) or not isinstance(given, Iterable)
    if single or (isinstance(given, np.ndarray) and given.ndim < 4 and given.dtype == np.uint8):
        raise DataError(
            f"the {kind} are one {type(given).__name__}. Give a list: {call or f'run.encode_{kind[:-1]}([...])'}."
        )
    return given


def given_texts(texts: Iterable[str]) -> list[str]:
    """Returns texts as a list.

    Raises:
        DataError: it is one text, or an item is no text that can be encoded.
    """
    found = list(listed(texts, "texts"))
    for index, text in enumerate(found):
        if not isinstance(text, str):
            raise DataError(f"text {index} is {type(text).__name__}, not a text.")
        readable(f"text {index}", "it", text)
    return found


def require_readable(batches: Iterable[HasUnreadable]) -> None:
    """Raises `DataError` if images of some batches could not be decoded; the message names each."""
    failures = [failure for batch in batches for failure in batch.unreadable]
    if failures:
        raise DataError(f"{len(failures)} of the images cannot be read: {' '.join(map(str, failures))}")


def as_image(given: Given, index: int) -> ImageFile | EmbeddedImage | OpenedImage:
    """Returns what stands at `index` of an iterable as an image with a name; nothing is read.

    Raises:
        DataError: it is none of the kinds of `Given`, or an array of another dtype or shape.
    """
    if isinstance(given, ImageFile | EmbeddedImage):
        return given
    if isinstance(given, str | Path):
        return ImageFile(Path(given))
    name = f"image {index}"
    if isinstance(given, Pillow.Image):
        return OpenedImage(str(getattr(given, "filename", "") or name), given)
    if not isinstance(given, np.ndarray):
        raise DataError(f"{name}: {type(given).__name__} is no image. Give a path, an opened Pillow image or an array.")
    if (
        not given.size
        or given.dtype != np.uint8
        or given.ndim not in (2, 3)
        or (given.ndim == 3 and given.shape[2] != 3)
    ):
        raise DataError(
            f"{name}: an array of {given.dtype} and shape {given.shape} is no image. Give uint8 of (H, W) or (H, W, 3)."
        )
    return OpenedImage(name, Pillow.fromarray(given))


def _decoded(index: int, given: Given, spec: PixelSpec) -> Decoded:
    name = f"image {index}"
    try:
        image = as_image(given, index)
        name = image.name
        return index, spec.read(image)
    except DataError as error:
        return Unreadable(index, name, str(error).removeprefix(f"{name}: "))


def _batch(futures: Iterable[Future[Decoded]], spec: PixelSpec) -> PixelBatch:
    results = [future.result() for future in futures]
    readable = [result for result in results if not isinstance(result, Unreadable)]
    none = np.empty((0, 3, spec.size, spec.size), dtype=np.uint8)
    return PixelBatch(
        [index for index, _ in readable],
        np.stack([pixels for _, pixels in readable]) if readable else none,
        [result for result in results if isinstance(result, Unreadable)],
    )
