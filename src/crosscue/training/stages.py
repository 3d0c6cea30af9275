"""Stages of a run: a pure function of the epoch, so that a resumed run continues in the same stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crosscue.errors import TrainingError
from crosscue.methods.capabilities import Stage, TrainsInStages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosscue.methods.contract import Method


@dataclass(frozen=True)
class Span:
    """A stage and the epochs it covers."""

    stage: Stage
    start: int
    """Its first epoch."""
    epochs: int


def stages_of(method: Method[Any]) -> tuple[Stage, ...]:
    """Returns the parts of a training run: one, unless the method trains in stages."""
    return method.stages if isinstance(method, TrainsInStages) else (Stage("training"),)


class Plan:
    """The stages of a method laid over the epochs of a run."""

    def __init__(self, stages: Sequence[Stage], epochs: int) -> None:
        """Assigns the epochs to the stages in order.

        Raises:
            TrainingError: a stage would get no epoch.
        """
        rest = epochs - sum(stage.epochs or 0 for stage in stages)
        lengths = [rest if stage.epochs is None else stage.epochs for stage in stages]
        if min(lengths) < 1 or sum(lengths) != epochs:
            needed = ", ".join(f"{stage.name} {stage.epochs or 'the rest'}" for stage in stages)
            raise TrainingError(
                f"training.epochs is {epochs} and the stages need: {needed}. Give every stage at least one epoch."
            )
        starts = [sum(lengths[:index]) for index in range(len(lengths))]
        self.spans = [Span(*span) for span in zip(stages, starts, lengths, strict=True)]

    def span(self, epoch: int) -> Span:
        """Returns the stage that an epoch belongs to; after the end, the last."""
        return next(span for span in reversed(self.spans) if span.start <= epoch)

    def opens(self, epoch: int) -> bool:
        """Returns True for the first epoch of a stage."""
        return self.span(epoch).start == epoch

    def last(self, epoch: int) -> bool:
        """Returns True for an epoch of the last stage."""
        return self.span(epoch) is self.spans[-1]

    def enter(self, method: Method[Any], epoch: int) -> None:
        """Sets the stage of the method, and requires gradients of the parameters that train in it."""
        span = self.span(epoch)
        if isinstance(method, TrainsInStages):
            method.enter(span.stage.name, epoch - span.start)
        for name, parameter in method.named_parameters():
            if method.learns(name) is not None:
                parameter.requires_grad_(span.stage.trains(name))
