"""Input of a training or a search, beside the options of its method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosscue.training.config import TrainingConfig

if TYPE_CHECKING:
    from crosscue.backbones.protocol import Backbone
    from crosscue.data.pairs import Pairs


@dataclass(frozen=True)
class Request:
    """Source, backbone, folder and options."""

    source: Pairs
    backbone: Backbone
    folder: Path
    training: TrainingConfig
    budget: str | None = None
    shots: int | None = None
    validation: float | bool | None = None
    precision: str = "auto"
    record: Mapping[str, Any] | None = None

    def resolved(self, method: str) -> dict[str, Any]:
        """Returns the first entries of a configuration file."""
        return {
            "method": method,
            "backbone": self.backbone.source,
            "image_size": self.backbone.pixels.size,
            "precision": self.precision,
            "shots": self.shots,
            "validation": self.validation,
            **(self.record or {"data": self.source.source}),
        }
