"""The choices of ACKE: which prompts, which descriptions, and how much each part of the loss counts."""

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
    """Which prompts, which descriptions, and how much each part of the loss counts."""

    views: str = FROM_CAPTIONS
    """Descriptions of the training images: a file of `crosscue describe views`, or `captions`: weak ones from the captions (crosscue[spacy])."""
    missing_views: MissingViews = "error"
    """Images without descriptions: error, or skip (they are trained with their captions alone, and counted)."""
    views_per_step: int = 1
    """How many of its three descriptions an image is trained with in one step, drawn anew each time."""
    weights: Weights = "evidence"
    """How descriptions are weighed. evidence: by vacuity and conflict. uniform: not. shuffled: the evidence weights of other images, a
    control. pau: by ambiguity, as PAU does. none: no descriptions."""
    evidence_scale: float | None = None
    """How fast a cosine above the background becomes evidence; default the backbone's logit scale."""
    evidence_margin: float | None = None
    """How far above the background evidence begins; default two standard deviations of the background."""
    prior_weight: float | None = None
    """W, the evidence that halves the uncertainty; default the number of candidates."""
    acp: Prompting = "text_query"
    """Who chooses prompts. vision: images only. text_query: texts too, each by itself. pairwise: besides, a text is read with a
    candidate image's choice when candidates are scored again. paired_leaky: a caption with its own image's choice, as released: sees the
    answer, needs allow_leak. none: no prompts, for tune full."""
    allow_leak: bool = False
    """Needed for paired_leaky, whose oracle numbers are NOT COMPARABLE."""
    keys: Keys = "learned"
    """learned; random: fixed at their first values; static: no choice, the same prompts for all. The last two are controls."""
    pool_size: int = 20
    """M, prompts in the pool."""
    prompt_length: int = 1
    """L, positions of one prompt."""
    top_k: int = 5
    """k, prompts that an image or text gets."""
    depth: int = 1
    """How many consecutive layers get prompts of their own."""
    text_start_layer: int = 0
    """First text layer with prompts."""
    image_start_layer: int = 0
    """First image layer with prompts. The layers before it stay frozen: their output is computed once and cached."""
    gate_temperature: float = 0.1
    """tau of the gate, and of the distribution over the pool."""
    projector_width: int = 256
    """Hidden width of phi, which turns image prompts into text prompts."""
    tune: Literal["prompts", "projection", "full"] = "prompts"
    """What learns beside the prompts. projection: a change of both last projections, from zero. full: a copy of both towers, as released."""
    projection_lr_scale: float = 0.1
    """Learning rate of the projections' change, as a multiple of the prompts' rate."""
    tower_lr_scale: float = 0.005
    """Learning rate of the tuned towers, as a multiple of the prompts' rate."""
    directions: Directions = "both"
    """Which cross-entropies are trained: both, i2t or t2i."""
    mask_duplicates: bool = True
    """Leave equal captions in one batch out of each other's negatives."""
    margin: float = 0.2
    """m of the hinge on the hardest negative."""
    lambda_hinge: float = 0.1
    """Weight of the captions' hinge."""
    lambda_view: float = 0.1
    """Weight of the descriptions' contrastive loss."""
    lambda_view_hinge: float = 0.001
    """Weight of the descriptions' hinge."""
    lambda_evidential: float = 0.1
    """Weight of the evidential loss of caption and descriptions, fused by Dempster's rule."""
    evidential_kl: float = 0.1
    """Largest weight of the evidential loss's KL term."""
    kl_steps: int = 1000
    """Steps over which the KL term grows to its weight."""
    lambda_pull: float = 0.1
    """Weight of pulling chosen keys towards their queries."""
    lambda_agree: float = 0.1
    """Weight of a caption's choice agreeing with its image's."""
    lambda_balance: float = 0.01
    """Weight of using the whole pool."""
    lambda_overlap: float = 0.01
    """Weight of prompts differing from each other."""
    prototypes: int = 8
    """K of weights pau."""
    prototype_scale: float = 20.0
    """Cosines with prototypes are multiplied by this; PAU's 1 / temperature 100 over tau 5."""
    lambda_align: float = 1.0
    """Weight of PAU's uncertainty alignment, and of its prototypes differing."""
    pairwise_negatives: int = 3
    """acp pairwise: wrong images that each caption is also read with in training. One more text pass each."""
    eta: float = 0.5
    """acp pairwise: share of the conditioned score in `pairwise` inference."""

    @property
    def texts_choose(self) -> bool:
        """Whether texts get prompts of their own choice."""
        return self.acp in ("text_query", "pairwise")

    @property
    def shape(self) -> PoolShape:
        """The pool."""
        return PoolShape(self.pool_size, self.prompt_length, self.top_k, self.depth, self.gate_temperature)


def check(backbone: Backbone, config: AckeConfig) -> None:
    """Raises `MethodError` where the configuration is impossible, or asks for the leak without saying so."""
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
