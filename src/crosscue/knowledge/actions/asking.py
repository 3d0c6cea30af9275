"""How a model is asked about many captions at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from crosscue.knowledge.endpoint import Endpoint


@dataclass(frozen=True)
class BatchEndpoint(Endpoint):
    """A model that answers about many captions in one reply."""

    max_tokens: int = 4000
    """Most tokens of one reply; 20 captions take up to about 3,000."""


@dataclass(frozen=True)
class Asking:
    """How captions are asked about."""

    batch: int = 20
    """Captions in one request; small models want fewer."""
    states: Literal["model", "templates"] = "model"
    """Who writes the states: the model, with a second request a batch, or templates."""
