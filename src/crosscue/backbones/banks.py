"""Rows of feature banks in place of images, checked against the tower that reads on."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from crosscue.backbones.protocol import ImageFeatures
from crosscue.errors import BackboneError, MethodError

if TYPE_CHECKING:
    from crosscue.backbones.protocol import Backbone
    from crosscue.data.features import FeatureBank, FeatureRow


class PooledFeatures(ImageFeatures):
    """Features of which only `pooled` is known."""

    def __init__(self, pooled: Tensor) -> None:
        super().__init__(pooled, pooled[:, :0], no_patches)

    def __getattribute__(self, name: str) -> Any:
        """Raises `MethodError` for the feature before the projection, which no bank contains."""
        if name == "hidden":
            raise MethodError(
                "the method reads image features before their projection, and a bank has those behind it. "
                "Give the images themselves."
            )
        return super().__getattribute__(name)

    def to(self, device: torch.device | str) -> PooledFeatures:
        """Returns the features on another device."""
        return PooledFeatures(self.pooled.to(device))


class BankFeatures:
    """`features[indices]` -> the `PooledFeatures` of B rows."""

    def __init__(self, rows: Sequence[FeatureRow], backbone: Backbone, source: str) -> None:
        """Checks every row.

        Args:
            rows: the rows by index.
            backbone: its image tower must have made them.
            source: the source of pairs they come from, for the command in a message.

        Raises:
            BackboneError: another tower made a bank, or it is not known which, or its rows have another width.
            DataError: a row holds no usable numbers.
        """
        self.rows, self.backbone = rows, backbone
        for row in {id(row.bank): row for row in rows}.values():
            check_bank(row.bank, backbone, source, unverified=row.unverified)
        for row in rows:
            row.values()

    def __getitem__(self, indices: Sequence[int], /) -> PooledFeatures:
        """B indices -> features with (B, D)."""
        output = torch.stack([self.rows[index].values() for index in indices])
        with torch.no_grad():
            pooled = self.backbone.bridged(output.to(self.backbone.device))
        return PooledFeatures(pooled)


def check_bank(bank: FeatureBank, backbone: Backbone, source: str, *, unverified: bool) -> None:
    """Raises `BackboneError` unless the image tower of `backbone` made the rows of a bank."""
    if bank.width != backbone.embed_dim:
        raise BackboneError(
            f"{bank.path}: its rows have {bank.width} numbers, and the image tower of '{backbone.source}' makes "
            f"{backbone.embed_dim}. Give the --backbone that made them."
        )
    own, remedy = backbone.feature_checkpoint, "make them again: crosscue data embed SOURCE --out FOLDER"
    size = f"at {backbone.pixels.size} px"
    if bank.tower is None and not unverified:
        raise BackboneError(
            f"{bank.path}: {bank.path.name}.json does not name the tower of these features. If '{backbone.source}' {size} "
            f'made them, write {{"tower": "{own}"}} there; accept them as they are with --unverified '
            f"(crosscue data check {source or shlex.quote(str(bank.path))} --unverified); or {remedy}"
        )
    if bank.tower is not None and bank.tower != own:
        raise BackboneError(
            f"{bank.path}: tower {str(bank.tower)[:12]} made these features, and that of '{backbone.source}' {size} is "
            f"{own[:12]}. Give the --backbone and --image_size that made them, or {remedy}"
        )


def no_patches() -> Tensor:
    """Raises `MethodError`: of these images only pooled features are known."""
    raise MethodError(
        'only pooled features of these images are cached, and the method reads patches: its image_use must not be "pooled".'
    )
