"""Evidence theory, against worked examples and its own laws."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from crosscue.losses.opinions import (
    Opinion,
    averaging,
    conflict_mass,
    cumulative,
    degree_of_conflict,
    dempster,
    dempster_evidence,
    dempster_fold,
    dempster_opinion,
    discount,
    evidence_of,
    opinion,
    vacuous,
    yager,
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
    torch.testing.assert_close(evidence_of(one, weight), evidence, rtol=1e-9, atol=1e-9)


@given(amounts, amounts, amounts, weights)
def test_dempster_has_an_identity_and_no_order(first: Tensor, second: Tensor, third: Tensor, weight: float) -> None:
    a, b, c = (opinion(evidence, weight) for evidence in (first, second, third))
    same(dempster(a, vacuous(first)), a)
    same(dempster(a, b), dempster(b, a))
    same(dempster(dempster(a, b), c), dempster(a, dempster(b, c)))


@given(st.lists(amounts, min_size=1, max_size=4), weights)
def test_the_closed_form_is_the_fold(rows: list[Tensor], weight: float) -> None:
    folded = dempster_fold([opinion(evidence, weight) for evidence in rows])
    same(dempster_opinion(torch.stack(rows), weight), folded)
    same(opinion(dempster_evidence(torch.stack(rows), weight), weight), folded)


@given(amounts, amounts, weights)
def test_dempster_never_raises_uncertainty_and_yager_keeps_the_conflict(
    first: Tensor, second: Tensor, weight: float
) -> None:
    a, b = opinion(first, weight), opinion(second, weight)
    fused = dempster(a, b)
    assert fused.uncertainty <= min(a.uncertainty, b.uncertainty) + 1e-12
    other = yager(a, b)
    assert total(fused) == pytest.approx(1, abs=1e-9)
    assert total(other) == pytest.approx(1, abs=1e-9)
    assert float(other.uncertainty) == pytest.approx(float(a.uncertainty * b.uncertainty + conflict_mass(a, b)))


def test_worked_example_in_masses() -> None:
    first, second = held([0.6, 0.2], 0.2), held([0.1, 0.5], 0.4)
    assert float(conflict_mass(first, second)) == pytest.approx(0.32)
    same(dempster(first, second), held([8 / 17, 7 / 17], 2 / 17))


def test_worked_example_in_evidence() -> None:
    rows = torch.tensor([[8.0, 1.0, 0.0], [2.0, 4.0, 0.0]], dtype=torch.float64)
    first, second = opinion(rows[0]), opinion(rows[1])
    same(first, held([2 / 3, 1 / 12, 0], 1 / 4))
    same(second, held([2 / 9, 4 / 9, 0], 1 / 3))
    assert float(conflict_mass(first, second)) == pytest.approx(17 / 54)
    same(dempster(first, second), held([23 / 37, 19 / 74, 0], 9 / 74))
    fused = dempster_evidence(rows)
    torch.testing.assert_close(fused, torch.tensor([46 / 3, 19 / 3, 0], dtype=torch.float64))
    assert 3 + float(fused.sum()) == pytest.approx(74 / 3)


def test_zadeh_and_total_contradiction() -> None:
    first, second = held([0.99, 0.01, 0], 0), held([0, 0.01, 0.99], 0)
    assert float(conflict_mass(first, second)) == pytest.approx(0.9999)
    same(dempster(first, second), held([0, 1, 0], 0))
    same(yager(first, second), held([0, 0.0001, 0], 0.9999))
    same(dempster(held([1, 0], 0), held([0, 1], 0)), held([0, 0], 1))
    leaf = torch.tensor([1.0, 0.0], requires_grad=True)
    fused = dempster(Opinion(leaf, torch.tensor(0.0)), Opinion(torch.tensor([0.0, 1.0]), torch.tensor(0.0)))
    fused.belief.sum().backward()
    assert torch.isfinite(leaf.grad).all()


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
    assert float(degree_of_conflict(a, vacuous(first))) == 0


def test_certain_opposites_conflict_completely() -> None:
    assert float(degree_of_conflict(held([1, 0], 0), held([0, 1], 0))) == 1


@given(amounts, st.floats(0, 1))
@settings(max_examples=50)
def test_discounting_moves_belief_to_uncertainty(evidence: Tensor, trust: float) -> None:
    one = opinion(evidence)
    less = discount(one, trust)
    assert total(less) == pytest.approx(1)
    torch.testing.assert_close(less.belief, trust * one.belief)
    same(discount(one, 0.0), vacuous(evidence))
    same(discount(one, 1.0), one)


@pytest.mark.parametrize(("fuse", "expected"), [(cumulative, [4.0, 2.0]), (averaging, [2.0, 1.0])])
def test_sums_and_means(fuse: Callable[[Tensor], Tensor], expected: list[float]) -> None:
    assert fuse(torch.tensor([[3.0, 0.0], [1.0, 2.0]])).tolist() == expected
