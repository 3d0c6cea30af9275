"""The contract every method keeps. A method is one file; the loop, the evaluation and the search know only this."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

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
class Batch:
    """What one training step sees: B different pictures with one caption each."""

    images: ImageInput
    """(B, 3, S, S) uint8 pixels, or the cached state or features of the layers the method leaves frozen."""
    captions: Sequence[str]
    image_ids: Sequence[str]
    categories: Sequence[str | None] = ()
    negatives: Sequence[Sequence[Negative]] = field(default=())
    synthetic: Sequence[str | None] = ()
    """What a model wrote about each picture, where the source has it."""
    untouched: ImageFeatures | None = None
    """What the untouched image tower makes of the pictures, (B, D) and (B, W), for methods that ask for it (`reads_untouched_images`);
    None where pictures look different each time."""

    def __len__(self) -> int:
        return len(self.captions)


class Method(nn.Module, Generic[Config]):
    """A way of adapting a frozen backbone. `self.backbone` holds the pre-trained towers and is never changed.

    Embeddings are computed from one modality alone, so no score can know the pairing.
    """

    name: ClassVar[str]
    """How the user asks for it."""
    summary: ClassVar[str]
    """One sentence for `crosscue methods`."""
    paper: ClassVar[str] = ""
    config_class: ClassVar[type[Any]]

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

    def encode_image(self, images: ImageInput) -> Tensor:
        """Pictures -> (B, D) unit vectors, float32.

        Raises:
            ValueError: cached pictures have passed through layers that the method changes.
        """
        passed = images.layer if isinstance(images, ImageState) else 0
        if passed > self.frozen_image_layers or (isinstance(images, ImageFeatures) and not self.image_tower_frozen):
            raise ValueError(f"cached states or features bypass image layers that method '{self.name}' changes")
        return normalize(self.image_features(images).float(), dim=-1)

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

    def trainable(self, name: str) -> bool:
        """Says whether the parameter `name` (as in `named_parameters`) gets gradients *and* is saved."""
        return not name.startswith("backbone.")

    def learning_rate_scale(self, name: str) -> float:
        """Multiplier of the learning rate for the trainable parameter `name`."""
        return 1.0

    def decays(self, name: str) -> bool:
        """Says whether weight decay applies to the trainable parameter `name`."""
        return True

    def learned_state(self) -> dict[str, Tensor]:
        """Returns the trainable tensors by name: everything a run has to save."""
        return {name: tensor.detach() for name, tensor in self.named_parameters() if self.trainable(name)}

    def load_learned_state(self, state: dict[str, Tensor]) -> None:
        """Takes over tensors saved by `learned_state`.

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

    @property
    def frozen_image_layers(self) -> int:
        """How many image layers no learned tensor touches: their output may be cached. All of an untouched tower, else 0."""
        return self.backbone.image_layers if self.image_tower_frozen else 0

    @property
    def image_tower_frozen(self) -> bool:
        """Whether pictures are read through the pooled feature of the untouched tower alone: then that is what is cached."""
        return False

    @property
    def reads_untouched_images(self) -> bool:
        """Whether training steps also need what the untouched image tower makes of the pictures (`Batch.untouched`)."""
        return False

    @torch.no_grad()
    def untouched(self, batch: Batch) -> ImageFeatures:
        """Returns what the untouched image tower makes of a batch: what came with it, or else computed from its pictures."""
        return batch.untouched if batch.untouched is not None else self.backbone.encode_image(batch.images)
