"""Towers of ACKE: images and texts read with prompts that are chosen from one shared pool."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from crosscue.backbones.embedding import encode_rows
from crosscue.backbones.protocol import Backbone, ImageFeatures, ImageInput, Prompts, TokenBatch
from crosscue.methods.acke.config import AckeConfig, check
from crosscue.methods.acke.frozen_queries import FrozenQueries
from crosscue.methods.acke.pool import PromptPool, Selection, chosen_prompts
from crosscue.methods.contract import ImageUse
from crosscue.methods.dual_prompt import zero_linear
from crosscue.methods.parts.frozen_texts import FrozenTexts
from crosscue.methods.parts.tuned_towers import WithTunedTowers, tuned_copy


class PoolPromptedTowers(WithTunedTowers[AckeConfig]):
    """Towers with a pool of prompts, phi from image to text prompts, and W from text queries to keys."""

    def __init__(self, backbone: Backbone, config: AckeConfig) -> None:
        super().__init__(backbone, config)
        check(backbone, config)
        self.image_change: nn.Linear | None = None
        self.text_change: nn.Linear | None = None
        self.tuned = None
        self.frozen = self.frozen_queries()
        self.plain_texts = FrozenTexts(backbone, hidden=True)
        self.pool = self.prompt_pool()
        self.image_use = self.use_of_images()
        self.projector = self.prompt_projector()  # phi
        self.text_key: nn.Linear | None = None  # W
        if config.texts_choose and self.pool is not None and self.pool.keys is not None:
            self.text_key = query_map(backbone.embed_dim, self.frozen.width)

    def let_towers_learn(self) -> None:
        """Adds what `tune` names: a change of both last projections, or a copy of both towers."""
        backbone = self.backbone
        if self.config.tune == "projection":
            self.image_change = zero_linear(backbone.image_width, backbone.embed_dim)
            self.text_change = zero_linear(backbone.text_width, backbone.embed_dim)
        if self.config.tune == "full":
            self.tuned = tuned_copy(backbone)

    def frozen_queries(self) -> FrozenQueries:
        """Returns the reader of the queries that choose from the pool."""
        return FrozenQueries(self.backbone)

    def prompt_pool(self) -> PromptPool | None:
        """Returns the pool of prompts; None where no input gets any."""
        config = self.config
        if config.acp == "none":
            return None
        return PromptPool(config.shape, self.backbone.image_width, self.frozen.width, config.keys)

    def prompt_projector(self) -> nn.Module | None:
        """Returns phi; None where texts get no prompts."""
        config, backbone = self.config, self.backbone
        if config.texts_choose or config.acp == "paired_leaky":
            return two_layers(backbone.image_width, config.projector_width, backbone.text_width)
        return None

    @property
    def text_tower_stays(self) -> bool:
        """True if no parameter changes what the text tower computes; a step then needs no text pass."""
        return self.config.acp in ("none", "vision") and self.config.tune != "full"

    @property
    def towers(self) -> Backbone:
        """Encoders: the frozen backbone, or with tune full its copy."""
        return self.backbone if self.tuned is None else self.tuned

    def use_of_images(self) -> ImageUse:
        """Returns the layers before the first prompt as frozen: the whole tower without prompts, none if the towers learn."""
        config = self.config
        if config.acp == "none":
            return ImageUse() if config.tune == "full" else ImageUse("pooled", hidden=True)
        chosen = self.pool is not None and self.pool.keys is not None  # by untouched features
        layers = 0 if config.tune == "full" else config.image_start_layer
        return ImageUse(layers, chosen or config.acp in ("pairwise", "paired_leaky"))

    def image_features(self, images: ImageInput) -> Tensor:
        """f: (B, 3, S, S) or a cached state -> (B, D)."""
        images = self.once(images)
        return self.read_images(images, self.chosen_by_images(images))

    def text_features(self, texts: Sequence[str], mode: str = "plain") -> Tensor:
        """g: B texts -> (B, D), each with the prompts it chooses itself; without prompts where acp gives it none."""
        return self.read_texts(texts, self.chosen_by_texts(texts))

    def tokenize(self, texts: Sequence[str]) -> TokenBatch:
        """Tokenises texts, leaving room for the prompts that they choose."""
        return self.towers.tokenize(texts, self.config.positions if self.config.texts_choose else 0)

    def chosen_by_images(self, images: ImageInput, untouched: ImageFeatures | None = None) -> Selection | None:
        """Returns what images choose from the pool; `untouched` are the untouched tower's features, where they are known."""
        if self.config.acp == "none" or self.pool is None:
            return None
        if self.pool.keys is None:
            return self.pool.fixed()
        if untouched is None:
            return self.pool.select(self.frozen.of_images(images))
        return self.pool.select(self.frozen.of_features(untouched))

    def chosen_by_texts(self, texts: Sequence[str], *, remembered: bool = False) -> Selection | None:
        """Returns what texts choose from the pool; with `remembered`, from queries that were computed before training."""
        if not self.config.texts_choose or self.pool is None:
            return None
        if self.text_key is None:
            return self.pool.fixed()
        return self.pool.select(self.text_key(self.frozen.of_texts(texts, remembered=remembered)))  # W h (B, C)

    def once(self, images: ImageInput) -> ImageInput:
        """Runs the layers before the first prompt once for both passes, the one that chooses prompts and the one that reads them."""
        shared = self.image_use.layers(self.backbone) if self.config.acp != "none" else 0
        return self.backbone.image_state(images, shared) if isinstance(images, Tensor) and shared else images

    def read_images(self, images: ImageInput, chosen: Selection | None) -> Tensor:
        """Images, and the prompts they are read with -> (B, D)."""
        prompts = None
        if chosen is not None:
            assert self.pool is not None
            prompts = Prompts.of(chosen_prompts(self.pool.prompts, chosen), self.config.image_start_layer)
        features = self.towers.encode_image(images, prompts)
        return features.pooled if self.image_change is None else features.pooled + self.image_change(features.hidden)

    def read_texts(self, texts: Sequence[str], chosen: Selection | None) -> Tensor:
        """Texts, and the prompts they are read with -> (B, D)."""
        prompts = None
        if chosen is not None:
            assert self.pool is not None
            assert self.projector is not None
            prompts = Prompts.of(
                chosen_prompts(self.projector(self.pool.prompts), chosen), self.config.text_start_layer
            )
        return self.read_prompted(texts, prompts)

    def read_prompted(self, texts: Sequence[str], prompts: Prompts | None) -> Tensor:
        """Texts, and one set of prompts for each (B, k L, W) -> (B, D)."""
        if prompts is None and self.tuned is None:
            pooled, hidden = self.plain_texts(texts).split([self.backbone.embed_dim, self.backbone.text_width], dim=1)
        else:
            positions = self.config.positions if prompts is not None else 0
            features = self.towers.encode_text(self.towers.tokenize(texts, positions), prompts)
            pooled, hidden = features.pooled, features.hidden
        return pooled if self.text_change is None else pooled + self.text_change(hidden)

    def read_beside(self, texts: Sequence[str], queries: Tensor) -> Tensor:
        """Texts, each with the prompts that the query (B, C) of one image chooses -> (B, D)."""
        assert self.pool is not None
        select = self.pool.select
        return encode_rows(
            texts,
            lambda rows: self.read_texts([texts[row] for row in rows], select(queries[rows])),
            max(-(-len(texts) // 4), 1),
        )


def two_layers(width: int, hidden: int, out: int) -> nn.Sequential:
    """Returns phi, which turns prompts of one tower into prompts of the other."""
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out))


def query_map(width: int, key_width: int) -> nn.Linear:
    """Returns W, which takes text queries to the keys; where both live in the shared space it starts as the identity."""
    linear = nn.Linear(width, key_width, bias=False)
    if width == key_width:
        nn.init.eye_(linear.weight)
    return linear
