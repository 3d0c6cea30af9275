"""Ranks and recall against a loop nobody can misread."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from crosscue.errors import CrosscueError
from crosscue.evaluation.ranks import Ranks, placed, ranks
from crosscue.evaluation.recall import hits, recall, rsum
from crosscue.intervals import difference, holm, interval
from tests.evaluation.loop import by_hand


def expected_hit(better: int, tied: int, positives: int, k: int) -> float:
    seen = min(max(k - better, 0), tied)
    return 1 - comb(tied - positives, seen) / comb(tied, seen)


def corners(numbers: list[int]) -> torch.Tensor:
    """Unit vectors among the axes of four dimensions, so that scores are exactly 0 or 1 and ties abound."""
    return torch.eye(4)[torch.tensor(numbers)]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_ranks_equal_the_loop(data: st.DataObject) -> None:
    images = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=9))
    owner = list(range(len(images))) + data.draw(st.lists(st.integers(0, len(images) - 1), max_size=12))
    owner = data.draw(st.permutations(owner))
    texts = data.draw(st.lists(st.integers(0, 3), min_size=len(owner), max_size=len(owner)))
    a, b = corners(images), corners(texts)
    scores, positive = (a @ b.T).numpy(), np.arange(len(images))[:, None] == np.array(owner)
    block = data.draw(st.integers(1, 5))
    for found, wanted in zip(
        ranks(a, b, torch.tensor(owner), block=block),
        (by_hand(scores, positive), by_hand(scores.T, positive.T)),
        strict=True,
    ):
        for name in Ranks.__annotations__:
            assert np.array_equal(getattr(found, name), getattr(wanted, name)), name
        for k in (1, 2, 5):
            chances = [
                expected_hit(*row, k) for row in zip(wanted.better, wanted.tied, wanted.tied_positives, strict=True)
            ]
            assert hits(found, k) == pytest.approx(chances)


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_blocks_do_not_matter(block: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images, texts = (normalize(torch.randn(n, 32, generator=generator), dim=-1) for n in (100, 500))
    owner = torch.arange(100).repeat_interleave(5)
    for found, whole in zip(
        ranks(images, texts, owner, block=block), ranks(images, texts, owner, block=100), strict=True
    ):
        for name in Ranks.__annotations__:
            assert np.array_equal(getattr(found, name), getattr(whole, name))


@pytest.mark.parametrize("block", [255, 256, 600, 1000])
def test_a_caption_beaten_by_hundreds_of_one_block_is_counted_in_full(block: int) -> None:
    images = corners([1, *[0] * 599])
    texts = corners([0, *[2] * 599])
    _, t2i = ranks(images, texts, torch.arange(600), block=block)
    assert t2i.better[0] == 599
    assert (t2i.tied[1:] == 600).all()


def test_scores_within_the_tolerance_are_tied_after_re_ranking_too() -> None:
    scores = torch.tensor([[0.5, 0.5 + 4e-7, 0.2, 0.5 - 4e-7, 0.500002], [0.1, 0.3, 0.3, 0.2, 0.9]])
    right = torch.tensor([[True, False, False, True, False], [False, True, False, False, False]])
    found = placed(scores, right)
    assert found.better.tolist() == [1, 1]
    assert found.tied.tolist() == [3, 2]
    assert found.tied_positives.tolist() == [2, 1]


def test_random_features_equal_sorting() -> None:
    generator = torch.Generator().manual_seed(1)
    images, texts = (normalize(torch.randn(n, 16, generator=generator), dim=-1) for n in (60, 180))
    owner = torch.arange(60).repeat_interleave(3)
    i2t, t2i = ranks(images, texts, owner)
    order = (images @ texts.T).argsort(1, descending=True)
    assert i2t.better.tolist() == [int((owner[row] == i).nonzero()[0]) for i, row in enumerate(order)]
    back = (texts @ images.T).argsort(1, descending=True)
    assert t2i.better.tolist() == [int((row == owner[j]).nonzero()[0]) for j, row in enumerate(back)]


def test_permuting_the_gallery_changes_nothing() -> None:
    generator = torch.Generator().manual_seed(2)
    images, texts = (normalize(torch.randn(n, 8, generator=generator), dim=-1) for n in (40, 40))
    texts[7] = texts[3]
    owner = torch.arange(40)
    straight = ranks(images, texts, owner)
    order = torch.randperm(40, generator=generator)
    shuffled = ranks(images[order], texts[order], owner)
    for one, other in zip(straight, shuffled, strict=True):
        assert np.array_equal(one.better[order.numpy()], other.better)
        assert np.array_equal(one.tied[order.numpy()], other.tied)


def test_equal_captions_are_tied_whatever_the_rounding() -> None:
    generator = torch.Generator().manual_seed(3)
    images = normalize(torch.randn(300, 512, generator=generator), dim=-1)
    texts = normalize(images + 0.1 * torch.randn(300, 512, generator=generator), dim=-1)
    texts[100:] = texts[100].clone()
    i2t, _ = ranks(images, texts, torch.arange(300), block=37)
    assert (i2t.tied[100:] == 200).all()
    assert (i2t.tied[:100] == 1).all()


def test_recall_of_a_literal_matrix() -> None:
    found = Ranks(np.array([0, 4, 9, 20]), np.array([1, 2, 4, 1]), np.ones(4, dtype=int))
    expected = recall(found)
    assert (expected.r1, expected.r5, expected.r10) == pytest.approx((25.0, 37.5, 56.25))
    assert expected.mdr == pytest.approx((5.5 + 11.5) / 2)
    worst = recall(found, "pessimistic")
    assert (worst.r1, worst.r5, worst.r10) == pytest.approx((25.0, 25.0, 50.0))
    assert worst.mdr == pytest.approx((6 + 13) / 2)
    assert rsum(expected, worst) == pytest.approx(25 + 37.5 + 56.25 + 25 + 25 + 50)


def test_damaged_embeddings_and_captionless_images_are_named() -> None:
    good = torch.eye(3)
    with pytest.raises(CrosscueError, match="caption 1 is not finite"):
        ranks(good, good * torch.tensor([[1.0], [float("nan")], [1.0]]), torch.arange(3))
    with pytest.raises(CrosscueError, match="1 images of the gallery have no caption"):
        ranks(good, good, torch.tensor([0, 1, 1]))


def test_interval_covers_and_narrows() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(60):
        drawn = (generator.random(200) < 0.3).astype(float)
        found = interval(drawn, np.arange(200), draws=500, seed=trial)
        assert found.low <= found.mean <= found.high
        covered += found.low <= 30 <= found.high
    assert covered >= 50
    clustered = interval(np.repeat(drawn, 5), np.repeat(np.arange(200), 5), draws=500)
    naive = interval(np.repeat(drawn, 5), np.arange(1000), draws=500)
    assert clustered.high - clustered.low > 1.8 * (naive.high - naive.low)


def test_paired_difference_is_antisymmetric_and_sees_what_is_there() -> None:
    generator = np.random.default_rng(1)
    before = (generator.random(400) < 0.3).astype(float)
    after = np.maximum(before, generator.random(400) < 0.2)
    up, down = difference(before, after, np.arange(400)), difference(after, before, np.arange(400))
    assert up.mean == pytest.approx(-down.mean)
    assert up.low > 0 > down.high
    assert up.p == down.p <= 0.001
    nothing = difference(before, before, np.arange(400))
    assert (nothing.mean, nothing.p) == (0, 1)
    with pytest.raises(CrosscueError, match="400 and 10 queries"):
        difference(before, before[:10], np.arange(400))


@pytest.mark.parametrize(
    ("ps", "corrected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # 0.04 x 1 is below 0.03 x 2
        ([0.02], [0.02]),
        ([0.7, 0.6], [1.0, 1.0]),
        ([0.03, 0.03, 0.5], [0.09, 0.09, 0.5]),
        ([], []),
    ],
)
def test_holm_by_hand(ps: list[float], corrected: list[float]) -> None:
    assert holm(ps) == pytest.approx(corrected)
