"""Decoding: what works, and what is refused with which words."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from crosscue.data.images import open_image, peculiarities
from crosscue.data.pairs import EmbeddedImage, ImageFile, OpenedImage
from crosscue.data.pixels import PixelSpec
from crosscue.data.stream import given_texts, pixel_batches
from crosscue.errors import DataError, OptionError


def test_exif_orientation_is_applied(draw_image, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = draw_image("turned.jpg", exif=exif)
    assert open_image(ImageFile(path)).size == (30, 40)
    assert peculiarities(ImageFile(path)) == ["rotated by its EXIF orientation"]


def test_cmyk_becomes_rgb(draw_image) -> None:
    path = draw_image("print.jpg", mode="CMYK")
    assert open_image(ImageFile(path)).mode == "RGB"
    assert "CMYK" in peculiarities(ImageFile(path))[0]


def test_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    image = ImageFile(tmp_path / "moving.gif")
    assert np.asarray(open_image(image))[0, 0].tolist() == [255, 0, 0]
    assert "animated" in peculiarities(image)[0]


def test_transparency_becomes_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert np.asarray(open_image(ImageFile(tmp_path / "clear.png"))).min() == 255


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.uint16)).save(tmp_path / "deep.png")
    assert np.asarray(open_image(ImageFile(tmp_path / "deep.png")))[0, :, 0].tolist() == [0, 127, 255]


def test_large_jpeg_may_be_decoded_smaller(draw_image) -> None:
    path = draw_image("large.jpg", (1600, 1200))
    assert min(open_image(ImageFile(path), at_least=64).size) >= 64
    assert max(open_image(ImageFile(path), at_least=64).size) < 1600


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "EPS is a program"),
        (b"not an image", "not an image"),
        (None, "cannot be read"),
        ("cut", "truncated"),
    ],
)
def test_unusable_files_are_named_with_a_remedy(draw_image, tmp_path: Path, content, words: str) -> None:
    path = tmp_path / "bad.jpg"
    if content == "cut":
        whole = draw_image("whole.jpg", (200, 200)).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        open_image(ImageFile(path))
    assert str(path) in str(caught.value)


def test_bombs_are_refused(draw_image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSCUE_MAX_PIXELS", "1000")
    with pytest.raises(DataError, match="40 x 30 is more than 1,000 pixels"):
        open_image(ImageFile(draw_image("big.png")))


def test_embedded_images_are_read_late(draw_image) -> None:
    path = draw_image("inside.png")
    calls = []
    image = EmbeddedImage("row 1", lambda: calls.append(1) or path.read_bytes())
    assert not calls
    assert open_image(image).size == (40, 30)


MODES = (
    "1",
    "L",
    "P",
    "RGB",
    "RGBA",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I",
    "F",
    "LA",
    "PA",
    "RGBX",
    "RGBa",
    "La",
    "I;16",
)


def converted(opened: Image.Image, mode: str) -> Image.Image:
    """An image in a mode, by way of the mode that converts to it."""
    way = {"RGBa": "RGBA", "La": "LA", "PA": "P", "I;16": "I"}.get(mode)
    return (opened.convert(way) if way else opened).convert(mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("orientation", [1, 6])
def test_an_opened_image_is_its_file_in_every_mode(tmp_path: Path, mode: str, orientation: int) -> None:
    ramp = np.linspace(0, 255, 8 * 6 * 3).reshape(8, 6, 3).astype(np.uint8)
    plain = Image.fromarray(ramp).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain.save(tmp_path / "a.png", exif=exif)
    given = converted(Image.open(tmp_path / "a.png"), mode)
    given.getexif()[0x0112] = orientation  # a conversion to LAB loses it
    expected = np.asarray(open_image(ImageFile(tmp_path / "a.png")), dtype=int)
    found = np.asarray(open_image(OpenedImage("opened", given)), dtype=int)
    assert found.shape == expected.shape == ((8, 6, 3) if orientation == 1 else (6, 8, 3))
    if mode in ("RGB", "RGBA", "RGBX", "RGBa", "CMYK"):
        assert np.abs(found - expected).max() <= 1
    elif mode not in ("1", "P", "PA"):
        assert np.abs(found.mean(2) - expected.mean(2)).max() < 12
    assert given.mode == mode


def test_a_png_with_megabytes_of_text_opens(draw_image) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "x" * 2_000_000, zip=True)
    path = draw_image("big.png", pnginfo=info, icc_profile=b"x" * 2_000_000)
    plain = draw_image("plain.png")
    with pytest.raises(ValueError, match="large"):
        Image.open(path).load()
    assert np.array_equal(np.asarray(open_image(ImageFile(path))), np.asarray(open_image(ImageFile(plain))))
    assert peculiarities(ImageFile(path)) == []


@pytest.mark.parametrize(
    "raised", [ValueError, TypeError, struct.error, EOFError, MemoryError, OverflowError, KeyError]
)
def test_whatever_a_decoder_raises_is_one_line(draw_image, monkeypatch: pytest.MonkeyPatch, raised: type) -> None:
    def fail(*_: object) -> None:
        raise raised("not\nthis")

    path = draw_image("a.png")
    monkeypatch.setattr(Image, "open", fail)
    for read in (open_image, peculiarities):
        with pytest.raises(DataError, match=r"a.png: damaged or truncated \(.*not.*this") as caught:
            read(ImageFile(path))
        assert "\n" not in str(caught.value)


def test_a_limit_that_is_no_number_is_named(draw_image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSCUE_MAX_PIXELS", "many")
    with pytest.raises(OptionError, match="CROSSCUE_MAX_PIXELS is 'many'"):
        open_image(ImageFile(draw_image("a.png")))


@pytest.mark.parametrize(
    "given", ["a.jpg", b"bytes", Path("a.jpg"), Image.new("RGB", (4, 4)), np.zeros((4, 4, 3), np.uint8), 5]
)
def test_one_image_is_no_list_of_images(given: object) -> None:
    with pytest.raises(DataError, match=rf"the images are one {type(given).__name__}. Give a list: run.encode_image"):
        list(pixel_batches(given, PixelSpec(4, (0, 0, 0), (1, 1, 1))))


def test_one_text_is_no_list_of_texts() -> None:
    for given, words in (("a red thing", "the texts are one str"), (["a", 5], "text 1 is int"), (["\ud83d"], "half a")):
        with pytest.raises(DataError, match=words):
            given_texts(given)
    assert given_texts(iter(["a", "b"])) == ["a", "b"]


def test_images_without_pixels_and_devices_are_refused() -> None:
    for given, words in (
        (np.zeros((0, 4), np.uint8), "is no image"),
        (Image.new("RGB", (0, 4)), "no pixels"),
        ("/dev/zero", "no file"),
    ):
        (batch,) = pixel_batches([given], PixelSpec(4, (0, 0, 0), (1, 1, 1)))
        assert words in str(batch.unreadable[0])
