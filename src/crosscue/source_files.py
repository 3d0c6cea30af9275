"""Files that the user gives: refusals of the operating system, and the encodings of text."""

from __future__ import annotations

import codecs
import contextlib
import errno
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from crosscue.errors import CrosscueError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECK = "Check the path."
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks, longest first, and the encodings that they announce."""
POINTER = b"version https://git-lfs"
FOREIGN = (
    (POINTER, "this is a pointer of Git LFS, not the file itself. Fetch it: git lfs pull"),
    (b"PK\x03\x04", "this is a zip archive or a spreadsheet. Unpack it, or save the sheet as CSV."),
    (b"\x1f\x8b", "this is compressed. Unpack it: gunzip FILE"),
    (b"<!doctype html", "this is a web page, as a server sends in place of a file. Fetch it again."),
    (b"<html", "this is a web page, as a server sends in place of a file. Fetch it again."),
)
"""Beginnings of files, in lower case but for the second and third, that are of another kind than their names say."""
HEAD = 32
"""Bytes of a beginning."""
REASONS = {
    errno.ENOENT: "there is no such file or folder. Check the path.",
    errno.ENOTDIR: "there is no such file or folder. Check the path.",
    errno.EISDIR: "this is a folder. Name a file in it.",
    errno.ENAMETOOLONG: "the name is too long for the file system. Check the path.",
    errno.ELOOP: "the link leads back to itself. Correct the link.",
}


@contextlib.contextmanager
def reading(source: Path, raises: type[CrosscueError] = DataError) -> Iterator[None]:
    """Turns the refusals of the operating system while reading `source`, and text that is not UTF-8, into one line."""
    try:
        yield
    except OSError as error:
        raise raises(refusal(source, error)) from error
    except UnicodeError as error:
        raise raises(undecodable(source, error)) from error
    except ValueError as error:
        if "null" not in str(error):
            raise
        raise raises(f"{source}: a path cannot contain a zero byte. {CHECK}") from error


def refusal(source: Path, error: OSError) -> str:
    """Returns the line for a file that the operating system does not open."""
    path = Path(error.filename) if isinstance(error.filename, str) else source
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{path}: cannot be read (permission denied). Allow it: chmod u+r {shlex.quote(str(path))}"
    return f"{short(path)}: {REASONS.get(error.errno or 0, f'cannot be read ({error.strerror or error}). {CHECK}')}"


def require_own(name: Path | str, head: bytes, raises: type[CrosscueError] = DataError) -> None:
    """Raises `raises` for the beginning of a file of another kind, such as a web page in place of an image."""
    for begin, reason in FOREIGN:
        if head.startswith(begin) or head.lower().startswith(begin):
            raise raises(f"{short(name)}: {reason}")


def undecodable(source: Path, error: UnicodeError) -> str:
    """Returns the line for a file whose bytes are not text in UTF-8, with the number of the first such line."""
    number = 0
    with contextlib.suppress(OSError), source.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8-sig")
            except UnicodeDecodeError as found:
                return (
                    f"{source} line {number}: not UTF-8 (byte 0x{line[found.start]:02x}). If it is from Windows, convert it: "
                    f"iconv -f WINDOWS-1252 -t UTF-8 {shlex.quote(str(source))} > NEW"
                )
    return (
        f"{short(source)}: cannot be read as text ({error.reason if isinstance(error, UnicodeDecodeError) else error})."
    )


def text_encoding(head: bytes) -> str:
    """Returns the encoding of a text that begins with `head`: that of its byte order mark, else UTF-8.

    Two zero bytes at every other place are UTF-16 without a mark.
    """
    for mark, name in MARKS:
        if head.startswith(mark):
            return name
    zeros = [byte == 0 for byte in head[:4]]
    if zeros == [False, True, False, True]:
        return "utf-16-le"
    return "utf-16-be" if zeros == [True, False, True, False] else "utf-8-sig"


@contextlib.contextmanager
def open_text(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """Opens a text file of the user in its own encoding.

    Raises:
        DataError: it cannot be read, or is neither UTF-8 nor UTF-16; the message names file and line.
    """
    with reading(path):
        with path.open("rb") as file:
            head = file.read(HEAD)
        require_own(path, head)
        encoding = text_encoding(head)
        with path.open(encoding=encoding, newline=newline) as text:
            yield text


def read_text(path: Path, raises: type[CrosscueError] = DataError) -> str:
    """Returns the text of a file; see `open_text`."""
    with reading(path, raises):
        content = path.read_bytes()
        require_own(path, content[:HEAD], raises)
        return content.decode(text_encoding(content[:4]))


def read_lists(path: Path, example: str, raises: type[CrosscueError] = DataError) -> dict[str, list[str]]:
    """Reads a YAML file of names with a list each, such as `example`.

    Raises:
        DataError: no such file, or another content.
    """
    import yaml

    text = read_text(path, raises)
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise raises(
            f"{path}: not YAML that can be read ({reason}). Write one list a line, such as `{example}`."
        ) from error
    if not isinstance(content, dict) or not all(isinstance(members, list) for members in content.values()):
        raise raises(f"{path}: not a mapping of lists. Write one list a line, such as `{example}`.")
    return {str(name): [str(member) for member in members] for name, members in content.items()}


def at_home(path: Path) -> Path:
    """Returns a path whose `~` is replaced by the home folder, where there is one."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def short(path: Path | str) -> str:
    """Returns a path for a message: the begin and the end of one that is longer than a screen line."""
    text = str(path)
    return text if len(text) <= 300 else f"{text[:120]}...{text[-60:]}"
