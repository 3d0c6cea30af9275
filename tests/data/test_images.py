"""Decoding: what works, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crosscue.data.images import open_image, peculiarities
from crosscue.data.pairs import EmbeddedImage, ImageFile
from crosscue.errors import DataError


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
    [(b"", "empty"), (b"not an image", "not an image"), (None, "cannot be read"), ("cut", "truncated")],
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
