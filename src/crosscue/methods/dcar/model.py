"""DCAR (arXiv 2508.04028): dual prompts, token re-weighting by mutual information, category-aware negatives.

    captions ----- v ------------------------> T'   --+-- F_CAA --> L_cate  (eq. 16-18, with edited captions)
                                                      |
    captions * rho(image) -- v --------------> T'_w --|----+
                    ^                                 |    +------> L_con   (eq. 15)
                    | eq. 9-14                        |    |
    images ------ F(v) ----------------------> I'  ---+----+

Only v, F and F_CAA are learned. rho needs an image, so at test time captions are encoded without it (`plain`). A caption weighted
by its own image would tell which image is right. Other ways to encode texts are in `text_modes`.

Equations:

    DCAR eq. 5  -> methods.dual_prompt.DualPromptLearner.text_prompts
    DCAR eq. 6  -> methods.dual_prompt.DualPrompt.text_features
    DCAR eq. 7  -> methods.dual_prompt.DualPromptLearner.image_prompts
    DCAR eq. 8  -> methods.dual_prompt.DualPrompt.image_features
    DCAR eq. 11 -> methods.dcar.weighting.similarity_difference
    DCAR eq. 13 -> methods.dcar.weighting.absolute
    DCAR eq. 14 -> methods.dcar.weighting.share
    DCAR eq. 15 -> losses.contrastive.contrastive
    DCAR eq. 16 -> methods.dcar.category.CategoryHead.forward
    DCAR eq. 17 -> methods.dcar.category.weight
    DCAR eq. 18 -> losses.category.category_aware
    DCAR eq. 19 -> methods.dcar.model.Dcar.losses
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from crosscue.backbones.embedding import bucket_size, encode_bucketed, encode_rows, packs
from crosscue.backbones.protocol import Backbone, ImageInput, ImageState, Prompts, TokenBatch
from crosscue.backbones.token_weights import TokenWeights, WeightsPlace
from crosscue.errors import MethodError
from crosscue.losses.category import category_aware
from crosscue.losses.contrastive import contrastive, same_meaning
from crosscue.methods.capabilities import HasTextModes, ScoresPairs, Stage, TrainsInStages, WeighsWords
from crosscue.methods.contract import Batch, Learns
from crosscue.methods.dcar import weighting
from crosscue.methods.dcar.category import CategoryHead, edited_captions, require_negatives
from crosscue.methods.dcar.config import DcarConfig
from crosscue.methods.dcar.reference_images import MeanImage, blank_pixels
from crosscue.methods.dcar.token_features import TokenFeatures
from crosscue.methods.dcar.words import words_of
from crosscue.methods.dual_prompt import DualPrompt

if TYPE_CHECKING:
    from crosscue.data.pairs import Pairs


class Dcar(DualPrompt, HasTextModes, ScoresPairs, TrainsInStages, WeighsWords):
    """Dual prompts with words weighted by the information of the image, trained against edited captions."""

    name = "dcar"
    summary = "Dual prompts + words weighted by the image + category-aware negatives. Needs a category column for ca."
    paper = "arXiv 2508.04028"
    config_class = DcarConfig
    text_modes: tuple[str, ...] = ("plain", "prior", "caa")
    config: DcarConfig
    stages = (Stage("training"),)

    def __init__(self, backbone: Backbone, config: DcarConfig) -> None:
        super().__init__(backbone, config)
        untouched = config.tw and config.weights_image == "frozen" and config.image_prompts
        self.image_use = replace(self.image_use, untouched=untouched)
        if not config.dp:
            self.prompts.requires_grad_(False)
        self.category: CategoryHead | None = None
        if config.ca and config.category_head != "none":
            self.category = CategoryHead(backbone.embed_dim, config.category_width, config.category_head)
        elif config.category_in_contrast:
            raise MethodError(
                "category_in_contrast needs a category head. Use --options.ca true with --options.category_head residual_zero, "
                "or --options.category_in_contrast false."
            )
        self.token_features = TokenFeatures(backbone, config, self.tokenize, self.text_prompts) if config.tw else None
        self.place = weights_place(backbone, config)
        self.mean_image = MeanImage(backbone.embed_dim)
        modes = ("caa", "plain", "prior") if config.category_in_contrast else Dcar.text_modes
        without = {"prior": not config.tw or config.blank == "marginal", "caa": self.category is None}
        self.text_modes = tuple(mode for mode in modes if not without.get(mode))
        self.blank_state: ImageState | None = None
        self.blank_frozen: Tensor | None = None
        self.to(backbone.device)

    # --- training -----------------------------------------------------------------------------------------------------

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Returns L_con and L_cate, already times lambda1 and lambda2 (DCAR eq. 19)."""
        images = self.encode_image(batch.images)  # I' (B, D)
        losses = {}
        if self.config.ca:
            texts, losses["category_loss"] = self.category_loss(images, batch)
        if self.config.tw:
            texts = self.weighted(batch.captions, self._weighing(images, batch))  # T'_w (B, D)
        elif not self.config.ca or not self.config.category_prompt:
            texts = encode_bucketed(batch.captions, self.encode_text, whole=packs(self.backbone))  # T' (B, D)
        if self.config.category_in_contrast and not self.config.tw:
            texts = self.adapted(texts)
        same = same_meaning(batch.captions, batch.image_ids, images.device) if self.config.mask_duplicates else None
        contrast = contrastive(images, texts, self.scale, directions=self.config.directions, not_negative=same)
        return losses | {"contrastive_loss": self.config.lambda1 * contrast}

    def category_loss(self, images: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Returns the captions' text features before F_CAA (B, D), and lambda2 * L_cate (DCAR eq. 16-18)."""
        edited = edited_captions(batch, self.config.negatives, self.config.alpha)
        encode = self.encode_text if self.config.category_prompt else self._unprompted
        texts = encode_bucketed(
            [*batch.captions, *edited.texts], encode, whole=packs(self.backbone)
        )  # T' and T'_neg (B + E, D)
        adapted = self.adapted(texts)  # F_CAA(T') (B + E, D)
        positives, negatives = adapted[: len(batch)], adapted[len(batch) :]
        loss = category_aware(
            images,
            positives,
            negatives[edited.place.to(images.device)],  # (B, Q, D)
            edited.weights.to(images.device),
            1 + self.config.alpha,
            self.scale,
            reduction=self.config.category_reduction,
        )
        return texts[: len(batch)], self.config.lambda2 * loss

    @property
    def scale(self) -> Tensor:
        """() 1 / tau."""
        return (
            self.backbone.logit_scale if self.config.temperature == "pretrained" else self.backbone.logit_scale * 0 + 1
        )

    def adapted(self, texts: Tensor) -> Tensor:
        """F_CAA of text features: (B, D) unit vectors -> (B, D) unit vectors, the same ones without a head."""
        return texts if self.category is None else normalize(self.category(texts), dim=-1)

    def _unprompted(self, texts: Sequence[str]) -> Tensor:
        return normalize(self.backbone.encode_text(self.tokenize(texts)).pooled, dim=-1)

    def _weighing(self, images: Tensor, batch: Batch) -> Tensor:
        """Returns the (B, D) image features that weight the captions of a batch, and takes them into the mean image."""
        images = images.detach()
        if self.config.weights_image == "frozen":
            images = normalize(batch.untouched_features(self.backbone).pooled, dim=-1)
        if self.training:
            self.mean_image.add(images)
        return images.roll(1, 0) if self.config.weight_control == "wrong_image" else images

    def enter(self, stage: str, epoch: int) -> None:
        """Begins the mean image of an epoch."""
        self.mean_image.start(epoch)

    def study(self, train: Pairs, captions: Sequence[str]) -> dict[str, Any]:
        """Checks that there are negatives, and computes the token features; see `UsesKnowledge.study`."""
        if self.config.ca:
            require_negatives(pair.negatives for pair in train)
        self.remember(captions)
        return super().study(train, captions)

    def forget(self) -> None:
        """Drops the token features."""
        self.remember([])

    def remember(self, texts: Sequence[str]) -> None:
        """Computes the token features of all captions, where they stay the same."""
        if self.token_features is not None:
            self.token_features.remember(texts)

    # --- token re-weighting ---------------------------------------------------------------------------------------------

    def weighted(self, texts: Sequence[str], images: Tensor) -> Tensor:
        """T'_w of DCAR eq. 14-15: texts, each weighted by its image (B, D) -> (B, D) unit vectors, as L_con reads them."""
        blank = self.blank_feature()

        def read(rows: list[int]) -> Tensor:
            some = [texts[row] for row in rows]
            tokens = self.tokenize(some)
            weights = self.token_weights(some, tokens, images[rows], blank)
            return self.read(tokens, TokenWeights(weights, self.place))

        features = normalize(encode_rows(texts, read, bucket_size(len(texts))).float(), dim=-1)
        return self.adapted(features) if self.config.category_in_contrast else features

    @torch.no_grad()
    def token_weights(self, texts: Sequence[str], tokens: TokenBatch, images: Tensor, blank: Tensor) -> Tensor:
        """Returns rho of DCAR eq. 11-14: B texts and images (B, D), the blank image (D,) -> (B, N); 1 at special tokens."""
        if self.token_features is None:
            raise MethodError("this run was trained with tw off: its captions have no token weights.")
        config, content = self.config, tokens.content
        features = self.token_features(texts, tokens)  # u (B, N, D)
        difference = weighting.similarity_difference(
            features, images, blank, exponential=config.similarity == "exp"
        )  # (B, N)
        weights = weighting.WEIGHTS[config.weights](difference) * content
        if config.weight_control == "shuffled":
            weights = weighting.shuffled(weights, content)
        rho = weighting.share(weights, content)
        if config.rescale == "mean_one":
            rho = weighting.mean_one(rho, content, blend=config.blend, smallest=config.smallest, largest=config.largest)
        if self.training and config.weight_dropout:
            rho = weighting.dropped(rho, config.weight_dropout)
        return torch.where(content, rho, torch.ones_like(rho))

    @torch.no_grad()
    def blank_feature(self) -> Tensor:
        """I'_blank: (D,) unit vector, from the image tower that `weights_image` names."""
        if self.config.blank == "marginal":
            return self.mean_image.feature()
        if self.blank_state is None:
            pixels = blank_pixels(self.backbone, self.config.blank)
            self.blank_state = self.backbone.image_state(pixels, self.image_use.layers(self.backbone))
        if self.config.weights_image == "prompted":
            return self.encode_image(self.blank_state)[0]
        if self.blank_frozen is None:
            self.blank_frozen = normalize(self.backbone.encode_image(self.blank_state).pooled[0], dim=-1)
        return self.blank_frozen

    # --- inference ----------------------------------------------------------------------------------------------------

    def text_features(self, texts: Sequence[str], mode: str = "plain") -> Tensor:
        """T' (`plain`), T' weighted by the mean training image (`prior`), or F_CAA(T') (`caa`): B texts -> (B, D)."""
        if mode == "prior":
            return self.weighted(texts, self.mean_image.feature().expand(len(texts), -1))
        features = super().text_features(texts)
        return self.adapted(normalize(features.float(), dim=-1)) if mode == "caa" else features

    def require_pairs(self) -> None:
        """Raises `MethodError` with tw off: captions then have no token weights."""
        if not self.config.tw:
            raise MethodError("this run was trained with tw off: its captions have no token weights. Use --no-rerank.")

    def pair_features(self, images: ImageInput) -> Tensor:
        """Returns (B, E) of (B, 3, S, S) or a cached state: the embedding, and where it is another feature, the one that weights captions."""
        embedding = self.encode_image(images)
        if self.config.weights_image == "prompted":
            return embedding
        return torch.cat([embedding, normalize(self.backbone.encode_image(images).pooled, dim=-1)], dim=-1)

    def text_given_image(self, texts: Sequence[str], images: Tensor) -> Tensor:
        """T'_w: B texts, each weighted by the `pair_features` of one image (B, E) -> (B, D) unit vectors."""
        return self.weighted(texts, images[:, -self.backbone.embed_dim :])

    @property
    def weighs_words(self) -> bool:
        """True with tw."""
        return self.config.tw

    def word_weights(self, texts: Sequence[str], images: Tensor) -> list[list[tuple[str, float]]]:
        """See `WeighsWords.word_weights`."""
        tokens, images = self.tokenize(texts), images[:, -self.backbone.embed_dim :]
        rho = self.token_weights(texts, tokens, images, self.blank_feature())
        return [words_of(text, rho[row, tokens.content[row]], self.backbone) for row, text in enumerate(texts)]

    def pair_scores(self, images: Tensor, plain: Tensor, texts: Sequence[str]) -> Tensor:
        """Scores of B candidate pairs: a blend of the plain cosine and that of the weighted caption."""
        weighted = (images[:, : self.backbone.embed_dim] * self.text_given_image(texts, images)).sum(-1)
        return (1 - self.config.eta) * plain + self.config.eta * weighted

    # --- what is learned and saved --------------------------------------------------------------------------------------

    def text_prompts(self) -> Prompts | None:
        """Returns v, or nothing with dp off."""
        return super().text_prompts() if self.config.dp else None

    def image_prompts(self) -> Prompts | None:
        """Returns F(v), or nothing with dp off."""
        return super().image_prompts() if self.config.dp else None

    def learns(self, name: str) -> Learns | None:
        """V and F learn with dp, F_CAA with ca at a rate of its own."""
        if name.startswith("category."):
            return Learns(self.config.category_lr_scale)
        return None if name.startswith("prompts.") and not self.config.dp else super().learns(name)

    def extra_state(self) -> dict[str, Tensor]:
        """Returns the mean training image."""
        return self.mean_image.state_dict(prefix="mean_image.")


def weights_place(backbone: Backbone, config: DcarConfig) -> WeightsPlace:
    """Returns the place where token weights act: that of the options, or the default of the backbone's family.

    Raises:
        MethodError: the text tower has no such place.
    """
    place = config.weights_place or backbone.weights_places[0]
    if place not in backbone.weights_places:
        raise MethodError(
            f"weights_place={place} needs a text tower that averages its words, and that of '{backbone.source}' does not. "
            f"Use --options.weights_place {backbone.weights_places[0]}."
        )
    return place
