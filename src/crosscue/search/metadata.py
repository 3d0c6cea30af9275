"""Metadata of an image file: EXIF date, place and camera, and the texts of XMP and IPTC."""

from __future__ import annotations

import contextlib
import datetime
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast
from xml.etree import ElementTree

from PIL import ExifTags, ImageFile, IptcImagePlugin
from PIL import Image as Pillow

DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"
LIST_ITEM = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"
DATES = ("%Y:%m:%d %H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S")


@dataclass(frozen=True)
class Metadata:
    """Metadata of one file; nothing is invented where a field is missing or makes no sense."""

    taken: datetime.datetime | None = None
    latitude: float | None = None
    longitude: float | None = None
    camera: str | None = None
    descriptions: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    turned: bool = False
    """True if the EXIF orientation exchanges width and height."""


def metadata_of(opened: Pillow.Image) -> Metadata:
    """Returns the metadata of an image whose header is read. Damaged metadata is left out."""
    exif: Any = {}
    with contextlib.suppress(Exception):  # any part of a damaged block may fail
        exif = opened.getexif()
    latitude, longitude = _place(exif)
    descriptions, keywords = _texts(opened)
    orientation = exif.get(ExifTags.Base.Orientation)
    return Metadata(
        _taken(exif), latitude, longitude, _camera(exif), descriptions, keywords, orientation in (5, 6, 7, 8)
    )


def _part(exif: Any, tag: int) -> dict[int, Any]:
    with contextlib.suppress(Exception):
        return dict(exif.get_ifd(tag))
    return {}


def _taken(exif: Any) -> datetime.datetime | None:
    inner = _part(exif, ExifTags.IFD.Exif)
    for value in (
        inner.get(ExifTags.Base.DateTimeOriginal),
        inner.get(ExifTags.Base.DateTimeDigitized),
        exif.get(ExifTags.Base.DateTime),
    ):
        for form in DATES:
            with contextlib.suppress(ValueError, TypeError):
                return datetime.datetime.strptime(clean(value)[:19], form)
    return None


def _place(exif: Any) -> tuple[float | None, float | None]:
    gps = _part(exif, ExifTags.IFD.GPSInfo)
    with contextlib.suppress(KeyError, TypeError, ValueError, ZeroDivisionError):
        latitude = _degrees(gps[ExifTags.GPS.GPSLatitude], gps[ExifTags.GPS.GPSLatitudeRef], "S")
        longitude = _degrees(gps[ExifTags.GPS.GPSLongitude], gps[ExifTags.GPS.GPSLongitudeRef], "W")
        if abs(latitude) <= 90 and abs(longitude) <= 180 and math.isfinite(latitude + longitude):
            return latitude, longitude
    return None, None


def _degrees(parts: Any, side: Any, negative: str) -> float:
    degrees, minutes, seconds = (float(part) for part in parts)
    value = degrees + minutes / 60 + seconds / 3600
    return -value if clean(side).upper() == negative else value


def _camera(exif: Any) -> str | None:
    make, model = clean(exif.get(ExifTags.Base.Make)), clean(exif.get(ExifTags.Base.Model))
    return (model if model.startswith(make) else f"{make} {model}").strip() or None


def _texts(opened: Pillow.Image) -> tuple[tuple[str, ...], tuple[str, ...]]:
    descriptions, keywords = [], []
    with contextlib.suppress(Exception):
        iptc = IptcImagePlugin.getiptcinfo(cast(ImageFile.ImageFile, opened)) or {}
        descriptions += list(_values(iptc.get((2, 120))))
        keywords += list(_values(iptc.get((2, 25))))
    xmp = opened.info.get("xmp")
    if xmp:
        with contextlib.suppress(ElementTree.ParseError, ValueError, TypeError):
            tree = ElementTree.fromstring(xmp.rstrip(b"\0") if isinstance(xmp, bytes) else xmp)
            for name, texts in (("description", descriptions), ("subject", keywords)):
                texts += [clean(entry.text) for part in tree.iter(DUBLIN_CORE + name) for entry in part.iter(LIST_ITEM)]
    return tuple(dict.fromkeys(filter(None, descriptions))), tuple(dict.fromkeys(filter(None, keywords)))


def _values(found: Any) -> Iterator[str]:
    for value in found if isinstance(found, list) else [found]:
        if value:
            yield clean(value)


def clean(value: Any) -> str:
    """Returns a value of EXIF or IPTC as a text on one line, without zero bytes; None gives an empty text."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else "" if value is None else str(value)
    return " ".join(text.replace("\0", " ").split())
