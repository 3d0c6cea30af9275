"""One read of a file: metadata, captions, pixels, thumbnails, and files that cannot be read."""

from __future__ import annotations

import datetime
import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from crosscue.data.pairs import ImageFile
from crosscue.data.pixels import PixelSpec
from crosscue.search.reading import Captions, Failure, Reader, ReadImage
from crosscue.search.scan import Scan
from crosscue.search.scanning import Item, walk
from crosscue.search.thumbnails import has_thumbnail, thumbnail_path
from tests.search.conftest import paint

SPEC = PixelSpec(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description><rdf:Alt>
<rdf:li xml:lang="x-default">A beach at dusk</rdf:li></rdf:Alt></dc:description>
<dc:subject><rdf:Bag><rdf:li>sea</rdf:li><rdf:li>holiday</rdf:li></rdf:Bag></dc:subject></rdf:Description>
</rdf:RDF></x:xmpmeta>"""


def read(folder: Path, thumbnails: Path | None = None, **options: object) -> dict[str, ReadImage | Failure]:
    reader = Reader({"photos": folder}, SPEC, thumbnails or folder.parent / "thumbs", {}, **options)
    return {item.raw.decode(): reader(item) for item in items(folder)}


def items(folder: Path) -> list[Item]:
    return walk("photos", folder, Path(), Scan()).items


def photo(path: Path, size: tuple[int, int] = (900, 600), **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(path, **options)
    return path


def test_a_photo_has_its_date_place_camera_and_size_after_rotation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model], exif[ExifTags.Base.Orientation] = "Canon", "Canon EOS R", 6
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2024:06:30 18:05:00"
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSLatitude], gps[ExifTags.GPS.GPSLatitudeRef] = (33.0, 51.0, 36.0), "S"
    gps[ExifTags.GPS.GPSLongitude], gps[ExifTags.GPS.GPSLongitudeRef] = (151.0, 12.0, 0.0), "E"
    path = photo(tmp_path / "photos" / "trips" / "IMG_1234-bondi.jpg", exif=exif, xmp=XMP)
    path.with_suffix(".txt").write_text("two surfers\n\n  a   wave \n")
    record = read(tmp_path / "photos")["trips/IMG_1234-bondi.jpg"].record
    assert (record.width, record.height, record.format) == (600, 900, "jpeg")
    assert record.taken == datetime.datetime(2024, 6, 30, 18, 5)
    assert (round(record.latitude, 2), round(record.longitude, 2)) == (-33.86, 151.2)
    assert record.camera == "Canon EOS R"
    assert record.captions == ("two surfers", "a wave", "A beach at dusk")
    assert record.text == "two surfers a wave A beach at dusk sea holiday trips IMG 1234 bondi"
    assert (record.folder, record.name, record.raw) == ("trips", "IMG_1234-bondi.jpg", None)


def test_pixels_are_those_of_training_and_the_thumbnail_is_small(tmp_path: Path) -> None:
    path = photo(tmp_path / "photos" / "a.jpg", (1600, 1000))
    found = read(tmp_path / "photos")["a.jpg"]
    difference = np.abs(found.pixels.astype(int) - SPEC.read(ImageFile(path)))
    assert difference.mean() < 1.5  # a JPEG is decoded at the fraction that the thumbnail needs
    large = PixelSpec(224, SPEC.mean, SPEC.std)
    reader = Reader({"photos": tmp_path / "photos"}, large, tmp_path / "thumbs", {})
    assert np.array_equal(reader(items(tmp_path / "photos")[0]).pixels, large.read(ImageFile(path)))
    with Image.open(thumbnail_path(tmp_path / "thumbs", found.record.content)) as small:
        assert (small.format, small.size) == ("WEBP", (320, 200))


def test_an_empty_thumbnail_is_written_again(tmp_path: Path) -> None:
    photo(tmp_path / "photos" / "a.jpg")
    content = read(tmp_path / "photos")["a.jpg"].record.content
    thumbnail_path(tmp_path / "thumbs", content).write_bytes(b"")
    assert not has_thumbnail(tmp_path / "thumbs", content)
    read(tmp_path / "photos")
    assert has_thumbnail(tmp_path / "thumbs", content)


def test_each_content_is_decoded_once(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        paint(tmp_path / "photos" / name, 1)
    found = read(tmp_path / "photos")
    assert [image.pixels is None for image in found.values()] == [False, True]
    known = Reader({"photos": tmp_path / "photos"}, SPEC, None, {found["a.png"].record.content: "id"})
    assert [known(item).pixels for item in items(tmp_path / "photos")] == [None, None]


def test_captions_of_pairs_stand_in_place_of_the_sidecar(tmp_path: Path) -> None:
    path = paint(tmp_path / "photos" / "a.png", 1)
    path.with_suffix(".txt").write_text("mine")
    own = Captions(("theirs",), "bird", "test")
    record = read(tmp_path / "photos", captions={items(tmp_path / "photos")[0].id: own})["a.png"].record
    assert (record.captions, record.category, record.split) == (("theirs",), "bird", "test")


@pytest.mark.parametrize("mode", ["CMYK", "I;16", "L", "P", "RGBA", "1"])
def test_every_mode_of_pixels_is_read(tmp_path: Path, mode: str) -> None:
    (tmp_path / "photos").mkdir()
    grey = np.arange(400, dtype=np.uint16).reshape(20, 20) * 100
    image = Image.fromarray(grey) if mode == "I;16" else Image.fromarray((grey >> 8).astype(np.uint8)).convert(mode)
    image.save(tmp_path / "photos" / ("a.tif" if mode in ("CMYK", "I;16") else "a.png"))
    (found,) = read(tmp_path / "photos").values()
    assert found.pixels.shape == (3, 32, 32)


@pytest.mark.parametrize("suffix", [".webp", ".avif", ".gif", ".bmp", ".jp2", ".heic", ".svg"])
def test_every_format_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "photos" / f"a{suffix}"
    path.parent.mkdir()
    if suffix == ".svg":
        path.write_text(
            '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="6"><rect width="9" height="6" fill="red"/></svg>'
        )
    else:
        if suffix == ".heic":
            pytest.importorskip("pillow_heif").register_heif_opener()
        Image.new("RGB", (64, 64), "red").save(path)
    found = read(tmp_path / "photos")[path.name]
    assert found.pixels[0].mean() > 200 > 60 > found.pixels[2].mean()


def broken() -> dict[str, bytes]:
    whole = io.BytesIO()
    Image.new("RGB", (300, 300), "red").save(whole, "JPEG")
    png = io.BytesIO()
    Image.new("RGB", (20, 20), "red").save(png, "PNG")
    header = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + png.getvalue()[24:29]
    bomb = png.getvalue()[:12] + header + zlib.crc32(header).to_bytes(4, "big") + png.getvalue()[33:]
    return {
        "empty.jpg": b"",
        "text.jpg": b"no image at all",
        "cut.jpg": whole.getvalue()[:600],
        "bomb.png": bomb,
        "wrong.svg": b"<svg",
    }


def test_each_broken_file_gets_a_reason_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name, content in broken().items():
        (tmp_path / "photos" / name).write_bytes(content)
    found = read(tmp_path / "photos")
    reasons = {name: outcome.reason for name, outcome in found.items()}
    assert all(isinstance(outcome, Failure) for outcome in found.values())
    assert reasons["empty.jpg"].startswith("the file is empty")
    assert reasons["text.jpg"].startswith("not an image")
    assert reasons["cut.jpg"].startswith("damaged or truncated")
    assert "pixel" in reasons["bomb.png"]
    assert reasons["wrong.svg"].startswith("not an SVG")
    assert not any(str(tmp_path) in reason or "pairs" in reason for reason in reasons.values())


def test_a_file_that_is_gone_since_the_walk_is_no_failure(tmp_path: Path) -> None:
    path = paint(tmp_path / "photos" / "a.png", 1)
    (item,) = items(tmp_path / "photos")
    path.unlink()
    assert Reader({"photos": tmp_path / "photos"}, SPEC, tmp_path / "thumbs", {})(item) is None


def test_damaged_metadata_costs_the_metadata_alone(tmp_path: Path) -> None:
    photo(tmp_path / "photos" / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff garbage", xmp=b"<x:xmpmeta")
    found = read(tmp_path / "photos")["a.jpg"]
    assert (found.record.taken, found.record.captions) == (None, ())
