"""The line under good results, and hits that are copies of one another."""

from __future__ import annotations

import numpy as np
import pytest

from crosscue.encoding.line import Line, line_of
from crosscue.search.background import FEWEST, Background, fixed_sample
from crosscue.search.grouping import COPY, leaders


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


def test_the_sample_of_a_background_stays_when_images_come() -> None:
    ids = [f"{number * 7919 % 10007:05}" for number in range(3000)]
    first = {ids[place] for place in fixed_sample(ids, 100)}
    more = [*ids, *(f"{number * 6007 % 99991:05}x" for number in range(30))]
    assert len(first & {more[place] for place in fixed_sample(more, 100)}) > 95


def test_copies_stand_behind_their_best_hit() -> None:
    base = unit(np.eye(3, 8))
    near = unit(base[:1] + 0.01 * base[1:2])
    far = unit(base[:1] + 0.3 * base[1:2])
    assert float((near @ base[0])[0]) > COPY > float((far @ base[0])[0])
    vectors = np.concatenate([base[:1], base[1:2], near, far, base[2:]])
    assert leaders(["a", "b", "c", "d", "b"], vectors) == [0, 1, 0, 3, 1]
    assert leaders([], np.empty((0, 8), np.float32)) == []
