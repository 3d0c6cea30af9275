"""Estimated steps: their FLOPs are those that torch counts in the steps of a run, and their bytes those of the graph."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from crosscue.backbones.rows import Rows, divided
from crosscue.data.batches import Batches
from crosscue.data.pairs import Negative, Pairs
from crosscue.data.sources import read_pairs
from crosscue.methods.capabilities import studied
from crosscue.methods.contract import Method
from crosscue.methods.registry import build
from crosscue.planning.samples import Sample
from crosscue.planning.steps import Step, enlarged, steps
from crosscue.training.config import TrainingConfig
from crosscue.training.feed import training_feed
from tests.images import write_source
from tests.tiny import tiny_backbones

METHODS = {
    "dual_prompt": {"context_tokens": 2},
    "dcar": {"context_tokens": 2, "category_width": 16},
    "acke": {"pool_size": 6, "top_k": 2, "projector_width": 16},
    "filip": {"context_tokens": 2},
}
BATCH = 24


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    """Pairs with captions of many lengths, each with one negative."""
    pairs = read_pairs(write_source(tmp_path_factory.mktemp("plan") / "images", train=BATCH)).split("train")

    def longer(number: int, text: str) -> str:
        return f"{text[: 6 + number % 7]} {'x' * (number % 5)}"

    return pairs.part(
        replace(pair, captions=(longer(number, pair.captions[0]),), negatives=(Negative(f"no {number}"),))
        for number, pair in enumerate(pairs)
    )


@contextmanager
def built(name: str, family: str, train: Pairs) -> Iterator[Method[Any]]:
    """Yields a method in training mode, with its knowledge."""
    torch.manual_seed(1)
    method = build(name, tiny_backbones[family](), METHODS[name])
    with studied(method, train, train.captions):
        yield method.train()


def measured(method: Method[Any], train: Pairs, batch_size: int, **training: Any) -> list[Step]:
    """Returns the steps of an estimate up to a batch, with the pairs in the order of the first batch of a run."""
    first = Batches(train, BATCH, TrainingConfig().seed).step(0, 0)
    sample = Sample(train.part(train[index] for index, _ in first), method)
    options = TrainingConfig(batch_size=batch_size, **training)
    return steps(method, lambda rows: sample.batch(rows, [0] * rows), options, seconds=60)


def counted(method: Method[Any], train: Pairs, rows: Rows | None = None) -> float:
    """Returns the FLOPs of the first step of a run, counted by torch."""
    batch = training_feed(method, train, TrainingConfig(batch_size=BATCH)).batch(0, 0)
    with FlopCounterMode(display=False) as counter, divided(method, rows or Rows()):
        losses = method(batch)
        sum((value for key, value in losses.items() if key.endswith("_loss")), start=torch.zeros(())).backward()
    return float(counter.get_total_flops())


@pytest.mark.parametrize("family", ["clip", "dual"])
@pytest.mark.parametrize("name", METHODS)
def test_the_flops_of_a_batch_are_those_that_torch_counts(name: str, family: str, train: Pairs) -> None:
    with built(name, family, train) as method:
        expected = counted(method, train)
        found = measured(method, train, BATCH)
        assert [step.rows for step in found] == [4, 8, 16, BATCH]
        # dcar draws which weights are dropped, and acke chooses prompts by parameters that the estimate has trained
        drawn = {"dcar": 0.04, "acke": 0.04}.get(name, 0.0)
        assert found[-1].flops == pytest.approx(expected, rel=drawn)
        assert enlarged(found[:3], BATCH).flops == pytest.approx(expected, rel=0.2 if drawn else 0.08)


def test_the_bytes_of_a_step_are_those_of_its_graph(train: Pairs) -> None:
    with built("dual_prompt", "clip", train) as method:
        found = measured(method, train, 16)
        assert found[-1].kept == pytest.approx(4 * found[0].kept, rel=0.3)
        layer = 4 * 16 * method.backbone.image_width * (method.backbone.patch_count + 3)  # one tensor of one layer
        assert found[-1].kept > 9 * layer * method.backbone.image_layers
        chunked = measured(method, train, 16, rows_at_once=4)
        assert chunked[-1].kept < 0.2 * found[-1].kept and chunked[-1].flops > 1.2 * found[-1].flops


def test_a_step_grows_along_the_last_two() -> None:
    small, large = Step(8, 100.0, 1.0, 1.0, 50.0), Step(16, 180.0, 1.5, 1.2, 100.0)
    found = enlarged([small, large], 32)
    assert (found.rows, found.flops, found.kept) == (32, 340.0, 200.0)
    assert found.seconds == pytest.approx(1.5 * 340 / 180) and found.rate == pytest.approx(large.rate)
    assert enlarged([large], 32).flops == 360.0 and enlarged([small, large], 16) is large
