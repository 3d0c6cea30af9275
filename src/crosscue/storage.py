"""Files on disk: the cache folder, atomic writes, JSON, free space, content hashes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosscue.errors import CrosscueError, DataError, StorageError
from crosscue.source_files import open_text, read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

REFUSED = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO, errno.EINVAL, errno.EBUSY),
)
"""Refusals of the operating system that another place for the file avoids."""
REMAKE = "Correct the file, or make it again."
"""The remedy for a file of JSON that cannot be read."""


def cache_dir() -> Path:
    """Returns the folder for everything that can be made again: `CROSSCUE_CACHE`, or the XDG cache folder."""
    override = os.environ.get("CROSSCUE_CACHE")
    if override:
        return Path(override).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "crosscue"


def require_space(folder: Path, size: int) -> None:
    """Raises `StorageError` when the file system of `folder` has fewer than `size` bytes free."""
    existing = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if free < size:
        raise StorageError(
            f"{folder}: {size / 1e6:,.0f} MB are needed and {free / 1e6:,.0f} MB are free. "
            "Free some space, or choose another folder (CROSSCUE_CACHE moves the cache)."
        )


def require_empty(folder: Path, but: Collection[str]) -> None:
    """Raises `StorageError` for a folder with other files than those named `but`, and hidden ones."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if other := [name for name in names if not name.startswith(".") and name not in but]:
        raise StorageError(f"{folder}: there are other files in this folder, such as {other[0]}. Choose another --out.")


def reserve(target: Path, size: int) -> None:
    """Creates a file of `size` zero bytes whose blocks exist, so that a memory map of it cannot run out of disk."""
    with target.open("wb") as part:
        part.truncate(size)
        if hasattr(os, "posix_fallocate") and size:
            os.posix_fallocate(part.fileno(), 0, size)


@contextlib.contextmanager
def writing(target: Path, remedy: str = "choose another folder") -> Iterator[None]:
    """Turns the operating system's refusals while writing `target` into a `StorageError` that ends with the remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageError(
                f"{target}: no space left on the disk. Free some space and run the command again."
            ) from error
        if error.errno == errno.EISDIR:
            raise StorageError(f"{target}: this is a folder. Name a file, such as {target}/pairs.jsonl.") from error
        if error.errno in REFUSED:
            raise StorageError(
                f"{target}: cannot be written ({error.strerror}). {remedy[0].upper()}{remedy[1:]}."
            ) from error
        raise


@contextlib.contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Yields a temporary path beside `target`; on success it becomes `target` in one step, on failure it is removed.

    A link stays, and the file that it leads to is written. A pipe or a device is written to, never replaced.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    if target.exists() and not (target.is_file() or target.is_dir()):
        with tempfile.TemporaryDirectory() as folder, writing(target):
            yield Path(folder) / target.name
            with (Path(folder) / target.name).open("rb") as written, target.open("wb", buffering=0) as stream:
                shutil.copyfileobj(written, stream)
        return
    target = Path(os.path.realpath(target))
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
        os.close(handle)
        part = Path(name)
        try:
            yield part
            with part.open("rb") as written:
                os.fsync(written.fileno())
            part.chmod(0o644)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yields a temporary folder beside `target`; on success it takes the place of `target`, on failure it is removed.

    A reader sees the old folder or the new one, never a mixture. Where the process is killed between the two renames,
    the complete new folder is left under the name ``.<target>.new`` and `recover_folder` puts it in place.
    """
    target = Path(os.path.realpath(target))
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part"))
        complete, old = target.parent / f".{target.name}.new", target.parent / f".{target.name}.old"
        try:
            yield part
            recover_folder(target)
            part.chmod(0o755)
            part.replace(complete)
            recover_folder(target, replace=True)
        finally:
            shutil.rmtree(part, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def recover_folder(target: Path, *, replace: bool = False) -> None:
    """Finishes an `atomic_folder` that was killed between its two renames; does nothing when there is none."""
    complete, old = target.parent / f".{target.name}.new", target.parent / f".{target.name}.old"
    if not complete.exists():
        return
    if target.exists() and not replace and not old.exists():
        shutil.rmtree(complete)  # the old folder is whole and the new one was never promised
        return
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.replace(old)
    complete.replace(target)
    shutil.rmtree(old, ignore_errors=True)


def write_text(target: Path, text: str) -> None:
    """Writes `text` to `target` atomically, as UTF-8."""
    with atomic_file(target) as part:
        part.write_text(text, encoding="utf-8")


def write_json(target: Path, content: Any) -> None:
    """Writes `content` to `target` atomically, as indented JSON."""
    write_text(target, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path, raises: type[CrosscueError] = DataError, remedy: str = REMAKE) -> Any:
    """Returns the content of a JSON file.

    Args:
        path: the file.
        raises: class of the error for a file that cannot be read; its message names file and line.
        remedy: the end of that message.
    """
    try:
        text = read_text(path, raises)
    except raises as error:
        raise raises(f"{error} {remedy}" if remedy != REMAKE else str(error)) from error
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise raises(f"{path} line {error.lineno}: not valid JSON ({error.msg}). {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise raises(f"{path}: not JSON that can be read ({error}). {remedy}") from error


def json_line(row: Mapping[str, Any]) -> str:
    """Returns a row of a JSON Lines file, with its line break."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def write_lines(target: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes one JSON object a line, atomically; the rows are never in memory together."""
    with atomic_file(target) as part, part.open("w", encoding="utf-8") as file:
        file.writelines(map(json_line, rows))


def raised(error: CrosscueError) -> None:
    """Raises an error."""
    raise error


def read_lines(path: Path, refuse: Callable[[DataError], None] = raised) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (file and line for messages, the object on it) of a JSON Lines file; blank lines are skipped.

    Args:
        path: the file.
        refuse: receives the error of a line that is no JSON object; where it returns, the line is skipped.

    Raises:
        DataError: the file cannot be read, or a line is no JSON object; the message names file and line.
    """
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = _object(f"{path} line {number}", line)
            except DataError as error:
                refuse(error)
                continue
            yield f"{path} line {number}", row


def _object(where: str, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not valid JSON ({error.msg}). {REMAKE}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON that can be read ({error}). {REMAKE}") from error
    if not isinstance(value, dict):
        raise DataError(f"{where}: must be a JSON object. {REMAKE}")
    return value


def fingerprint_of(rows: Iterable[Mapping[str, Any]]) -> str:
    """Returns a SHA-256 over rows, whatever their order."""
    lines = sorted(json.dumps(row, sort_keys=True, ensure_ascii=False) for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """Returns the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
