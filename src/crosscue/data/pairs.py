"""Pairs: an image, its captions, and their split, category and negatives."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from crosscue.data.features import FeatureRow
from crosscue.errors import DataError

if TYPE_CHECKING:
    from PIL import Image as Pillow


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image on disk."""

    path: Path

    @property
    def name(self) -> str:
        """The image's name in messages and reports."""
        return str(self.path)

    def read(self) -> bytes:
        """Returns the encoded bytes (JPEG, PNG, ...)."""
        return self.path.read_bytes()


@dataclass(frozen=True, slots=True)
class EmbeddedImage:
    """An image inside a table (parquet, a `datasets` column), read only when it is needed."""

    name: str
    """The image's name in messages, such as ``train.parquet row 12``."""
    fetch: Callable[[], bytes] = field(repr=False)
    """Returns the encoded bytes."""
    identity: str = ""
    """Hash of the bytes with the file name in the table: equal for rows of one image. Empty: no other row can be equal."""

    def read(self) -> bytes:
        """Returns the encoded bytes (JPEG, PNG, ...)."""
        return self.fetch()


Image = ImageFile | EmbeddedImage | FeatureRow
"""An image of a pair: encoded, or its features alone."""


@dataclass(frozen=True, slots=True)
class OpenedImage:
    """An image that is decoded already. It belongs to no pair."""

    name: str
    """The image's name in messages."""
    opened: Pillow.Image = field(repr=False)


NegativeType = Literal["category", "attribute"]


@dataclass(frozen=True, slots=True)
class Negative:
    """A text that looks like a caption of an image and is wrong for it."""

    text: str
    type: NegativeType = "category"
    """category: it names another category. attribute: the category is kept, another word is exchanged."""
    replaced: str | None = None
    """The word of the caption that was exchanged, where it is known."""
    by: str | None = None
    """The word in its place."""

    def to_dict(self) -> dict[str, str | None]:
        """Returns a record of a pairs file: text, type, from, to."""
        return {"text": self.text, "type": self.type, "from": self.replaced, "to": self.by}


@dataclass(frozen=True, slots=True)
class Pair:
    """One image and its captions."""

    image: Image
    captions: tuple[str, ...]
    image_id: str
    """Unique within its source; two pairs with one id are the same image."""
    category: str | None = None
    """Fine-grained class name, for few-shot sampling, per-category results and category-aware negatives."""
    negatives: tuple[Negative, ...] = ()
    """Edited captions that are wrong for the image."""
    split: str | None = None
    """`train`, `val`, `test` or another name of the source; None where the source has none."""
    where: str = ""
    """File and row of the pair, for messages."""
    synthetic: str | None = None
    """A caption that a model wrote, for methods that weigh the others by it."""


class Pairs(Sequence[Pair]):
    """An immutable list of pairs from one source, with the flat list of captions that retrieval ranks."""

    def __init__(
        self, pairs: Iterable[Pair], source: str = "pairs", origin: str = "SOURCE", notes: Iterable[str] = ()
    ) -> None:
        """Keeps the pairs.

        Args:
            pairs: the pairs, in order.
            source: their name in messages and results.
            origin: the source and the options of reading it, as typed after `crosscue data check`.
            notes: a line for each kind of thing that reading left out or ignored.
        """
        self.items: tuple[Pair, ...] = tuple(pairs)
        self.source, self.origin, self.notes = source, origin, tuple(notes)

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> Pairs: ...
    def __getitem__(self, index: int | slice) -> Pair | Pairs:
        if isinstance(index, slice):
            return self.part(self.items[index])
        return self.items[index]

    def __repr__(self) -> str:
        return f"Pairs({len(self)} images, {len(self.captions)} captions, source={self.source!r})"

    def part(self, pairs: Iterable[Pair], note: str = "") -> Pairs:
        """Returns other pairs of the same source; `note` is added to its name."""
        return Pairs(pairs, self.source + note, self.origin, self.notes)

    @property
    def images(self) -> list[Image]:
        """The image of each pair."""
        return [pair.image for pair in self.items]

    @property
    def captions(self) -> list[str]:
        """All captions, in the order of the pairs."""
        return [caption for pair in self.items for caption in pair.captions]

    @property
    def caption_owner(self) -> list[int]:
        """For each entry of `captions`, the index of the pair it belongs to."""
        return [index for index, pair in enumerate(self.items) for _ in pair.captions]

    @property
    def categories(self) -> list[str]:
        """The distinct categories, sorted."""
        return sorted({pair.category for pair in self.items if pair.category is not None})

    @property
    def splits(self) -> list[str]:
        """The distinct split names, sorted."""
        return sorted({pair.split for pair in self.items if pair.split is not None})

    def split(self, name: str) -> Pairs:
        """Returns the pairs of one split.

        Raises:
            DataError: the source has no such split.
        """
        chosen = [pair for pair in self.items if pair.split == name]
        if not chosen:
            known = ", ".join(self.splits) or "none"
            raise DataError(
                f"{self.source}: there is no split '{name}'. Splits found: {known}. "
                f"Count them: crosscue data check {self.origin}"
            )
        return self.part(chosen, f"[{name}]")

    def with_captions(self, limit: int) -> Pairs:
        """Returns the pairs with at most the first `limit` captions of each image."""
        return self.part(replace(pair, captions=pair.captions[:limit]) for pair in self.items)

    def fingerprint(self) -> str:
        """Returns a SHA-256 over ids, captions (synthetic ones too), categories, negatives and splits; and over features."""
        digest = hashlib.sha256()
        for pair in self.items:
            negatives = (part for negative in pair.negatives for part in (negative.text, negative.type))
            fields = (pair.image_id, *pair.captions, pair.category or "", *negatives, pair.split or "")
            if pair.synthetic is not None:
                fields += (pair.synthetic,)
            if isinstance(pair.image, FeatureRow):
                fields += (f"features {pair.image.bank.sha256} {pair.image.row}",)
            digest.update("\x1f".join(fields).encode() + b"\x1e")
        return digest.hexdigest()
