"""Rates and weight decay of parameters: those that a method declares are those that the optimiser applies."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import nn

from crosscue.methods.contract import Learns
from crosscue.methods.registry import build
from crosscue.training.config import TrainingConfig
from crosscue.training.optimisers import optimizer
from tests.tiny import tiny_backbones

LR, DECAY = 0.1, 0.2


KINDS = {"plain": Learns(), "still": Learns(decay=False), "slow": Learns(0.5), "frozen": None}


class Three(nn.Module):
    """Three parameters of value 1: one decays, one does not, one is slow; a fourth is frozen."""

    name = "three"

    def __init__(self) -> None:
        super().__init__()
        for name in KINDS:
            self.register_parameter(name, nn.Parameter(torch.ones(2)))

    def learns(self, name: str) -> Learns | None:
        return KINDS[name]


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_only_parameters_that_decay_shrink(kind: Literal["sgd", "adamw"]) -> None:
    """With gradients of 0 a step is weight decay alone: 1 - rate x decay, and exactly 1 without."""
    method = Three()
    stepper = optimizer(method, TrainingConfig(optimizer=kind, lr=LR, weight_decay=DECAY))
    for name, parameter in method.named_parameters():
        if KINDS[name] is not None:
            parameter.grad = torch.zeros(2)
    stepper.step()
    values = {name: float(parameter[0]) for name, parameter in method.named_parameters()}
    assert values == pytest.approx({"plain": 1 - LR * DECAY, "still": 1, "slow": 1 - 0.5 * LR * DECAY, "frozen": 1})
    assert values["still"] == 1


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_rates_are_multiples_of_the_run_s(kind: Literal["sgd", "adamw"]) -> None:
    method = Three()
    stepper = optimizer(method, TrainingConfig(optimizer=kind, lr=LR, weight_decay=0.0))
    for parameter in method.parameters():
        parameter.grad = torch.full((2,), 0.3) if parameter.requires_grad else None
    stepper.step()
    moved = {name: 1 - float(parameter[0]) for name, parameter in method.named_parameters()}
    step = LR * 0.3 if kind == "sgd" else LR
    assert moved == pytest.approx({"plain": step, "still": step, "slow": step / 2, "frozen": 0}, rel=1e-4)


def test_momentum_is_that_of_the_options() -> None:
    """Two steps along one gradient: the second is 1 + momentum times the first."""
    method = Three()
    stepper = optimizer(method, TrainingConfig(lr=LR, momentum=0.35, weight_decay=0.0))
    for _ in range(2):
        for parameter in method.parameters():
            parameter.grad = torch.full((2,), 0.3) if parameter.requires_grad else None
        stepper.step()
    assert float(method.plain[0]) == pytest.approx(1 - LR * 0.3 * (1 + 1.35))


def test_norms_and_biases_of_tuned_towers_do_not_decay() -> None:
    options = {"acp": "none", "tune": "full", "weights": "none", "tower_lr_scale": 0.25}
    method = build("acke", tiny_backbones["clip"](), options)
    stepper = optimizer(method, TrainingConfig(lr=LR, weight_decay=DECAY))
    group_of = {id(member): group for group in stepper.param_groups for member in group["params"]}
    tuned = {name: p for name, p in method.named_parameters() if name.startswith("tuned.") and p.requires_grad}
    assert {p.dim() > 1 for p in tuned.values()} == {True, False}
    for name, parameter in tuned.items():
        group = group_of[id(parameter)]
        assert group["lr"] == pytest.approx(0.25 * LR), name
        assert group["weight_decay"] == (DECAY if parameter.dim() > 1 else 0), name


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dual_prompt", {"tune_projection": True}),
        ("dcar", {"tune_projection": True, "ca": False}),
        ("maple", {"tune_projection": True, "depth": 2}),
        ("acke", {"tune": "projection", "weights": "none"}),
    ],
)
def test_changes_of_the_projections_have_their_own_rate(name: str, options: dict[str, Any]) -> None:
    method = build(name, tiny_backbones["clip"](), options | {"projection_lr_scale": 0.3})
    stepper = optimizer(method, TrainingConfig(lr=LR))
    rate_of = {id(member): group["lr"] for group in stepper.param_groups for member in group["params"]}
    rates = {name: rate_of[id(p)] for name, p in method.named_parameters() if p.requires_grad}
    assert {name.split("_change.")[0] for name in rates if "_change." in name} == {"image", "text"}
    assert rates == pytest.approx({name: 0.3 * LR if "_change." in name else LR for name in rates})
