"""The layers of a tower that a method changes."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from crosscue.errors import MethodError

if TYPE_CHECKING:
    from crosscue.backbones.protocol import Backbone

BEFORE = re.compile(r"embedding|pre_layrnorm")
"""Names of the parts before the first layer; `pre_layrnorm` is how transformers spells it."""
NUMBER = re.compile(r"\.layers?\.(\d+)\.")


def layer_of(name: str) -> float:
    """Returns the layer that a dotted name of a parameter belongs to: -1 before the layers, infinity behind them."""
    if number := NUMBER.search(name):
        return int(number[1])
    return -1 if BEFORE.search(name) else math.inf


def check_start_layers(backbone: Backbone, text: int, image: int) -> None:
    """Raises `MethodError` where one of the towers does not have the first changed layer."""
    check_start_layer("text", text, backbone.text_layers)
    check_start_layer("image", image, backbone.image_layers)


def check_start_layer(tower: str, start: int, layers: int) -> None:
    """Raises `MethodError` where a tower of so many layers does not have the first changed one."""
    if not 0 <= start < layers:
        raise MethodError(f"{tower}_start_layer is {start}; the {tower} tower has layers 0 to {layers - 1}.")
