"""InfoNCE by hand."""

from __future__ import annotations

import math

import pytest
import torch

from crosscue.losses.contrastive import contrastive, same_meaning

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


def test_captions_of_one_picture_are_the_same_and_different_ones_are_not() -> None:
    assert same_meaning(["a", "b"], ["1", "2"]) is None
    same = same_meaning(["a", "b"], ["1", "1"])
    assert same is not None
    assert same.tolist() == [[False, True], [True, False]]
