"""Images of a collection: records, files, thumbnails, and an archive of several."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import FileResponse, Response, StreamingResponse

from crosscue.data.images import jpeg
from crosscue.data.pairs import ImageFile
from crosscue.search.collection import THUMBNAILS
from crosscue.search.thumbnails import SIDE, has_thumbnail, thumbnail_path
from crosscue.serving.failures import Refusal
from crosscue.serving.holdings import IDENTIFIER, Holdings, Place, decoded

router = APIRouter(tags=["images"])
RECORD = ("id", "root", "path", "raw", "folder", "name", "content", "size", "format", "width", "height", "taken")
FURTHER = ("latitude", "longitude", "camera", "captions", "category", "split")
SHOWN_BY_BROWSERS = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "gif": "image/gif",
    "avif": "image/avif",
}
LARGEST_VIEW = 2048
"""Longest side of an image that is converted for a browser."""
QUALITY = 88
MOST_BYTES = 2_000_000_000
MOST_FILES = 5_000
CONTENT = re.compile(r"[0-9a-f]{64}")
RANGES = re.compile(r"bytes=(\d{1,15}-\d{0,15}|-\d{1,15})(, ?(\d{1,15}-\d{0,15}|-\d{1,15}))*")
FOREVER = "private, max-age=31536000, immutable"


@router.get("/api/images/{image}", summary="The record of an image")
def record(image: str, request: Request, space: str | None = None) -> dict[str, Any]:
    """Returns the columns of an image, without its vector."""
    holdings, place = held(request, space)
    row = holdings.row(place, image, [*RECORD, *FURTHER])
    return described(row, place, request.app.state.absolute)


@router.get("/api/images/{image}/file", summary="The image itself", response_class=FileResponse)
def file(image: str, request: Request, space: str | None = None, view: bool = False) -> Response:
    """Returns the file of an image. With `view`, a format that browsers do not show becomes a JPEG."""
    holdings, place = held(request, space)
    row = holdings.row(place, image, RECORD)
    path = holdings.file(place, row)
    check_range(request.headers.get("range"), path.stat().st_size)
    known = SHOWN_BY_BROWSERS.get(row["format"])
    headers = {
        "ETag": f'"{row["content"]}{"-view" if view and not known else ""}"',
        "Cache-Control": "private, no-cache",
    }
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    if view and not known:
        with decoded():
            made = jpeg(ImageFile(path), LARGEST_VIEW, QUALITY)
        return Response(made, media_type="image/jpeg", headers=headers)
    kind = known or "application/octet-stream"
    return FileResponse(path, media_type=kind, headers=headers, filename=row["name"], content_disposition_type="inline")


def check_range(asked: str | None, size: int) -> None:
    """Raises `Refusal` for a range that is none (400) or lies outside a file of some bytes (416)."""
    if asked is None:
        return
    if not RANGES.fullmatch(asked):
        message = "the header Range must be such as bytes=0-1023."
        raise Refusal(400, message, code="bad_range", param="range")
    parts = re.findall(r"(\d*)-(\d*)", asked)
    if any(int(first or 0) > int(last) for first, last in parts if first and last):
        raise Refusal(400, "a range ends before it begins.", code="bad_range", param="range")
    if any(int(first) >= size if first else not int(last) for first, last in parts):
        headers = {"Content-Range": f"bytes */{size}"}
        raise Refusal(416, f"the file has {size:,} bytes.", code="outside_file", param="range", headers=headers)


@router.get("/thumbs/{image}", summary="A small WebP of an image", response_class=Response)
def thumbnail(image: str, request: Request, space: str | None = None, content: str | None = None) -> Response:
    """Returns the thumbnail of an image, made anew where its file is missing.

    With `content` of a hit it is read without a look at the rows, and may be kept forever: a changed file has another one.
    """
    holdings, place = held(request, space)
    thumbs = place.collection.folder / THUMBNAILS
    row = None
    if not (content and CONTENT.fullmatch(content) and IDENTIFIER.fullmatch(image) and has_thumbnail(thumbs, content)):
        row = holdings.row(place, image, RECORD)
    found = str(row["content"]) if row else content or ""
    headers = {"ETag": f'"{found}"', "Cache-Control": FOREVER if found == content else "private, no-cache"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    if row is None or has_thumbnail(thumbs, found):
        return Response(thumbnail_path(thumbs, found).read_bytes(), media_type="image/webp", headers=headers)
    with decoded():
        made = jpeg(ImageFile(holdings.file(place, row)), SIDE, QUALITY)
    return Response(made, media_type="image/jpeg", headers=headers)


@router.post("/api/zip", summary="Several images in one archive", response_class=StreamingResponse)
def archive(
    request: Request, ids: Annotated[str, Form(max_length=200_000)], space: Annotated[str | None, Form()] = None
) -> StreamingResponse:
    """Returns a ZIP of the files of some images, while it is being written; `ids` are separated by commas."""
    holdings, place = held(request, space)
    chosen = [image for image in dict.fromkeys(ids.split(",")) if image]
    if not 1 <= len(chosen) <= MOST_FILES:
        raise Refusal(422, f"choose between 1 and {MOST_FILES:,} images.", code="wrong_number", param="ids")
    rows = [holdings.row(place, image, RECORD) for image in chosen]
    if sum(row["size"] for row in rows) > MOST_BYTES:
        raise Refusal(413, "these images have more than 2 GB. Choose fewer.", code="too_large", param="ids")
    files = [(row["path"], holdings.file(place, row)) for row in rows]
    headers = {"Content-Disposition": 'attachment; filename="images.zip"'}
    return StreamingResponse(zipped(files), media_type="application/zip", headers=headers)


def held(request: Request, space: str | None) -> tuple[Holdings, Place]:
    """Returns the collections of the server, and the space of a request."""
    holdings: Holdings = request.app.state.holdings
    return holdings, holdings.place(space or None)


def described(row: dict[str, Any], place: Place, absolute: bool) -> dict[str, Any]:
    """Returns a row for an answer: with the absolute path for the server's own machine, below the root elsewhere."""
    taken = row.get("taken")
    shown = {key: value for key, value in row.items() if key not in ("vector", "raw", "taken", "root")}
    path = str(place.collection.file(row)) if absolute else row["path"]
    return shown | {"path": path, "taken": taken.isoformat() if taken else None}


class _Part(io.RawIOBase):
    """A file that keeps what was written to it until it is taken."""

    def __init__(self) -> None:
        self.written, self.place = bytearray(), 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def write(self, part: Any) -> int:
        self.written += part
        self.place += len(part)
        return len(part)

    def taken(self) -> bytes:
        part = bytes(self.written)
        self.written.clear()
        return part


def zipped(files: list[tuple[str, Path]]) -> Iterator[bytes]:
    """Yields a ZIP of files, each under its name, uncompressed: images are compressed already. Vanished files are left out."""
    out = _Part()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as made:
        for name, path in files:
            if not path.is_file():
                continue
            with path.open("rb") as source, made.open(name, "w", force_zip64=True) as target:
                while part := source.read(1 << 20):
                    target.write(part)
                    yield out.taken()
            yield out.taken()
    yield out.taken()
