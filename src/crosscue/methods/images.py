"""The images that a method reads: pixels, cached features, or rows of a bank of features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crosscue.backbones import frozen
from crosscue.data.features import feature_rows
from crosscue.errors import MethodError
from crosscue.methods.registry import METHODS, method_class

if TYPE_CHECKING:
    from crosscue.backbones.frozen import Images
    from crosscue.data.pairs import Pairs
    from crosscue.methods.contract import Method


def cached_images(pairs: Pairs, method: Method[Any]) -> Images:
    """Returns the images of `pairs` behind the layers of the image tower that `method` leaves frozen.

    Raises:
        MethodError: see `check_images`.
    """
    check_images(pairs, method)
    pixels = frozen.pixel_store(pairs.images, method.backbone, source=pairs.origin)
    return frozen.cached_images(pixels, method.backbone, method.image_use.frozen_layers)


def check_images(pairs: Pairs, method: Method[Any], augmentation: str = "none") -> None:
    """Raises `MethodError` where the images are features and the method, or augmentation, reads pixels."""
    rows = feature_rows(pairs.images, pairs.origin)
    if rows and (method.image_use.frozen_layers != "pooled" or method.image_use.hidden):
        fit = [name for name in METHODS if method_class(name).image_use.frozen_layers == "pooled"]
        without = "; or this one with --options.image_prompts false" if hasattr(method.config, "image_prompts") else ""
        without += " --options.tune_projection false" * getattr(method.config, "tune_projection", False)
        raise MethodError(
            f"method '{method.name}' reads images inside the tower, and {rows[0].name} has features alone. "
            f"Methods that read features: {', '.join(fit)}{without}. E.g. crosscue adapt --method linear_probe --data {pairs.origin}"
        )
    if rows and augmentation != "none":
        raise MethodError(
            f"augmentation '{augmentation}' changes pixels, and {rows[0].name} has features alone. "
            "Add --training.augmentation none"
        )
