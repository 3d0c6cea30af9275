"""Options of ACT: its parts and the choices the paper leaves open."""

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
    """Options of ACT: its parts and the choices the paper leaves open."""

    knowledge: str = ""
    """Triplets and states of the captions: a file of `crosscue describe triplets`, or `spacy`, which parses
    captions when they are needed (crosscue[spacy])."""
    triplets: bool = True
    """True: action triplet prompts are used (eq. 4-5). With states off too, the method is visual prompt tuning, the
    control."""
    states: bool = True
    """True: action state prompts are used."""
    state_template: Literal["family", "paper", "state"] = "family"
    """Text about a state. `paper`: the triplet and the state in the paper's template. `state`: the state alone.
    `family`: `state` for family `dual`, whose mean over all words would be mostly template; otherwise `paper`."""
    attributes: bool = True
    """True: triplets about attributes are kept (the paper's attribute knowledge)."""
    hand_crafted: bool = False
    """True: the text feature of a hand-crafted text about the triplet replaces the triplet encoder (Table 2)."""
    max_triplets: int = 4
    """Most triplets of a caption; the first ones are taken (K)."""
    triplet_input: TripletInput = "seq3"
    """Input of the triplet encoder. `seq3`: three parts a triplet. `all_tokens`: every word piece. `concat_linear`:
    the three parts joined by a linear map."""
    triplet_layers: int = 2
    """Number of transformer layers of the triplet encoder."""
    triplet_index: bool = True
    """True: the triplet encoder gets the index of each triplet in its caption."""
    adapter_width: int = 64
    """Width of the bottleneck of the prompt adapter (t, eq. 6)."""
    aim: Literal["attention", "cat"] = "attention"
    """Combination of prompts and patches. `attention`: the adaptive interaction module. `cat`: prompts stand beside
    the patches as tokens (Table 3)."""
    aim_layer: int = 0
    """Image layer whose input the knowledge changes. The layers before it stay frozen: they are computed once and
    cached."""
    aim_query: Literal["patch", "prompt"] = "patch"
    """Reading of eq. 7. `patch`: patches attend to prompts and are changed. `prompt`: prompts attend to patches,
    and the result stands beside the patches."""
    aim_residual: bool = True
    """Combination of the result V with the patches E. True: E + V, where V starts at zero. False: V alone, as printed
    (eq. 8)."""
    aim_beside: bool = True
    """Result of eq. 8, where the attention map A mixes the values MLP(V) of the patches. True: MLP(V) + A MLP(V), so that
    the result differs from patch to patch. False: A MLP(V), as printed, which is often one vector for all patches."""
    aim_share: bool = False
    """True: one set of attention weights serves triplets and states."""
    mixing: float = 0.7
    """Share of the triplets' attention map (lambda, eq. 8)."""
    early_inject: bool = True
    """True: every layer from aim_layer on also gets the adapted prompts as tokens, as the paper's text says. Ignored
    with aim=cat, which leaves them there, and with aim_query=prompt."""
    visual_prompts: int = 8
    """Number of learned visual tokens (N)."""
    deep_start: int = 6
    """First layer with visual tokens of its own. Before it the first ones are passed on, or given anew with
    early_inject."""
    text_enrich: Literal["none", "avg"] = "none"
    """Embedding of a caption. `none`: its own. `avg`: the mean of its own and those of its states."""
    conditioning: Literal["matched", "own", "pairwise"] = "matched"
    """Captions that an image is read with in training. `matched`: all candidates alike, as in re-ranking. `own`:
    its own caption (the paper as printed), which lets the image be ignored. `pairwise`: as matched, but image to
    text with one caption at a time."""
    candidates: int = 7
    """Number of hard negatives of each caption and image, for conditioning matched and pairwise (m)."""
    strategy: Literal["two_stage", "one_stage", "combined"] = "two_stage"
    """Losses of the two stages. `two_stage`: eq. 10, then eq. 11 on the interaction module alone. `one_stage`: eq. 10
    in both. `combined`: the sum of the two in both (Table 5). The schedule is the same for all."""
    second_stage_epochs: int = 2
    """Epochs of the second stage, out of training.epochs."""
    second_stage_lr: float = 0.2
    """Learning rate of the second stage, as a multiple of training.lr."""
    margin: float = 0.2
    """Margin of the ranking loss (alpha, eq. 11)."""
    negatives: HardNegatives = "hardest"
    """Negatives of the ranking loss: `hardest`, `semihard` or `mean`. `hardest` with `combined` takes semihard ones in
    the first epoch of the run. The second stage of `two_stage` takes the hardest from its first step on (eq. 11)."""
    eta: float = 1.0
    """Share of the new score in re-ranking; the rest is the cosine of the model that pre-selects."""
    mask_duplicates: bool = True
    """True: equal captions of one batch are no negatives of each other."""


def prompted_layers(config: ActionConfig, layers: int) -> list[int]:
    """Returns the image layers that have visual prompts of their own."""
    if not config.visual_prompts:
        return []
    return [config.aim_layer, *range(max(config.deep_start, config.aim_layer + 1), layers)]


def check(backbone: Backbone, config: ActionConfig) -> None:
    """Raises `MethodError` if the options contradict one another or the tower has no such layer."""
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


def template_of(config: ActionConfig, backbone: Backbone) -> Literal["paper", "state"]:
    """Returns the text about a state that suits the family, unless the options name one."""
    if config.state_template != "family":
        return config.state_template
    return "state" if backbone.family == "dual" else "paper"
