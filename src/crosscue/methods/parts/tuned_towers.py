"""A copy of a backbone whose weights learn: full fine-tuning, while the shared backbone stays as it is."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Self

from crosscue.methods.contract import Config, Learns, Method

if TYPE_CHECKING:
    from crosscue.backbones.protocol import Backbone

TEMPERATURES = ("scale", "bias", "image.bridge.log_scale", "text.bridge.log_scale")
"""Parameters of a backbone that only multiply or shift scores; methods read the temperature of the shared backbone."""


def tuned_copy(backbone: Backbone) -> Backbone:
    """Returns a float32 copy of `backbone` through which gradients reach every weight of both towers.

    A method keeps it as a submodule, e.g. `self.towers`, encodes with it instead of `self.backbone`, and trains
    the parameters of `is_tuned`. The tokenizer is shared.
    """
    copy = deepcopy(backbone, {id(part): part for part in (getattr(backbone, "tokenizer", None),) if part is not None})
    copy.float()
    for name, parameter in copy.named_parameters():
        parameter.requires_grad_(is_tuned(name))
    return copy.eval()


def is_tuned(name: str) -> bool:
    """Returns true if the parameter `name` of a tuned copy is trained: all but the temperature."""
    return name not in TEMPERATURES


class WithTunedTowers(Method[Config]):
    """A method that may encode with a tuned copy of the backbone, `tuned`; None where the shared one stays as it is."""

    tuned: Backbone | None

    def train(self, mode: bool = True) -> Self:
        """Sets training mode for the learned modules; towers, tuned ones too, stay without dropout."""
        super().train(mode)
        if self.tuned is not None:
            self.tuned.eval()
        return self

    def learns(self, name: str) -> Learns | None:
        """All weights of the tuned copy learn but its temperature."""
        frozen = name.startswith("tuned.") and not is_tuned(name.removeprefix("tuned."))
        return None if frozen else super().learns(name)
