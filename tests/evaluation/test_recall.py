"""Recall from ranks with ties, against the binomial coefficients, and intervals of small samples."""

from __future__ import annotations

import itertools
from math import comb

import numpy as np
import pytest
import torch

from crosscue.evaluation.group_recall import _best_of
from crosscue.evaluation.ranks import Ranks
from crosscue.evaluation.recall import Recall, hits, recall, rsum
from crosscue.intervals import _tested, difference, interval, interval_of, resampled


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


def test_queries_that_share_positives_are_ranked_in_blocks() -> None:
    """300 queries, more than one block; query q has the positives q and q + 1."""
    scores = torch.rand(300, 301, generator=torch.Generator().manual_seed(0))
    query = torch.arange(300).repeat_interleave(2)
    positive = query + torch.tensor([0, 1]).repeat(300)
    found = _best_of(lambda rows: scores[rows], 300, query, positive)
    best = torch.maximum(scores.diagonal(), scores[:, 1:].diagonal())
    np.testing.assert_array_equal(found.better, (scores > best[:, None] + 1e-6).sum(1).numpy())
