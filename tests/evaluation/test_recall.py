"""Recall from ranks with ties, against the binomial coefficients, and intervals of small samples."""

from __future__ import annotations

import itertools
from math import comb

import numpy as np
import pytest
import torch

from crosscue.evaluation.ranks import Ranks, rank_links
from crosscue.evaluation.recall import Recall, hits, recall, rsum
from crosscue.intervals import _tested, difference, interval, interval_of, resampled
from crosscue.retrieval.scores import Cosines
from tests.evaluation.loop import by_hand


def test_the_chance_of_a_hit_is_one_minus_the_share_of_draws_that_miss() -> None:
    cases = [(g, t, p) for g, t in itertools.product(range(4), range(1, 6)) for p in range(1, t + 1)]
    ranks = Ranks(*(np.array(column) for column in zip(*cases, strict=True)))
    for k in (1, 2, 3, 5, 10):
        found, last = hits(ranks, k), hits(ranks, k, "pessimistic")
        for place, (better, tied, positives) in enumerate(cases):
            seen = min(max(k - better, 0), tied)
            assert found[place] == pytest.approx(1 - comb(tied - positives, seen) / comb(tied, seen))
            assert last[place] == float(seen > tied - positives)


def test_the_median_rank_counts_the_wrong_ones_that_are_tied() -> None:
    ranks = Ranks(np.array([2, 0, 9]), np.array([3, 1, 4]), np.array([1, 1, 2]))
    assert recall(ranks).mdr == 4  # 2 better, and half of the two that are tied
    assert recall(ranks, "pessimistic").mdr == 5


def test_rsum_is_a_sum() -> None:
    assert rsum(Recall(1, 2, 4, 0), Recall(8, 16, 32, 0)) == 63


def test_a_difference_from_its_resamples() -> None:
    spread = _tested(1.0, np.linspace(-1, 3, 1001))
    assert (spread.mean, spread.low, spread.high) == pytest.approx((1.0, -0.9, 2.9))
    assert spread.p == pytest.approx(2 * 251 / 1001)
    assert _tested(5.0, np.full(200, 5.0)).p == 1 / 200, "no resample is on the other side"
    assert _tested(0.0, np.zeros(200)).p == 1


def test_the_interval_of_two_images() -> None:
    """A quarter of the draws has none of the hits, a quarter all: the interval is the whole range."""
    found = interval(np.array([0.0, 1.0, 1.0]), np.array([7, 3, 3]))
    assert (found.mean, found.low, found.high) == pytest.approx((200 / 3, 0, 100))


def test_numbers_of_one_pass_are_those_of_each_alone() -> None:
    """Both directions of 300 images, one of them with 1 to 3 captions an image: hits without fractions, to the last digit."""
    random = np.random.default_rng(0)
    images, owner = np.arange(300), np.repeat(np.arange(300), random.integers(1, 4, 300))
    kinds = [([random.integers(0, 2, len(own)).astype(float) for _ in range(4)], own) for own in (images, owner)]
    for (values, clusters), drawn in zip(kinds, resampled(kinds), strict=True):
        for value, means in zip(values, drawn, strict=True):
            assert interval_of(value, means) == interval(value, clusters)
        (alone,) = resampled([([values[1] - values[0]], clusters)])
        found = difference(values[0], values[1], clusters)
        assert found == _tested(100 * float((values[1] - values[0]).mean()), alone[0])


def test_ranks_where_captions_have_several_images() -> None:
    """More captions than one tile; image i and caption c are a right pair where c % 30 is i or i + 1."""
    random = torch.Generator().manual_seed(0)
    images, texts = (torch.nn.functional.normalize(torch.randn(n, 8, generator=random), dim=-1) for n in (30, 2_100))
    texts[30:60] = texts[:30]  # ties
    positive = torch.zeros(30, 2_100, dtype=torch.bool)
    for moved in (0, 1):
        positive[(torch.arange(2_100) + moved) % 30, torch.arange(2_100)] = True
    found = rank_links(Cosines(images, texts), *positive.nonzero().T.flip(1), block=7)
    plain = (images @ texts.T).numpy()
    for direction, (scores, right) in zip(
        found, ((plain, positive.numpy()), (plain.T, positive.numpy().T)), strict=True
    ):
        wanted = by_hand(scores, right)
        for name in Ranks.__annotations__:
            np.testing.assert_array_equal(getattr(direction, name), getattr(wanted, name), err_msg=name)
