"""Evidence from cosines, evidential losses, the hinge and PAU's scores, against worked examples."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Dirichlet, kl_divergence

from crosscue.losses.evidential import annealed, background, evidential_loss, retrieval_evidence
from crosscue.losses.hardest import hardest_hinge
from crosscue.losses.opinions import opinion
from crosscue.losses.prototypes import (
    above_zero,
    ambiguity_weight,
    prototype_overlap,
    total_belief,
    uncertainty_alignment,
)

SIMILAR = torch.tensor([[0.9, 0.8], [0.3, 0.5]])


def test_the_loss_of_knowing_nothing() -> None:
    nothing, right = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])
    assert float(evidential_loss(nothing, right)) == pytest.approx(0.5 + 2 * 0.25 / 3)
    assert float(evidential_loss(nothing, right, kl_weight=1.0)) == pytest.approx(0.5 + 2 * 0.25 / 3)
    expected = torch.digamma(torch.tensor(2.0)) - torch.digamma(torch.tensor(1.0))
    assert float(evidential_loss(nothing, right, fit="digamma")) == pytest.approx(float(expected))


def test_right_evidence_lowers_the_loss_and_wrong_evidence_raises_it() -> None:
    target = torch.eye(3)[:1]
    nothing, right, wrong = (torch.tensor([row]) for row in ([0.0, 0, 0], [9.0, 0, 0], [0.0, 9, 0]))
    for fit in ("mse", "digamma"):
        losses = [float(evidential_loss(e, target, kl_weight=0.5, fit=fit)) for e in (right, nothing, wrong)]
        assert losses == sorted(losses)
    expected = torch.digamma(torch.tensor(12.0)) - torch.digamma(
        torch.tensor(1.0)
    )  # S = 12, alpha of the right one is 1
    assert float(evidential_loss(wrong, target, fit="digamma")) == pytest.approx(float(expected), rel=1e-5)
    only_kl = evidential_loss(wrong, target, kl_weight=1.0) - evidential_loss(wrong, target)
    by_hand = kl_divergence(Dirichlet(torch.tensor([1.0, 10.0, 1.0])), Dirichlet(torch.ones(3)))
    assert float(only_kl) == pytest.approx(float(by_hand), rel=1e-5)
    assert float(evidential_loss(right, target, kl_weight=1.0)) == pytest.approx(float(evidential_loss(right, target)))


def test_the_prior_weight_says_how_much_evidence_convinces() -> None:
    evidence, target = torch.tensor([[4.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    easy, hard = (float(evidential_loss(evidence, target, prior_weight=w)) for w in (1.0, 100.0))
    assert easy < hard


def test_annealing() -> None:
    assert [annealed(step, 10) for step in (0, 5, 10, 99)] == [0, 0.5, 1, 1]
    assert annealed(0, 0) == 1


def test_the_background_leaves_out_matches() -> None:
    cosines, known = torch.tensor([[0.9, 0.1, 0.3]]), torch.tensor([[True, False, False]])
    mean, spread = background(cosines, known)
    assert float(mean) == pytest.approx(0.2)
    assert float(spread) == pytest.approx(0.1)


def test_evidence_begins_above_the_background() -> None:
    generator = torch.Generator().manual_seed(0)
    cosines = 0.18 + 0.03 * torch.randn(64, 64, generator=generator)
    known = torch.eye(64, dtype=torch.bool)
    informative = cosines.clone()
    informative.diagonal().add_(0.13)
    for margin in (None, 0.06):
        informed = opinion(retrieval_evidence(informative, 100.0, margin, known=known))
        uninformed = opinion(retrieval_evidence(cosines, 100.0, margin, known=known))
        assert informed.uncertainty.mean() < 0.5 < 0.75 < uninformed.uncertainty.mean()
        assert informed.belief.diagonal().mean() > 0.4
        assert informed.uncertainty.std() > 0.05, "not the same for every text"


def test_evidence_is_finite_excluded_where_requested_and_has_a_gradient_where_smooth() -> None:
    cosines = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float16, requires_grad=True)
    excluded = torch.tensor([[False, True], [False, False]])
    evidence = retrieval_evidence(
        cosines, 100.0, 0.0, known=torch.eye(2, dtype=torch.bool) | excluded, excluded=excluded
    )
    assert evidence.dtype == torch.float32
    assert float(evidence.detach().max()) == pytest.approx(math.expm1(10))
    assert evidence[0, 1] == 0
    smooth = retrieval_evidence(cosines, 100.0, 2.5, smooth=True)
    smooth.sum().backward()
    assert torch.isfinite(cosines.grad).all()


def test_the_hinge_by_hand() -> None:
    rows, columns = hardest_hinge(SIMILAR, 0.2)
    torch.testing.assert_close(rows, torch.tensor([0.1, 0.0]))
    torch.testing.assert_close(columns, torch.tensor([0.0, 0.5]))
    weights = torch.tensor([0.5, 1.0])
    assert float((weights * (rows + columns)).sum()) == pytest.approx(0.55)
    masked = torch.tensor([[False, True], [False, False]])
    rows, columns = hardest_hinge(SIMILAR, 0.2, masked)
    assert float(rows.sum() + columns.sum()) == 0


def test_ignorance_counts_as_certain_in_pau() -> None:
    belief = total_belief(torch.zeros(1, 4))
    assert float(belief) == 0.5
    assert float(ambiguity_weight(belief)) == pytest.approx(0.606531, abs=1e-6)
    nothing, everything = total_belief(torch.full((1, 4), -1e9)), total_belief(torch.full((1, 4), 1e9))
    assert float(ambiguity_weight(nothing)) == 1
    assert float(ambiguity_weight(everything)) == pytest.approx(0.367879, abs=1e-6)


def test_alignment_and_overlap_by_hand() -> None:
    loss = uncertainty_alignment(torch.tensor([0.6, 0.4]), SIMILAR)
    assert float(loss) == pytest.approx(0.016198, abs=1e-5)
    assert float(prototype_overlap(torch.tensor([[100.0, 20.0], [20.0, 100.0]]))) == 200


def test_alignment_is_bounded_in_a_centred_space() -> None:
    """Cosines of unrelated unit vectors have mean 0; (1 + cos) / 2 keeps c and the loss small, as PAU means them."""
    belief = torch.linspace(0.1, 0.9, 16)
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        points = torch.randn(16, 8, generator=generator)
        points = torch.nn.functional.normalize(points - points.mean(0), dim=-1)
        cosines = points @ points.T
        assert (cosines < 0).float().mean() > 0.3
        similarities = above_zero(cosines)
        loss = uncertainty_alignment(belief, similarities)
        negatives = (similarities.sum(1) - similarities.diagonal()) / 16
        torch.testing.assert_close(loss, (belief - belief.mean() / negatives.mean() * negatives).square().mean())
        assert 0 < float(loss) < 0.15


def test_shifted_cosines_by_hand() -> None:
    torch.testing.assert_close(above_zero(torch.tensor([-1.0, -0.5, 0.0, 1.0])), torch.tensor([0.0, 0.25, 0.5, 1.0]))
    loss = uncertainty_alignment(torch.tensor([0.6, 0.4]), above_zero(torch.tensor([[0.9, -0.2], [-0.6, 0.5]])))
    y, c = (0.2, 0.1), 0.5 / 0.15  # (1 - .2) / 2 / 2, (1 - .6) / 2 / 2
    assert float(loss) == pytest.approx(((0.6 - c * y[0]) ** 2 + (0.4 - c * y[1]) ** 2) / 2, rel=1e-5)
