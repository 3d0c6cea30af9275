"""Options of ACKE: prompts, descriptions, and the weights of the losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from crosscue.errors import MethodError
from crosscue.knowledge.views.from_captions import SOURCE as FROM_CAPTIONS
from crosscue.losses.contrastive import Directions
from crosscue.methods.acke.descriptions import COUNT, MissingViews
from crosscue.methods.acke.pool import Keys, PoolShape

if TYPE_CHECKING:
    from crosscue.backbones.protocol import Backbone

Prompting = Literal["none", "vision", "text_query", "pairwise", "paired_leaky"]
Weights = Literal["evidence", "uniform", "shuffled", "pau", "none"]


@dataclass(frozen=True)
class AckeConfig:
    """Options of ACKE: prompts, descriptions, and the weights of the losses."""

    views: str = FROM_CAPTIONS
    """Descriptions of the training images: a file of `crosscue describe views`, or one of two sources without a model.
    `captions`: weak ones, which repeat the captions (crosscue[spacy]). `other_captions`: the image's other captions, for
    sources with several captions an image. The default works with every source. Better results need a file."""
    missing_views: MissingViews = "error"
    """Treatment of images without descriptions. `error`: training stops, so that no image is left out unseen.
    `skip`: such images are trained with their captions alone, and counted."""
    views_per_step: int = 1
    """Number of descriptions of an image in one step, drawn anew each time. 1 costs the fewest text passes; at most
    3."""
    weights: Weights = "evidence"
    """Weights of the descriptions. `evidence`: from vacuity and conflict. `uniform`: all equal. `shuffled`: the
    evidence weights of other images, a control. `pau`: from ambiguity, as in PAU. `none`: no descriptions are
    used."""
    evidence_scale: float | None = None
    """Multiplier of the cosine above the background, before it becomes evidence. Default: the backbone's logit
    scale."""
    evidence_margin: float | None = None
    """Distance above the background at which evidence begins. Default: two standard deviations of the
    background."""
    prior_weight: float | None = None
    """Evidence that halves the uncertainty. Default: the number of candidates (W)."""
    acp: Prompting = "text_query"
    """Inputs that choose prompts. `vision`: images only. `text_query`: texts too, each by itself. `pairwise`:
    re-ranking also reads a text with the choice of a candidate image. `paired_leaky`: a caption gets the choice of
    its own image, as released; this sees the answer and needs allow_leak. `none`: no prompts, for tune full."""
    allow_leak: bool = False
    """Permission for acp paired_leaky, whose oracle results are NOT COMPARABLE."""
    keys: Keys = "learned"
    """Keys of the pool. `learned`: trained with the prompts. `random`: fixed at their first values. `static`: no
    choice, the same prompts for all. The last two are controls."""
    pool_size: int = 20
    """Number of prompts in the pool (M)."""
    prompt_length: int = 1
    """Positions of one prompt (L)."""
    top_k: int = 5
    """Number of prompts that an image or text gets (k)."""
    depth: int = 1
    """Number of consecutive layers with prompts of their own. 1 is the cheapest."""
    text_start_layer: int = 0
    """First text layer with prompts."""
    image_start_layer: int = 0
    """First image layer with prompts. The layers before it stay frozen: their output is computed once and cached.
    Raise it for faster training."""
    gate_temperature: float = 0.1
    """Temperature of the gate, and of the distribution over the pool (tau)."""
    projector_width: int = 256
    """Hidden width of the network from image prompts to text prompts (phi)."""
    tune: Literal["prompts", "projection", "full"] = "prompts"
    """Parameters beside the prompts. `prompts`: none. `projection`: a change of both last projections, which starts
    at zero. `full`: a copy of both towers, as released."""
    projection_lr_scale: float = 0.1
    """Learning rate of the projections' change, as a multiple of the prompts' rate."""
    tower_lr_scale: float = 0.005
    """Learning rate of the tuned towers, as a multiple of the prompts' rate."""
    directions: Directions = "both"
    """Directions of the cross-entropies: `both`, `i2t` or `t2i`."""
    mask_duplicates: bool = True
    """True: equal captions of one batch are no negatives of each other."""
    margin: float = 0.2
    """Margin of the hinge on the hardest negative (m)."""
    lambda_hinge: float = 0.1
    """Weight of the captions' hinge."""
    lambda_view: float = 0.1
    """Weight of the descriptions' contrastive loss."""
    lambda_view_hinge: float = 0.001
    """Weight of the descriptions' hinge."""
    lambda_evidential: float = 0.1
    """Weight of the evidential loss of caption and descriptions, fused by Dempster's rule."""
    evidential_kl: float = 0.1
    """Largest weight of the KL term of the evidential loss."""
    kl_steps: int = 1000
    """Steps in which the KL term grows to its weight. Evidence grows first; 0 starts at the full weight."""
    lambda_pull: float = 0.1
    """Weight of the loss that moves chosen keys towards their queries."""
    lambda_agree: float = 0.1
    """Weight of the loss between the choices of a caption and of its image."""
    lambda_balance: float = 0.01
    """Weight of the loss that spreads choices over the whole pool."""
    lambda_overlap: float = 0.01
    """Weight of the loss that keeps prompts different from each other."""
    prototypes: int = 8
    """Number of prototypes with weights pau (K)."""
    prototype_scale: float = 20.0
    """Multiplier of cosines with prototypes. 20 is PAU's 1 / temperature 100 over its tau 5."""
    lambda_align: float = 1.0
    """Weight of PAU's uncertainty alignment, and of the overlap of its prototypes."""
    pairwise_negatives: int = 3
    """Number of wrong images that each caption is also read with in training, for acp pairwise. Each costs one text
    pass."""
    eta: float = 0.5
    """Share of the conditioned score in re-ranking, for acp pairwise; the rest is the plain cosine."""

    @property
    def texts_choose(self) -> bool:
        """True if texts get prompts of their own choice."""
        return self.acp in ("text_query", "pairwise")

    @property
    def positions(self) -> int:
        """Number of positions that the prompts of a text take (k L)."""
        return self.top_k * self.prompt_length

    @property
    def shape(self) -> PoolShape:
        """Size of the pool and of a choice from it."""
        return PoolShape(self.pool_size, self.prompt_length, self.top_k, self.depth, self.gate_temperature)


def check(backbone: Backbone, config: AckeConfig) -> None:
    """Raises `MethodError` if the options are impossible, or have the leak without its permission."""
    if config.acp == "paired_leaky" and not config.allow_leak:
        raise MethodError(
            "acp paired_leaky reads every caption with prompts that its own image chose, so training and oracle numbers see the "
            "answer. It is a diagnostic: add --options.allow_leak true, or use acp text_query."
        )
    if config.acp == "none" and config.tune == "prompts":
        raise MethodError("acp none has no prompts, and tune prompts learns nothing else: use tune projection or full.")
    if not 1 <= config.views_per_step <= COUNT:
        raise MethodError(f"views_per_step is {config.views_per_step}; an image has {COUNT} descriptions.")
    for tower, start, layers in (
        ("text", config.text_start_layer, backbone.text_layers),
        ("image", config.image_start_layer, backbone.image_layers),
    ):
        if not 0 <= start <= start + config.depth - 1 < layers:
            raise MethodError(
                f"{tower}_start_layer {start} and depth {config.depth} do not fit the {tower} tower of '{backbone.source}', which "
                f"has layers 0 to {layers - 1}."
            )
