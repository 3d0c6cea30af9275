"""The square that a checkpoint reads, from the settings of its image processor as `transformers` understands them."""  # words: ok

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from crosscue.backbones.protocol import PixelSpec
from crosscue.backbones.weights import AGAIN, checkpoint_json
from crosscue.errors import BackboneError

FILE, WHOLE = "preprocessor_config.json", "processor_config.json"
"""The settings alone, and in a file of the whole processor, which transformers 5 writes."""  # words: ok
RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Number of a method of resizing in Pillow -> its name."""
CLIP: dict[str, Any] = {
    "do_center_crop": True,
    "resample": 3,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
SIGLIP: dict[str, Any] = {"do_center_crop": False, "resample": 3, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
DEFAULTS = {"Siglip": SIGLIP, "Siglip2": SIGLIP | {"resample": 2}}
"""Settings that a file may leave out, by the class of the processor; those of CLIP for every other."""  # words: ok


def pixel_spec(folder: Path, trained: int, size: int | None) -> PixelSpec:
    """Returns the square of a checkpoint.

    Args:
        folder: folder of the checkpoint.
        trained: side in pixels that the image tower was trained with.
        size: another side of the input; a margin that is cropped away grows with it.

    Raises:
        BackboneError: there are no settings, or a setting that would need another computation.
    """
    name, given = settings(folder)
    where = folder / name
    kind = str(given.get("image_processor_type") or given.get("feature_extractor_type") or "")  # words: ok
    default = DEFAULTS.get(kind.partition("Image")[0], CLIP)
    values = default | {name: value for name, value in given.items() if value is not None}
    wanted = size or trained
    if not values.get("do_resize", True):
        raise BackboneError(f"{where}: do_resize is false, and images have many sizes. Set it to true.")
    if values["resample"] not in RESAMPLE:
        raise BackboneError(f"{where}: resample is {values['resample']!r}; it must be one of 0 to 5.")
    asked = values.get("size", trained)
    squashed = not values["do_center_crop"] or (isinstance(asked, dict) and "height" in asked)
    resize = side(where, "size", asked, shortest=not squashed)
    cropped = side(where, "crop_size", values.get("crop_size", trained)) if values["do_center_crop"] else resize
    if cropped != trained or resize < cropped or (squashed and resize != cropped):
        raise BackboneError(
            f"{where}: images become {cropped} px (size {resize}), and the image tower reads {trained}. {AGAIN}"
        )
    mean, std = normalisation(where, values)
    return PixelSpec(
        size=wanted,
        mean=mean,
        std=std,
        resample=RESAMPLE[values["resample"]],
        crop=not squashed,
        margin=resize / cropped,
    )


def settings(folder: Path) -> tuple[str, dict[str, Any]]:
    """Returns the settings of the image processor and the file that holds them."""  # words: ok
    if not (folder / FILE).exists() and (folder / WHOLE).exists():
        inner = checkpoint_json(folder, WHOLE).get("image_processor")  # words: ok
        if isinstance(inner, dict):
            return WHOLE, inner
    return FILE, checkpoint_json(folder, FILE)


def side(where: Path, name: str, value: Any, *, shortest: bool = False) -> int:
    """Returns the side of a square, or with `shortest` the length of the short side.

    Raises:
        BackboneError: the setting is neither.
    """
    sides = list(value.values()) if isinstance(value, dict) else [value]
    names = {"shortest_edge"} if shortest else {"height", "width"}
    if (isinstance(value, dict) and set(value) != names) or len(set(sides)) != 1 or type(sides[0]) is not int:
        raise BackboneError(f"{where}: {name} is {value!r}; it must have {' and '.join(sorted(names))} of one number.")
    return int(sides[0])


def normalisation(where: Path, values: dict[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and standard deviation of pixels between 0 and 1, as the settings of scale and norm amount to.

    The settings compute (v * factor - mean) / std from a byte v; with v = 255 x, that is (x - mean / s) / (std / s)
    for s = 255 * factor.
    """
    factor = values.get("rescale_factor", 1 / 255) if values.get("do_rescale", True) else 1.0
    if not isinstance(factor, int | float) or not 0 < factor < math.inf:
        raise BackboneError(f"{where}: rescale_factor is {factor!r}; it must be a number above 0. {AGAIN}")
    mean, std = (
        ([0.0] * 3, [1.0] * 3) if not values.get("do_normalize", True) else (values["image_mean"], values["image_std"])
    )
    mean, std = ([part] * 3 if isinstance(part, int | float) else part for part in (mean, std))
    numbers = [*mean, *std] if isinstance(mean, list) and isinstance(std, list) else []
    if len(numbers) != 6 or not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers) or 0 in std:
        raise BackboneError(
            f"{where}: image_mean is {mean!r} and image_std {std!r}; each must be three numbers. {AGAIN}"
        )
    scale = 1.0 if factor == 1 / 255 else 255 * factor
    return tuple(n / scale for n in mean), tuple(n / scale for n in std)
