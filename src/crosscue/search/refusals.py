"""Refusals of a disk or an object store, which Lance reports in the text of an error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from crosscue.errors import StorageError

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
        if "S3 error" in text or 'store: "S3"' in text:
            raise StorageError(f"{place}: the object store cannot be reached, or refuses. {CHECK}") from error
        raise
