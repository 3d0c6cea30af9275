"""Knowledge in memory and on disk: a mapping by caption or image id, and a file with one JSON object a line."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from crosscue.errors import DataError
from crosscue.storage import fingerprint_of, read_lines, write_lines

Known = TypeVar("Known")


class KnowledgeStore(Mapping[str, Known]):
    """Knowledge by caption or by image id. A subclass defines the rows of the file and the command that makes it."""

    FILE: ClassVar[str]
    """Name of the file in an output folder."""
    MISSING: ClassVar[str]
    """End of the message about missing keys: `captions have no action knowledge`."""
    REMEDY: ClassVar[str]
    """Command that makes the knowledge."""

    def __init__(self, known: Mapping[str, Known]) -> None:
        self.known = dict(known)

    def __getitem__(self, key: str) -> Known:
        return self.known[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.known)

    def __len__(self) -> int:
        return len(self.known)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Reads a file that `save` wrote, or the file of that name in a folder.

        Raises:
            DataError: the file cannot be read, or a line is not of the form that `save` writes.
        """
        path = Path(path)
        file = path / cls.FILE if path.is_dir() else path
        return cls(dict(cls.from_row(where, row) for where, row in read_lines(file)))

    def save(self, path: Path | str) -> None:
        """Writes one JSON object a line, atomically."""
        write_lines(Path(path), (self.row(key, known) for key, known in self.items()))

    def fingerprint(self) -> str:
        """Returns a SHA-256 over all rows."""
        return fingerprint_of(self.row(key, known) for key, known in self.items())

    def require(self, keys: Iterable[str]) -> None:
        """Check that all of `keys` are here. `null` knowledge counts.

        Raises:
            DataError: some are missing; the message contains their number and the command that makes them.
        """
        wanted = dict.fromkeys(keys)
        missing = [key for key in wanted if key not in self.known]
        if missing:
            raise DataError(
                f"{len(missing):,} of {len(wanted):,} {self.MISSING}, e.g. {missing[0][:60]!r}. Make it: {self.REMEDY}"
            )

    @staticmethod
    @abstractmethod
    def row(key: str, known: Known) -> dict[str, Any]:
        """Returns the JSON object of one line."""

    @staticmethod
    @abstractmethod
    def from_row(where: str, row: Mapping[str, Any]) -> tuple[str, Known]:
        """Returns key and knowledge of one line; raises `DataError` with file and line for another form."""
