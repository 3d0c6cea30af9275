"""Options of DCAR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from crosscue.backbones.token_weights import WeightsPlace
from crosscue.losses.category import Reduction
from crosscue.methods.dual_prompt import DualPromptConfig


@dataclass(frozen=True)
class DcarConfig(DualPromptConfig):
    """Options of DCAR: its three components and the choices the paper leaves open."""

    dp: bool = True
    """True: dual prompts are trained (DP, eq. 5-8). Off, the towers are as pre-trained and only the category head
    is trained."""
    tw: bool = True
    """True: token embeddings are weighted by mutual information (TW, eq. 9-15)."""
    ca: bool = True
    """True: category-aware augmentation is trained (CA, eq. 16-19). It needs pairs with negatives."""
    weights_place: WeightsPlace | None = None
    """Place where the weights act. `input`: word embeddings are multiplied, as printed (eq. 14). `pooling`: the mean of
    a mean-pooled tower is weighted. `attention`: their logarithms are added to the attention scores. None: `pooling`
    in a mean-pooled tower, whose first norm removes the length of a word embedding; `input` in others."""
    weights: Literal["abs", "relu", "flipped"] = "abs"
    """Weight of a token from its difference dS. `abs`: |dS| (eq. 13). `relu`: only tokens nearer to the image than
    to the blank one count. `flipped`: only the others count; a control that should hurt."""
    token_feature: Literal["projected", "input", "word"] = "projected"
    """Feature of a token. `projected`: the last layer, projected. `input`: its word embedding, if widths allow.
    `word`: the text feature of its word alone."""
    token_features_from: Literal["frozen", "prompted"] = "frozen"
    """Text tower of the token features. `frozen`: without prompts, computed once. `prompted`: with them, computed
    in every step."""
    weights_image: Literal["prompted", "frozen"] = "prompted"
    """Image feature that weights the tokens: `prompted`, as in the paper, or `frozen`. With frozen token features
    too, weights are computed once."""
    blank: Literal["white", "black", "mean", "noise", "marginal"] = "white"
    """Image without content: `white`, as in the paper's figure, `black`, `mean` or `noise`. `marginal`: the mean
    feature of the training images, so that a word weighs by what its image has beyond the average one."""
    similarity: Literal["cos", "exp"] = "cos"
    """Similarity in eq. 11: `cos`, the cosine, or `exp`, its exponential (S, eq. 1)."""
    rescale: Literal["mean_one", "literal"] = "mean_one"
    """Scale of the weights. `mean_one`: those of a caption average 1. `literal`: they add up to 1, as printed,
    which shrinks every word embedding (eq. 14)."""
    blend: float = 1.0
    """Share of the weighting: 0 is no weighting, 1 the weights as they are (beta)."""
    smallest: float = 0.0
    """Smallest weight, before those of a caption are scaled to average 1."""
    largest: float = float("inf")
    """Largest weight, before those of a caption are scaled to average 1."""
    weight_dropout: float = 0.0
    """Probability that a caption is trained without weights, as it is tested. 0 is the paper; 0.5 is more
    robust."""
    weight_control: Literal["none", "shuffled", "wrong_image"] = "none"
    """Control of the weights. `none`: no control. `shuffled`: the weights of a caption in random order.
    `wrong_image`: weights from another image of the batch."""
    category_head: Literal["residual_zero", "plain_relu", "plain_linear", "none"] = "residual_zero"
    """Head on text features. `residual_zero`: the feature plus a two-layer network that starts at zero.
    `plain_relu`: the network alone. `plain_linear`: two linear layers. `none`: negatives act on the prompts alone
    (F_CAA)."""
    category_width: int = 512
    """Hidden width of the category head (F_CAA)."""
    category_lr_scale: float = 1.0
    """Learning rate of the category head, as a multiple of the prompts' rate. At 1 the head alone can satisfy L_cate;
    0.01 leaves the work to the prompts."""
    category_in_contrast: bool = False
    """True: the contrastive loss reads texts through the category head too, and `caa` is the default inference mode. In
    the paper it does not."""
    category_prompt: bool = True
    """True: captions and negatives carry the text context on the way to the category head."""
    category_reduction: Reduction = "mean"
    """Reduction over the batch. `mean`: like the contrastive loss. `sum`: as printed; with the paper's SGD the head
    learns only so (eq. 18)."""
    alpha: float = 0.5
    """Extra weight of the caption and of negatives of its own category, over negatives of another (alpha, eq.
    17)."""
    lambda1: float = 0.8
    """Weight of the contrastive loss (lambda_1, eq. 19)."""
    lambda2: float = 0.2
    """Weight of the category-aware loss (lambda_2, eq. 19)."""
    negatives: int = 4
    """Most negatives of a caption (Q)."""
    temperature: Literal["pretrained", "literal"] = "pretrained"
    """Temperature of the losses. `pretrained`: the backbone's. `literal`: none, as in the paper's S = exp(cos)."""
    eta: float = 0.5
    """Share of the weighted score in re-ranking; the rest is the plain cosine."""
