"""InfoNCE by hand."""

from __future__ import annotations

import math

import pytest
import torch

from crosscue.losses.contrastive import contrastive, pair_losses, same_meaning

IMAGES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
TEXTS = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])


def by_hand(rows: list[list[float]], scale: float) -> float:
    return -sum(
        math.log(math.exp(scale * row[i]) / sum(math.exp(scale * s) for s in row)) for i, row in enumerate(rows)
    ) / len(rows)


def test_three_pairs_by_hand() -> None:
    scores = (IMAGES @ TEXTS.T).tolist()
    columns = [list(column) for column in zip(*scores, strict=True)]
    scale = torch.tensor(5.0)
    assert contrastive(IMAGES, TEXTS, scale, directions="i2t").item() == pytest.approx(by_hand(scores, 5), rel=1e-5)
    assert contrastive(IMAGES, TEXTS, scale, directions="t2i").item() == pytest.approx(by_hand(columns, 5), rel=1e-5)
    both = contrastive(IMAGES, TEXTS, scale).item()
    assert both == pytest.approx(by_hand(scores, 5) + by_hand(columns, 5), rel=1e-5)


def test_masked_pairs_are_not_negatives() -> None:
    same = same_meaning(["a", "b", "a"], ["1", "2", "3"])
    assert same is not None
    assert same.tolist() == [[False, False, True], [False, False, False], [True, False, False]]
    masked = contrastive(IMAGES, TEXTS, torch.tensor(5.0), directions="i2t", not_negative=same).item()
    rows = (IMAGES @ TEXTS.T).tolist()
    kept = [[rows[0][0], rows[0][1]], [rows[1][1], rows[1][0], rows[1][2]], [rows[2][2], rows[2][1]]]
    expected = -sum(math.log(math.exp(5 * r[0]) / sum(math.exp(5 * s) for s in r)) for r in kept) / 3
    assert masked == pytest.approx(expected, rel=1e-5)


def test_losses_of_pairs_average_to_the_batch() -> None:
    scale, same = torch.tensor(5.0), same_meaning(["a", "b", "a"], ["1", "2", "3"])
    logits = scale * IMAGES @ TEXTS.T
    for mask in (None, same):
        for directions in ("i2t", "t2i"):
            one = pair_losses(logits, logits, directions=directions, not_negative=mask)
            assert one.shape == (3,)
            whole = contrastive(IMAGES, TEXTS, scale, directions=directions, not_negative=mask)
            torch.testing.assert_close(one.mean(), whole)
        both = pair_losses(logits, logits, not_negative=mask).mean()
        torch.testing.assert_close(both, contrastive(IMAGES, TEXTS, scale, not_negative=mask) / 2)


def test_each_direction_has_its_own_scores() -> None:
    i2t, t2i = 5 * IMAGES @ TEXTS.T, 3 * IMAGES @ TEXTS.T + torch.eye(3)
    columns = pair_losses(t2i, t2i, directions="t2i")
    torch.testing.assert_close(pair_losses(i2t, t2i, directions="t2i"), columns)
    torch.testing.assert_close(pair_losses(i2t, t2i), (pair_losses(i2t, i2t, directions="i2t") + columns) / 2)


def test_captions_of_one_image_are_the_same_and_different_ones_are_not() -> None:
    assert same_meaning(["a", "b"], ["1", "2"]) is None
    same = same_meaning(["a", "b"], ["1", "1"])
    assert same is not None
    assert same.tolist() == [[False, True], [True, False]]
