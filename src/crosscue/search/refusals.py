"""Refusals of a disk or an object store, which Lance reports in the text of an error, and tables that cannot be read."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path

from crosscue.errors import CollectionError, StorageError

FILE = "collection.json"

CHECK = "Check the bucket and the AWS_* variables, such as AWS_ENDPOINT_URL and AWS_ACCESS_KEY_ID."
"""Remedy for an object store."""


@contextlib.contextmanager
def refusals(place: str) -> Iterator[None]:
    """Turns a refusal into a `StorageError` about a place."""
    try:
        yield
    except (RuntimeError, OSError, ValueError) as error:
        text = str(error)
        if any(sign in text for sign in ("os error 28", "os error 122", "No space left", "StorageFull")):
            raise StorageError(
                f"{place}: no space left on the disk. Free some space and run the command again."
            ) from error
        if any(sign in text for sign in ("os error 13", "os error 30", "os error 1)", "Permission denied")):
            raise StorageError(
                f"{place}: cannot be written (no permission, or a read-only disk). Choose another --collection."
            ) from error
        if "performing PUT" in text and "501 Not Implemented" in text:  # every commit is a conditional write
            raise StorageError(
                f"{place}: the object store refuses conditional writes, so two writers could harm each other. Use a store that "
                "has them."
            ) from error
        if "S3 error" in text or 'store: "S3"' in text:
            raise StorageError(f"{place}: the object store cannot be reached, or refuses. {CHECK}") from error
        raise


def missing(folder: Path) -> CollectionError:
    """Returns the error about a folder that holds no collection."""
    return CollectionError(
        f"{folder}: no collection here. Make one: crosscue index FOLDER --collection {shlex.quote(str(folder))}"
    )


def unreadable(folder: Path, store: str | None, name: str) -> CollectionError:
    """Returns the error about a table of a collection that cannot be read."""
    if not (folder / FILE).exists():
        return missing(folder)
    repair = f"A power cut can damage it. Repair it: crosscue index --collection {shlex.quote(str(folder))} --repair"
    return CollectionError(f"{store or folder}: the table of '{name}' cannot be read. {CHECK if store else repair}")
