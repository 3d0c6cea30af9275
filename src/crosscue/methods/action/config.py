"""The choices of ACT: what of it is switched on, and everything the paper leaves open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from crosscue.errors import MethodError
from crosscue.losses.hinge import HardNegatives
from crosscue.methods.action.modules import TripletInput

if TYPE_CHECKING:
    from crosscue.backbones.protocol import Backbone


@dataclass(frozen=True)
class ActionConfig:
    """What of ACT is switched on, and every choice the paper leaves open."""

    knowledge: str = ""
    """Triplets and states of the captions: a file from `crosscue describe triplets`, or `spacy`: read when needed (crosscue[spacy])."""
    triplets: bool = True
    """Action triplet prompts (eq. 4-5). With states off too: visual prompt tuning, the control."""
    states: bool = True
    """Action state prompts."""
    attributes: bool = True
    """Keep triplets that say what something is like (the paper's attribute knowledge)."""
    hand_crafted: bool = False
    """Replace the triplet encoder by the text feature of a text about the triplet (Table 2)."""
    max_triplets: int = 4
    """K, the most triplets of a caption; the first ones are taken."""
    triplet_input: TripletInput = "seq3"
    """How a triplet enters its encoder. seq3: its three parts. all_tokens: every word piece. concat_linear: the parts joined."""
    triplet_layers: int = 2
    """Transformer layers of the triplet encoder."""
    triplet_index: bool = True
    """Tell the triplet encoder which triplet of its caption comes first."""
    adapter_width: int = 64
    """t, the bottleneck of the prompt adapter (eq. 6)."""
    aim: Literal["attention", "cat"] = "attention"
    """attention: the adaptive interaction module. cat: prompts stand beside the patches as tokens (Table 3)."""
    aim_layer: int = 0
    """The image layer whose input the knowledge changes. The layers before it stay frozen: they are computed once and cached."""
    aim_query: Literal["patch", "prompt"] = "patch"
    """patch: patches attend to prompts and are changed. prompt: the other reading of eq. 7; the result stands beside the patches."""
    aim_residual: Literal["zero_gate", "plain", "none"] = "zero_gate"
    """How V of eq. 8 meets the patches E. zero_gate: E + gamma V, gamma starts at 0. plain: E + V. none: V, as printed."""
    aim_share: bool = False
    """One set of attention weights for triplets and states."""
    mixing: float = 0.7
    """lambda of eq. 8: the share of the triplets' attention map."""
    early_inject: bool = False
    """Also give the adapted prompts as tokens to every layer from aim_layer on."""
    visual_prompts: int = 8
    """N, the learned visual tokens."""
    deep_start: int = 6
    """Layers from here on get visual tokens of their own; before it they are passed on."""
    text_enrich: Literal["none", "avg"] = "none"
    """avg: a caption's embedding is the mean of its own and those of its states."""
    conditioning: Literal["matched", "own", "pairwise"] = "matched"
    """Which captions an image is read with in training. matched: as at test time, all candidates alike. own: its own caption
    (the paper as printed), which lets the image be ignored. pairwise: as matched, image to text with one caption at a time."""
    candidates: int = 7
    """m, the hard negatives of each caption and image (matched and pairwise)."""
    strategy: Literal["two_stage", "one_stage", "combined"] = "two_stage"
    """two_stage: eq. 10, then eq. 11 on the interaction module alone. one_stage: eq. 10. combined: both at once (Table 5)."""
    second_stage_epochs: int = 2
    """Epochs of the second stage, out of training.epochs."""
    second_stage_lr: float = 0.2
    """Learning rate of the second stage, as a multiple of training.lr."""
    margin: float = 0.2
    """alpha of eq. 11."""
    negatives: HardNegatives = "hardest"
    """Which negatives eq. 11 compares with; hardest takes semihard ones in its first epoch."""
    eta: float = 1.0
    """Share of the new score in re-ranking; the rest is the pre-selecting model's cosine."""
    mask_duplicates: bool = True
    """Leave equal captions in one batch out of each other's negatives."""


def prompted_layers(config: ActionConfig, layers: int) -> list[int]:
    """Returns the image layers that have visual prompts of their own."""
    if not config.visual_prompts:
        return []
    return [config.aim_layer, *range(max(config.deep_start, config.aim_layer + 1), layers)]


def check(backbone: Backbone, config: ActionConfig) -> None:
    """Raises `MethodError` where the options contradict one another or the tower has no such layer."""
    if not 0 <= config.aim_layer < backbone.image_layers:
        raise MethodError(
            f"aim_layer is {config.aim_layer}; the image tower of '{backbone.source}' has layers 0 to {backbone.image_layers - 1}."
        )
    if not (config.triplets or config.states or config.visual_prompts):
        raise MethodError("triplets, states and visual_prompts are all off: nothing would be learned. Use zero_shot.")
    if config.hand_crafted and not config.triplets:
        raise MethodError("hand_crafted replaces the triplet encoder, and triplets is off. Switch triplets on.")
    if config.max_triplets < 1 or config.candidates < 1:
        raise MethodError("max_triplets and candidates must be at least 1.")
    if not 0 <= config.mixing <= 1 or not 0 <= config.eta <= 1:
        raise MethodError(f"mixing is {config.mixing} and eta is {config.eta}; both are shares between 0 and 1.")
    if config.early_inject and config.aim == "cat":
        raise MethodError("early_inject gives prompts to the layers again, and aim=cat leaves them there. Choose one.")
