"""Which learned tensor is stepped, by which optimiser, at which rate."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from crosscue.errors import TrainingError
from crosscue.methods.contract import Learns

if TYPE_CHECKING:
    from crosscue.methods.contract import Method
    from crosscue.training.config import TrainingConfig


def select_trainable(method: Method[Any]) -> list[tuple[str, nn.Parameter]]:
    """Sets `requires_grad` of every parameter as the method decides, and returns the trainable ones by name.

    Raises:
        TrainingError: the method has nothing to train.
    """
    chosen = []
    for name, parameter in method.named_parameters():
        parameter.requires_grad_(method.learns(name) is not None)
        if parameter.requires_grad:
            chosen.append((name, parameter))
    if not chosen:
        raise TrainingError(f"method '{method.name}' has nothing to train. Evaluate it, or adapt with another method.")
    return chosen


def optimizer(method: Method[Any], config: TrainingConfig) -> Optimizer:
    """Returns the optimiser over the trainable parameters, one group per learning-rate scale and kind of weight decay."""
    groups: dict[Learns, list[nn.Parameter]] = defaultdict(list)
    for name, parameter in select_trainable(method):
        groups[method.learns(name) or Learns()].append(parameter)
    parameters = [
        {"params": members, "lr": config.lr * learns.lr, "weight_decay": config.weight_decay if learns.decay else 0.0}
        for learns, members in groups.items()
    ]
    if config.optimizer == "sgd":
        return SGD(parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
    return AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay)
