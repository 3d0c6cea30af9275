"""Images of every kind as batches, the unreadable ones among them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import crosscue
from crosscue.data.pairs import ImageFile
from crosscue.data.pixels import PixelSpec
from crosscue.data.stream import Unreadable, pixel_batches
from crosscue.errors import DataError
from crosscue.methods.registry import build
from crosscue.retrieval.streaming import encoded_images
from tests.tiny import tiny_backbones

SPEC = PixelSpec(16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_a_path_an_opened_image_and_an_array_give_the_same_pixels(draw_image) -> None:
    path = draw_image("1.png")
    opened = Image.open(path)
    given = [path, str(path), ImageFile(path), opened, opened, np.asarray(Image.open(path))]
    (batch,) = pixel_batches(given, SPEC)
    assert batch.pixels.shape == (6, 3, 16, 16)
    assert (batch.pixels == batch.pixels[0]).all()
    assert len(np.unique(batch.pixels)) > 10


def test_an_opened_image_is_rotated_by_its_exif_orientation(draw_image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = draw_image("1.png", size=(32, 32), exif=exif)
    (batch,) = pixel_batches([path, Image.open(path)], SPEC)
    assert np.array_equal(*batch.pixels)


def test_unreadable_images_are_reported_and_the_rest_goes_on(draw_image, tmp_path: Path) -> None:
    good = draw_image("1.png")
    (tmp_path / "bad.jpg").write_bytes(b"no")
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:200])
    given = [
        tmp_path / "bad.jpg",
        good,
        tmp_path / "none.png",
        7,
        np.zeros((4, 4)),
        Image.open(tmp_path / "cut.png"),
        good,
    ]
    batches = list(pixel_batches(given, SPEC, batch_size=3))
    assert [batch.indices for batch in batches] == [[1], [], [6]]
    assert [len(batch.pixels) for batch in batches] == [1, 0, 1]
    failures = [failure for batch in batches for failure in batch.unreadable]
    assert [failure.index for failure in failures] == [0, 2, 3, 4, 5]
    assert failures[0] == Unreadable(0, str(tmp_path / "bad.jpg"), failures[0].reason)
    reasons = ["not an image that can be decoded", "No such file", "int is no image", "array of float64", "truncated"]
    for failure, reason in zip(failures, reasons, strict=True):
        assert reason in failure.reason
        assert failure.name not in failure.reason


def test_images_are_taken_only_when_their_batch_is_due(draw_image) -> None:
    path, taken = draw_image("1.png"), []

    def endless() -> Iterator[Path]:
        while True:
            taken.append(path)
            yield path

    batches = pixel_batches(endless(), SPEC, batch_size=4)
    for count in (1, 2, 3):
        assert len(next(batches).indices) == 4
        assert len(taken) == 4 * (count + 1)


def test_a_run_encodes_opened_images_like_their_files_and_names_every_unreadable_one(
    draw_image, tmp_path: Path
) -> None:
    run = crosscue.Run(build("zero_shot", tiny_backbones["clip"]()).eval())
    paths = [draw_image(f"{index}.png", seed=index) for index in range(3)]
    vectors = run.encode_image(paths)
    assert vectors.shape == (3, run.method.backbone.embed_dim)
    assert (run.encode_image(Image.open(path) for path in paths) == vectors).all()
    bad = [tmp_path / name for name in ("bad.png", "worse.png")]
    for path in bad:
        path.write_bytes(b"no")
    with pytest.raises(DataError, match=r"2 of the images cannot be read: .*bad.png: not an .*worse.png: not an"):
        run.encode_image([paths[0], *bad])
    (batch,) = encoded_images(run.method, bad)
    assert batch.vectors.shape == (0, vectors.shape[1])
