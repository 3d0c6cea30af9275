"""Options of DCAR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from crosscue.losses.category import Reduction
from crosscue.methods.dual_prompt import DualPromptConfig


@dataclass(frozen=True)
class DcarConfig(DualPromptConfig):
    """Options of DCAR: its three components and the choices the paper leaves open."""

    dp: bool = True
    """Dual prompts (eq. 5-8). Off: the towers are as pre-trained and only the category head learns."""
    tw: bool = True
    """Token re-weighting (eq. 9-15)."""
    ca: bool = True
    """Category-aware augmentation (eq. 16-19). Needs pairs with negatives."""
    weights: Literal["abs", "relu", "flipped"] = "abs"
    """Weight of a token from its difference. abs: |dS| (eq. 13). relu: tokens nearer to the image than to the blank one count.
    flipped: only the others count; a control that should hurt."""
    token_feature: Literal["projected", "input", "word"] = "projected"
    """Feature of a token. projected: the last layer, projected. input: its word embedding, where widths allow. word: the
    text feature of its word alone."""
    token_features_from: Literal["frozen", "prompted"] = "frozen"
    """Text tower of the token features: without prompts (frozen, computed once) or with them (prompted)."""
    weights_image: Literal["prompted", "frozen"] = "prompted"
    """Image feature that weighs the tokens. With frozen ones and frozen token features, weights are computed once."""
    blank: Literal["white", "black", "mean", "noise"] = "white"
    """The image without content."""
    similarity: Literal["cos", "exp"] = "cos"
    """S in eq. 11: the cosine, or its exponential (eq. 1)."""
    rescale: Literal["mean_one", "literal"] = "mean_one"
    """Weights of a caption average 1, or add up to 1 (eq. 14 as printed), which shrinks every word embedding."""
    blend: float = 1.0
    """beta: 0 is no weighting, 1 the weights as they are."""
    smallest: float = 0.0
    """Smallest weight."""
    largest: float = float("inf")
    """Largest weight."""
    weight_dropout: float = 0.0
    """Chance that a caption is trained without weights, as it will be tested."""
    weight_control: Literal["none", "shuffled", "wrong_image"] = "none"
    """Controls. shuffled: the weights of a caption in random order. wrong_image: weights from another image of the batch."""
    category_head: Literal["residual_zero", "plain_relu", "plain_linear"] = "residual_zero"
    """F_CAA: T + a two-layer network that starts at zero, the network alone, or two linear layers."""
    category_width: int = 512
    """Hidden width of F_CAA."""
    category_prompt: bool = True
    """True: captions and negatives carry the text context on the way to F_CAA."""
    category_reduction: Reduction = "mean"
    """mean over the batch, or the sum (eq. 18 as printed)."""
    alpha: float = 0.5
    """Extra weight of the caption and of negatives of its own category, over negatives of another (eq. 17)."""
    lambda1: float = 0.8
    """Weight of L_con in eq. 19."""
    lambda2: float = 0.2
    """Weight of L_cate in eq. 19."""
    negatives: int = 4
    """Q, the most negatives of a caption."""
    temperature: Literal["pretrained", "literal"] = "pretrained"
    """literal: none, because in the paper's S = exp(cos) it cancels."""
    eta: float = 0.5
    """Share of the weighted score in `pairwise` inference."""
