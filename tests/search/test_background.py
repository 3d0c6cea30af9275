"""The line under good results, and hits that are copies of one another."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from crosscue.encoding.line import Line, line_of
from crosscue.search.background import FEWEST, Background, fixed_sample
from crosscue.search.grouping import leaders, looks_of
from crosscue.search.schema import identifier


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_a_background_is_the_mean_and_the_spread_of_the_query() -> None:
    draw = np.random.default_rng(0)
    images, query = unit(draw.normal(size=(500, 16))), unit(draw.normal(size=(1, 16)))[0]
    found = Background.of(query, images)
    scores = [float(np.dot(image, query)) for image in images]
    mean = sum(scores) / 500
    spread = (sum((score - mean) ** 2 for score in scores) / 500) ** 0.5
    assert found is not None
    assert (found.mean, found.spread) == pytest.approx((mean, spread), abs=1e-6)
    assert found.z(np.array([mean + 2 * spread])) == pytest.approx([2], abs=1e-4)


def test_few_or_equal_images_give_no_background() -> None:
    one = unit(np.ones((FEWEST, 4)))
    assert Background.of(one[0], one) is None
    assert Background.of(one[0], unit(np.eye(4)[np.arange(FEWEST - 1) % 4])) is None


def test_a_line_keeps_95_percent_of_right_images_and_no_more() -> None:
    draw = np.random.default_rng(1)
    z = draw.normal(4, 1, 2000)
    scores = 0.05 * z + draw.normal(0, 0.02, 2000)
    line = line_of(scores, z)
    assert line.likely(scores, z).mean() == pytest.approx(0.95, abs=1e-3)
    assert (scores < line.floor).mean() == pytest.approx(0.04, abs=1e-3)
    assert Line(3, 0.2).likely(np.array([0.1, 0.3, 0.3]), np.array([9, 2.9, 3.0])).tolist() == [False, False, True]


def test_few_right_images_set_no_line() -> None:
    assert line_of(np.full(49, 0.3), np.full(49, 2.0)) is None
    assert line_of(np.full(50, 0.3), np.full(50, 2.0)) == Line(2.0, 0.3)


def test_the_sample_of_a_background_stays_when_images_come(tmp_path: Path) -> None:
    lancedb = pytest.importorskip("lancedb")
    kind = pa.schema([pa.field("id", pa.string()), pa.field("vector", pa.list_(pa.float32(), 1))])

    def rows(start: int, stop: int) -> pa.Table:
        ids = [identifier("r", str(number).encode()) for number in range(start, stop)]
        return pa.Table.from_pylist([{"id": one, "vector": [int(one[:6], 16)]} for one in ids], kind)

    table = lancedb.connect(tmp_path).create_table("t", rows(0, 3000))
    first = fixed_sample(table, 100)
    smallest = sorted(identifier("r", str(number).encode()) for number in range(3000))[:100]
    assert first[:, 0].tolist() == [int(one[:6], 16) for one in smallest]
    assert len(fixed_sample(table, 5000)) == 3000
    table.add(rows(3000, 3090))
    assert len({*first[:, 0].tolist()} & {*fixed_sample(table, 100)[:, 0].tolist()}) > 90


def test_copies_stand_behind_their_best_hit() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 16, 24, 3), np.uint8)
    images = [Image.fromarray(one).resize((320, 240), Image.Resampling.BICUBIC) for one in noise]
    held = io.BytesIO()
    images[0].save(held, "JPEG", quality=30)
    again = Image.open(held).convert("RGB")
    half = images[0].resize((160, 120), Image.Resampling.LANCZOS)
    redder = Image.merge("RGB", [images[0].getchannel("R").point(lambda level: level + 40), *images[0].split()[1:]])
    shown = [images[1], images[0], again, redder, images[2], half, images[1]]
    assert leaders(np.stack([looks_of(image) for image in shown])) == [0, 1, 1, 3, 4, 1, 0]
    assert leaders(np.stack([looks_of(image) for image in shown]), 2) == [0, 1, 1, 3, 4, 1, 0]
    assert leaders(np.zeros((4, 192), np.uint8) + np.uint8([[0], [100], [200], [200]]), 2) == [0, 1, 2, 3]
    assert leaders(np.empty((0, 192), np.uint8)) == []
