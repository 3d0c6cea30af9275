"""Evidence theory, against worked examples and its own laws."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from crosscue.losses.opinions import (
    Opinion,
    degree_of_conflict,
    dempster_evidence,
    dempster_opinion,
    opinion,
)

K = 4
amounts = st.lists(st.floats(0, 50, width=32), min_size=K, max_size=K).map(
    lambda values: torch.tensor(values, dtype=torch.float64)
)
weights = st.floats(0.5, 64)


def held(belief: list[float], uncertainty: float) -> Opinion:
    return Opinion(torch.tensor(belief, dtype=torch.float64), torch.tensor(uncertainty, dtype=torch.float64))


def same(one: Opinion, other: Opinion, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(one.belief, other.belief, rtol=0, atol=tolerance)
    torch.testing.assert_close(one.uncertainty, other.uncertainty, rtol=0, atol=tolerance)


def dempster(first: Opinion, second: Opinion) -> Opinion:
    """Dempster's rule on the masses of two opinions: what both allow, made to add up to 1 again."""
    own, other = first.uncertainty[..., None], second.uncertainty[..., None]
    belief = first.belief * second.belief + first.belief * other + second.belief * own
    kept = belief.sum(-1) + first.uncertainty * second.uncertainty
    return Opinion(belief / kept[..., None], first.uncertainty * second.uncertainty / kept)


def total(one: Opinion) -> float:
    return float(one.belief.sum() + one.uncertainty)


def test_no_evidence_is_the_vacuous_opinion() -> None:
    nothing = opinion(torch.zeros(5))
    assert torch.equal(nothing.belief, torch.zeros(5))
    assert nothing.uncertainty == 1
    torch.testing.assert_close(nothing.projected, torch.full((5,), 0.2))


@given(amounts, weights, st.integers(0, K - 1))
def test_masses_add_up_and_evidence_lowers_uncertainty(evidence: Tensor, weight: float, which: int) -> None:
    one = opinion(evidence, weight)
    assert total(one) == pytest.approx(1, abs=1e-9)
    assert float(one.projected.sum()) == pytest.approx(1, abs=1e-9)
    more = evidence.clone()
    more[which] += 1
    assert opinion(more, weight).uncertainty < one.uncertainty


@given(st.lists(amounts, min_size=3, max_size=3), weights)
def test_dempster_has_an_identity_and_no_order(rows: list[Tensor], weight: float) -> None:
    fused = dempster_opinion(torch.stack(rows), weight)
    same(dempster_opinion(torch.stack(rows[::-1]), weight), fused)
    same(dempster_opinion(torch.stack([*rows, torch.zeros(K)]), weight), fused)


@given(st.lists(amounts, min_size=1, max_size=4), weights)
def test_the_closed_form_is_the_rule_applied_pair_by_pair(rows: list[Tensor], weight: float) -> None:
    folded = functools.reduce(dempster, [opinion(evidence, weight) for evidence in rows])
    same(dempster_opinion(torch.stack(rows), weight), folded)
    same(opinion(dempster_evidence(torch.stack(rows), weight), weight), folded)


@given(st.lists(amounts, min_size=2, max_size=2), weights)
def test_fusion_never_raises_uncertainty(rows: list[Tensor], weight: float) -> None:
    fused = dempster_opinion(torch.stack(rows), weight)
    assert total(fused) == pytest.approx(1, abs=1e-9)
    assert all(fused.uncertainty <= opinion(evidence, weight).uncertainty + 1e-12 for evidence in rows)


def test_worked_example_in_evidence() -> None:
    rows = torch.tensor([[8.0, 1.0, 0.0], [2.0, 4.0, 0.0]], dtype=torch.float64)
    first, second = opinion(rows[0]), opinion(rows[1])
    same(first, held([2 / 3, 1 / 12, 0], 1 / 4))
    same(second, held([2 / 9, 4 / 9, 0], 1 / 3))
    same(dempster_opinion(rows), held([23 / 37, 19 / 74, 0], 9 / 74))
    fused = dempster_evidence(rows)
    torch.testing.assert_close(fused, torch.tensor([46 / 3, 19 / 3, 0], dtype=torch.float64))
    assert 3 + float(fused.sum()) == pytest.approx(74 / 3)


@pytest.mark.parametrize("views", [2, 3, 8])
def test_large_evidence_stays_finite_in_float32(views: int) -> None:
    evidence = torch.full((views, K), math.exp(20))
    evidence[:, 1:] = 0
    fused = dempster_opinion(evidence)
    assert fused.belief.dtype == torch.float32
    assert torch.isfinite(fused.belief).all()
    assert float(fused.belief[0]) == pytest.approx(1)
    assert total(fused) == pytest.approx(1)
    assert torch.isfinite(dempster_evidence(evidence[:3])).all()
    halves = opinion(torch.full((K,), 300.0, dtype=torch.float16))
    assert halves.belief.dtype == torch.float32


@given(amounts, amounts)
def test_conflict_is_symmetric_and_needs_two_certain_sources(first: Tensor, second: Tensor) -> None:
    a, b = opinion(first), opinion(second)
    assert float(degree_of_conflict(a, b)) == pytest.approx(float(degree_of_conflict(b, a)))
    assert 0 <= float(degree_of_conflict(a, b)) <= 1
    assert float(degree_of_conflict(a, a)) == 0
    assert float(degree_of_conflict(a, opinion(torch.zeros_like(first)))) == 0


def test_certain_opposites_conflict_completely() -> None:
    assert float(degree_of_conflict(held([1, 0], 0), held([0, 1], 0))) == 1
