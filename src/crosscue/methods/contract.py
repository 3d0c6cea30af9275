"""The contract every method keeps. A method is one file; the loop, the evaluation and the search know only this."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, TypeVar, final

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from crosscue.backbones.protocol import ImageFeatures, ImageState
from crosscue.errors import RunError
from crosscue.methods.capabilities import require_text_mode

if TYPE_CHECKING:
    from crosscue.backbones.protocol import Backbone, ImageInput
    from crosscue.data.pairs import Negative

Config = TypeVar("Config")


@dataclass(frozen=True)
class Learns:
    """Options of the optimiser for one parameter."""

    lr: float = 1.0
    """Multiple of the run's learning rate."""
    decay: bool = True
    """True if weight decay applies."""


@dataclass(frozen=True)
class ImageUse:
    """Part of the image tower that a method leaves frozen; what comes out of it is computed once and cached."""

    frozen_layers: int | Literal["pooled"] = 0
    """Number of first layers that no parameter changes. `pooled`: the method reads nothing but the untouched tower's pooled features."""
    untouched: bool = False
    """True if training steps also need the features of the untouched tower (`Batch.untouched`)."""
    hidden: bool = False
    """True if features before the last projection are read too, which a bank of features lacks."""

    def layers(self, backbone: Backbone) -> int:
        """Returns the number of frozen layers: with `pooled` all of them."""
        return backbone.image_layers if self.frozen_layers == "pooled" else self.frozen_layers


@dataclass(frozen=True)
class Batch:
    """Input of one training step: B different images with one caption each."""

    images: ImageInput
    """(B, 3, S, S) uint8 pixels, or the cached state or features of the layers the method leaves frozen."""
    captions: Sequence[str]
    image_ids: Sequence[str]
    categories: Sequence[str | None] = ()
    negatives: Sequence[Sequence[Negative]] = field(default=())
    synthetic: Sequence[str | None] = ()
    """Texts of a model about each image, if the source has them."""
    untouched: ImageFeatures | None = None
    """(B, D) and (B, W) features of the untouched image tower, for methods that need them (`ImageUse.untouched`); None with augmentation."""

    def __len__(self) -> int:
        return len(self.captions)

    @torch.no_grad()
    def untouched_features(self, backbone: Backbone) -> ImageFeatures:
        """Returns `untouched`; without them, the features that the untouched tower computes from the images."""
        return self.untouched if self.untouched is not None else backbone.encode_image(self.images)


class Method(nn.Module, Generic[Config]):
    """A way of adapting a frozen backbone. `self.backbone` holds the pre-trained towers and is never changed.

    Embeddings are computed from one modality alone, so no score can know the pairing. The untouched embeddings, (B, D), are
    `backbone.encode_image(images).pooled` and `backbone.encode_text(backbone.tokenize(texts)).pooled`, and D is
    `backbone.embed_dim`. New parameters belong on `backbone.device`.
    """

    name: ClassVar[str]
    """Name of the method for `crosscue adapt --method`."""
    summary: ClassVar[str]
    """One line for `crosscue methods`."""
    paper: ClassVar[str] = ""
    config_class: ClassVar[type[Any]]
    image_use: ImageUse = ImageUse()
    """Part of the image tower that stays frozen; set it in `__init__` if it depends on the options."""

    def __init__(self, backbone: Backbone, config: Config) -> None:
        super().__init__()
        self.backbone = backbone
        self.config = config
        backbone.requires_grad_(False)
        backbone.eval()

    def train(self, mode: bool = True) -> Self:
        """Sets training mode for the learned modules; the frozen towers always stay in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    @abstractmethod
    def image_features(self, images: ImageInput) -> Tensor:
        """(B, 3, S, S), a cached state or cached features -> (B, D), not normalised."""

    @abstractmethod
    def text_features(self, texts: Sequence[str], mode: str = "plain") -> Tensor:
        """B texts of similar length -> (B, D), not normalised; `mode` is one of `capabilities.text_modes`."""

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Returns scalars; keys that end in ``_loss`` are summed for the gradient, all keys are logged."""

    @final
    def encode_image(self, images: ImageInput) -> Tensor:
        """Images -> (B, D) unit vectors, float32.

        Raises:
            ValueError: cached images have passed through layers that the method changes.
        """
        passed = images.layer if isinstance(images, ImageState) else 0
        pooled = self.image_use.frozen_layers == "pooled"
        if passed > self.image_use.layers(self.backbone) or (isinstance(images, ImageFeatures) and not pooled):
            raise ValueError(f"cached states or features bypass image layers that method '{self.name}' changes")
        return normalize(self.image_features(images).float(), dim=-1)

    @final
    def encode_text(self, texts: Sequence[str], mode: str = "plain") -> Tensor:
        """Texts -> (B, D) unit vectors, float32.

        Raises:
            MethodError: the method has no such text mode.
        """
        require_text_mode(self, mode)
        return normalize(self.text_features(texts, mode).float(), dim=-1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Same as `losses`; lets data-parallel wrappers see the step."""
        return self.losses(batch)

    def learns(self, name: str) -> Learns | None:
        """Returns how the parameter `name` (as in `named_parameters`) learns; None if it is frozen and not saved."""
        return None if name.startswith("backbone.") else Learns()

    def extra_state(self) -> dict[str, Tensor]:
        """Returns tensors by name that are not parameters and are saved beside them, e.g. running means."""
        return {}

    @final
    def learned_state(self) -> dict[str, Tensor]:
        """Returns all that a run saves, by name: the parameters that learn and the extra state."""
        learned = {name: tensor.detach() for name, tensor in self.named_parameters() if self.learns(name) is not None}
        return learned | self.extra_state()

    def load_learned_state(self, state: dict[str, Tensor]) -> None:
        """Copies tensors that `learned_state` returned into the method.

        Raises:
            RunError: a tensor is missing, unknown, or has another shape.
        """
        own = self.learned_state()
        if own.keys() != state.keys():
            raise RunError(
                f"these are not the tensors of method '{self.name}': missing {sorted(own.keys() - state.keys())}, "
                f"unexpected {sorted(state.keys() - own.keys())}. Load them with the method and options they were saved by."
            )
        for name, tensor in state.items():
            if own[name].shape != tensor.shape:
                raise RunError(
                    f"{name} has shape {tuple(tensor.shape)} in the file and {tuple(own[name].shape)} in the method: "
                    "the run was made with other options or another backbone."
                )
            own[name].copy_(tensor)
