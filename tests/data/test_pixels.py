"""Squares as CLIP's own preparation makes them, decoded once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from crosscue.data import pixels
from crosscue.data.augmentation import augment
from crosscue.data.pairs import ImageFile
from crosscue.data.pixels import PixelSpec, PixelStore, square
from crosscue.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CROSSCUE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def spec(size: int) -> PixelSpec:
    return PixelSpec(size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def store_of(paths: list[Path], size: int = 16, **options: Any) -> PixelStore:
    return PixelStore([ImageFile(path) for path in paths], spec(size), **options)


@pytest.mark.parametrize("size", [(40, 30), (31, 47), (224, 224), (300, 100)])
def test_square_equals_the_stock_processor(draw_image, size: tuple[int, int]) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    opened = Image.open(draw_image("one.png", size)).convert("RGB")
    preparation = CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, do_normalize=False, do_rescale=False
    )
    stock = np.asarray(preparation(opened)["pixel_values"][0]).astype(int)
    assert np.abs(square(opened, 32).astype(int) - stock).max() <= 1


@pytest.mark.parametrize("size", [(40, 3), (3, 40), (7, 300)])
def test_a_thin_image_is_cropped_before_it_is_resized(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).integers(80, 160, (size[1], size[0], 3), dtype=np.uint8)  # nothing is clipped
    opened = Image.fromarray(values)
    strips = [square(opened, 32, resample).astype(int) for resample in ("bicubic", "bilinear")]
    monkeypatch.setattr(pixels, "THIN", 1)
    crops = [square(opened, 32, resample).astype(int) for resample in ("bicubic", "bilinear")]
    assert max(np.abs(one - other).max() for one, other in zip(strips, crops, strict=True)) <= 1


def test_a_thin_image_costs_no_more_than_another() -> None:
    script = """
        import resource
        from PIL import Image
        from crosscue.data.pixels import square
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for size in ((1, 30_000), (30_000, 1), (2, 90_000)):
            assert square(Image.new("RGB", size), 224).shape == (3, 224, 224)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    printed = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, check=True).stdout
    assert int(printed) < 100_000  # kilobytes


def test_images_are_decoded_once(draw_image, cache: Path) -> None:
    paths = [draw_image(f"{i}.png", seed=i) for i in range(5)]
    first = store_of(paths, 16)[range(5)]
    assert first.shape == (5, 3, 16, 16)
    assert first.dtype == torch.uint8
    stamps = [(path.stat().st_mtime_ns, path.stat().st_size) for path in paths]
    for path, (changed, size) in zip(paths, stamps, strict=True):
        path.write_bytes(b"x" * size)  # same size and time, so only the cache can answer
        os.utime(path, ns=(changed, changed))
    assert torch.equal(store_of(paths, 16)[range(5)], first)


def test_a_changed_image_is_decoded_again(draw_image) -> None:
    path = draw_image("one.png", seed=1)
    before = store_of([path], 16)[[0]]
    draw_image("one.png", seed=2)
    assert not torch.equal(store_of([path], 16)[[0]], before)


def test_unreadable_images_are_reported_together(draw_image, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no")
    (tmp_path / "worse.jpg").write_bytes(b"")
    store = store_of([draw_image("good.png"), tmp_path / "bad.jpg", tmp_path / "worse.jpg"], source="mine.csv")
    with pytest.raises(DataError, match=r"bad.jpg.*and 1 more.*crosscue data check mine.csv"):
        store[[0]]


def test_a_killed_decoding_is_continued(draw_image, cache: Path, tmp_path: Path) -> None:
    for i in range(150):
        draw_image(f"p/{i:03}.png", (8, 8), seed=i)
    script = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from crosscue.data import pixels
        from crosscue.data.pairs import ImageFile
        images = [ImageFile(p) for p in sorted(Path({str(tmp_path / "p")!r}).iterdir())]
        whole = pixels.PixelStore._decode
        def slow(self, indices):
            time.sleep(1.0 if indices[0] else 0)
            return whole(self, indices)
        pixels.PixelStore._decode = slow
        pixels.PixelStore(images, pixels.PixelSpec(8, (0, 0, 0), (1, 1, 1)))[[0]]
    """)
    process = subprocess.Popen([sys.executable, "-c", script])
    marks = cache / "pixels"
    for _ in range(200):
        done = list(marks.glob("*/*/done.bin"))
        if done and np.fromfile(done[0], "u1").sum():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    half = int(np.fromfile(next(marks.glob("*/*/done.bin")), "u1").sum())
    assert 0 < half < 150
    paths = sorted((tmp_path / "p").iterdir())
    decoded: list[int] = []

    class Counting(PixelStore):
        def _decode(self, indices):
            decoded.extend(indices)
            return super()._decode(indices)

    continued = Counting([ImageFile(path) for path in paths], spec(8))[range(150)]
    assert len(decoded) == 150 - half
    assert torch.equal(continued, store_of(paths, 8, cache=False)[range(150)])


@pytest.mark.parametrize("kind", ["none", "crop", "coop"])
def test_augmentation_is_a_function_of_the_generator(draw_image, kind: str) -> None:
    pixels = store_of([draw_image(f"{i}.png", seed=i) for i in range(4)], 16, cache=False)[range(4)]
    one, two, other = (augment(pixels, kind, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert one.shape == pixels.shape
    assert one.dtype == torch.uint8
    assert torch.equal(one, two)
    assert torch.equal(one, other) == (kind == "none")


@pytest.mark.parametrize(("kind", "least"), [("crop", 0.7), ("coop", 0.1)])
def test_crops_are_large_and_never_flipped_or_those_of_coop(kind: Any, least: float) -> None:
    """Images that brighten from left to right: the range of a crop is its width, and its sign tells if it is flipped."""
    images = (8 * torch.arange(32)).to(torch.uint8).expand(60, 3, 32, 32).contiguous()
    found = augment(images, kind, torch.Generator().manual_seed(0)).float()
    width = (found[:, 0, 16, -1] - found[:, 0, 16, 0]) / 248
    assert least < float(width.abs().min()) < least + 0.3
    assert {bool(one) for one in width < 0} == ({False} if kind == "crop" else {False, True})
