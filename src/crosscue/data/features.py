"""Banks of image features: matrices on disk whose rows stand in for images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from crosscue.errors import DataError
from crosscue.storage import read_json, sha256_file

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = (".safetensors", ".npy")


class FeatureBank:
    """A `.safetensors` or `.npy` file with one row an image, and beside it `FILE.json` with its origin.

    The JSON holds `tower`, the hash of what made the rows (`Backbone.feature_checkpoint`), and may hold `names`, one
    a row.
    """

    def __init__(self, path: Path) -> None:
        """Opens the file; no row is read yet.

        Raises:
            DataError: the file or its JSON cannot be used.
        """
        self.path = path
        self.matrix = _matrix(path)
        origin = Path(f"{path}.json")
        record = read_json(origin) if origin.exists() else {}
        if not isinstance(record, dict):
            raise DataError(
                f"{origin}: not a JSON object. Write {{}}, or make the bank again with crosscue data embed."
            )
        self.tower: str | None = record.get("tower")
        names = record.get("names")
        if not isinstance(self.tower, str | None) or not isinstance(names, list | None):
            raise DataError(f"{origin}: 'tower' must be a text and 'names' a list. Correct it, or make the bank again.")
        self.rows: dict[str, int] | None = None
        """Name -> index of its row; None if the rows have no names."""
        if names is not None:
            self.rows = {str(name): row for row, name in enumerate(names)}
            if len(self.rows) != len(self) or len(names) != len(self):
                raise DataError(
                    f"{origin}: {len(names)} names, {len(self.rows)} of them different, for {len(self)} rows of {path}. "
                    "Give every row a name of its own."
                )

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return int(self.matrix.shape[1])

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file."""
        return sha256_file(self.path)

    def at(self, where: str, index: int) -> FeatureRow:
        """Returns the row of an index; raises `DataError` where there is none."""
        if index >= len(self):
            raise DataError(
                f"{where}: there is no row {index} in {self.path}, whose rows are 0 to {len(self) - 1}. Correct the index."
            )
        return FeatureRow(self, index)

    def named(self, where: str, *names: str) -> FeatureRow:
        """Returns the row of the first of `names` that the bank has; raises `DataError` where it has none."""
        rows = self.rows or {}
        found = next((rows[name] for name in names if name in rows), None)
        if found is None:
            named = "its rows have no names, only indices" if self.rows is None else "none of its rows has this name"
            raise DataError(f"{where}: there is no row '{names[-1]}' in {self.path}: {named}. Correct the image.")
        return FeatureRow(self, found)


@dataclass(frozen=True)
class FeatureRow:
    """An image of which only its features are known: a row of a bank."""

    bank: FeatureBank = field(repr=False)
    row: int
    unverified: bool = False
    """True if a bank that does not name its tower is accepted."""

    @property
    def name(self) -> str:
        """The image's name in messages."""
        return f"{self.bank.path} row {self.row}"

    def read(self) -> NoReturn:
        """Raises `DataError`: there are no encoded bytes."""
        raise DataError(f"{self.name}: this image is a row of features, so it has no pixels. Give the image itself.")

    def values(self) -> Tensor:
        """Returns (E,) float32.

        Raises:
            DataError: a number is not finite, or all are 0.
        """
        values = self.bank.matrix[self.row].float()
        if not values.isfinite().all():
            raise DataError(f"{self.name}: a number is NaN or infinite. Compute the row again, or remove its image.")
        if not values.any():
            raise DataError(f"{self.name}: all numbers are 0. Compute the row again, or remove its image.")
        return values


def is_bank(path: str | Path) -> bool:
    """Returns True for the name of a file that can hold a bank."""
    return Path(path).suffix in SUFFIXES


def open_bank(path: Path) -> FeatureBank:
    """Returns the bank of a file; a file that did not change is opened once.

    Raises:
        DataError: see `FeatureBank`.
    """
    if not is_bank(path):
        raise DataError(f"{path}: features are read from {' or '.join(SUFFIXES)} files. Give such a file.")
    states = [place.stat() for place in (path, Path(f"{path}.json")) if place.is_file()]
    return _opened(path, tuple((state.st_mtime_ns, state.st_size) for state in states))


def feature_rows(images: Iterable[Any], source: str) -> list[FeatureRow]:
    """Returns the images if they are rows of banks, or nothing if they have pixels.

    Raises:
        DataError: some are, and others are not.
    """
    images = list(images)
    rows = [image for image in images if isinstance(image, FeatureRow)]
    if rows and len(rows) < len(images):
        other = next(image for image in images if not isinstance(image, FeatureRow))
        raise DataError(
            f"{source}: {rows[0].name} is a row of features and {other.name} is an image. Keep them in two sources."
        )
    return rows


def features_protocol(images: Sequence[Any]) -> dict[str, str]:
    """Returns the origin of features, as an entry of the protocol of a result; nothing for images with pixels."""
    banks = {id(image.bank): image.bank for image in images if isinstance(image, FeatureRow)}
    origins = [
        f"{bank.path.name} ({bank.sha256[:12]}), tower {'verified' if bank.tower else 'NOT verified'}"
        for bank in banks.values()
    ]
    return {"image_features": "; ".join(origins)} if origins else {}


@lru_cache(maxsize=8)
def _opened(path: Path, version: object) -> FeatureBank:
    return FeatureBank(path)


def _matrix(path: Path) -> Tensor:
    """Returns (N, E) in the dtype of the file, mapped and not read."""
    import torch
    from safetensors import safe_open

    try:
        if path.suffix == ".npy":
            # copy on write: torch takes no array that cannot be written
            found = {"the array": torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))}
        else:
            with safe_open(path, "pt") as file:
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}). Check the path.") from error
    except Exception as error:  # the header of an array is evaluated, and damage raises errors of many kinds
        raise DataError(f"{path}: not a {path.suffix} file of numbers ({str(error)[:200]}). Make it again.") from error
    matrices = {name: tensor for name, tensor in found.items() if tensor.ndim == 2 and tensor.is_floating_point()}
    if len(matrices) != 1:
        shapes = (
            ", ".join(f"{name} {tuple(tensor.shape)} {tensor.dtype}" for name, tensor in found.items()) or "nothing"
        )
        raise DataError(f"{path}: {len(matrices)} matrices of floats, and one is needed (found: {shapes}).")
    return next(iter(matrices.values()))
