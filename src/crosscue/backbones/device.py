"""The device that a backbone computes on."""

from __future__ import annotations

import torch

from crosscue.errors import BackboneError

KINDS = ("cpu", "cuda", "mps", "xpu")
"""Kinds of devices that compute; PyTorch has others, which do not."""


def usable_device(device: str | torch.device | None) -> torch.device:
    """Returns a device; by default the GPU where there is one.

    Raises:
        BackboneError: there is no such device on this machine.
    """
    try:
        place = torch.device(device if device is not None else "cuda" if torch.cuda.is_available() else "cpu")
    except (RuntimeError, TypeError) as error:
        raise BackboneError(f"there is no device {device!r}. Give cpu, cuda, or cuda:1 for the second GPU.") from error
    if place.type not in KINDS:
        raise BackboneError(f"device {device!r} does not compute. Give cpu, cuda, or cuda:1 for the second GPU.")
    if place.type == "cpu":
        return place
    module = torch.get_device_module(place)
    if not module.is_available():
        raise BackboneError(f"device is {device}, and PyTorch finds no GPU on this machine. Leave --device out.")
    if (place.index or 0) >= module.device_count():
        raise BackboneError(f"device is {device}, and this machine has {module.device_count()}. They count from 0.")
    return place
