"""Images read with the action prompts of captions (ACT section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from crosscue.backbones.protocol import Backbone, ImageFeatures, ImageInput, ImageState
from crosscue.methods.action.config import ActionConfig
from crosscue.methods.action.modules import AdaptiveInteraction
from crosscue.methods.action.prompts import VisualPrompts, union


class ImageReader:
    """Reader f(x) of images alone, and f(x | C) of images with the action prompts of captions. The method registers the modules."""

    def __init__(
        self,
        backbone: Backbone,
        config: ActionConfig,
        kinds: tuple[str, ...],
        visual: VisualPrompts,
        interaction: AdaptiveInteraction | None,
    ) -> None:
        self.backbone, self.config, self.kinds = backbone, config, kinds
        self.visual, self.interaction = visual, interaction

    def state(self, images: ImageInput) -> ImageState:
        """Returns the tokens at the input of the layer where the knowledge enters."""
        layer = self.config.aim_layer
        assert not isinstance(images, ImageFeatures)  # only of methods that leave the whole image tower alone
        state = images if isinstance(images, ImageState) else self.backbone.image_state(images, layer)
        return self.backbone.image_entry(state) if state.layer == 0 else state

    def alone(self, images: ImageInput) -> Tensor:
        """f(x): B images read without texts, which is visual prompt tuning -> (B, D), not normalised."""
        return self.backbone.encode_image(self.state(images), self.visual.prompts()).pooled

    def __call__(self, state: ImageState, given: Sequence[Sequence[str]], by_caption: dict[str, Tensor]) -> Tensor:
        """f(x | C): B images and the captions each is read with -> (B, D) unit vectors.

        Args:
            state: the images.
            given: captions of each image; an image about whose captions nothing is known is read alone.
            by_caption: their action prompts (kinds, k, W).
        """
        if not self.kinds:
            return normalize(self.alone(state).float(), dim=-1)
        prompts, present = union(given, by_caption)  # (kinds, B, n, W), (B, n)
        if self.interaction is None:
            return self.with_tokens(state, *side_by_side(prompts, present))
        known = present.any(1).nonzero()[:, 0]
        if not len(known):
            return normalize(self.alone(state).float(), dim=-1)
        patches = self.patches(state)[known]  # E (b, M, W)
        enhanced = self.interacted(patches, prompts[:, known], present[known])
        if self.config.aim_query == "prompt":
            beside = torch.zeros(prompts.shape[1:], device=enhanced.device).index_copy(0, known, enhanced)
            return self.with_tokens(state, beside, present)
        if self.config.aim_residual:
            enhanced = patches + enhanced
        changed = state.tokens[known].clone()
        changed[:, -self.backbone.patch_count :] = enhanced.to(changed.dtype)
        state = ImageState(state.tokens.index_copy(0, known, changed), state.layer, state.entered)
        if self.config.early_inject:
            return self.with_tokens(state, *side_by_side(prompts, present), at_every_layer=True)
        return normalize(self.alone(state).float(), dim=-1)

    def patches(self, state: ImageState) -> Tensor:
        """Returns the patches E of B images (B, M, W)."""
        return state.tokens[:, -self.backbone.patch_count :].float()

    def interacted(self, patches: Tensor, prompts: Tensor, present: Tensor) -> Tensor:
        """The output of the interaction module of images whose texts are known about.

        Args:
            patches: (b, M, W) E.
            prompts: (kinds, b, n, W).
            present: (b, n) bool, true at a prompt.

        Returns:
            (b, M, W), or (b, n, W) beside the patches with `aim_query=prompt`.
        """
        assert self.interaction is not None
        with self.backbone.precision.autocast(patches.device):
            return self.interaction(patches, dict(zip(self.kinds, prompts, strict=True)), present)

    def with_tokens(
        self, state: ImageState, beside: Tensor, present: Tensor, *, at_every_layer: bool = False
    ) -> Tensor:
        """Encodes images with some more tokens each, (B, n, W) where `present` (B, n); rows of equal number go together.

        They stand beside the patches at the interaction's layer and are passed on, or are given anew to every layer.
        """
        counts = present.sum(1)
        features = torch.zeros(len(state), self.backbone.embed_dim, device=beside.device)
        for count in counts.unique().tolist():
            rows = (counts == count).nonzero()[:, 0]
            own = beside[rows][present[rows]].view(len(rows), count, beside.shape[-1])
            part, again = state[rows], own if at_every_layer and count else None
            if again is None:
                part = ImageState(torch.cat([part.tokens, own.to(part.tokens.dtype)], 1), part.layer, part.entered)
            pooled = self.backbone.encode_image(part, self.visual.prompts(again)).pooled
            features = features.index_copy(0, rows, pooled)
        return normalize(features, dim=-1)


def side_by_side(prompts: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """(kinds, B, n, W) prompts and where they are (B, n) -> one row of tokens an image, (B, kinds * n, W) and (B, kinds * n)."""
    return torch.cat(list(prompts), dim=1), present.repeat(1, len(prompts))
