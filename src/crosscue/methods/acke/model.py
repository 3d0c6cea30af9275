"""ACKE (TOMM 2026), rebuilt without its leak: prompts from one shared pool, and generated descriptions weighted by evidence theory.

    ACP    image ---- frozen tower --> query --+                    +--> k prompts ------> image tower -> f
                                               +-- M shared keys ---+
           text ----- frozen tower --> query --+   (pool.py) +--> phi(k prompts) -> text tower --> g
                                 (W)
    UAIP   caption, descriptions -> evidence for the images of the batch -> opinions -> trust = certain and in agreement -> weights

The paper's text was not available: this is an interpretation of its abstract. The released code's arithmetic is the method
`acke_released` (released.py). Above all, the released code encodes every caption with prompts chosen by its *own image*, also at test
time, which reveals the pairing (`paired_leaky`). Here a text chooses its prompts itself; its image's choice is only a training target.

Equations:

    VSE++ eq. 6               -> losses.hardest.hardest_hinge
    Sensoy et al., eq. 5      -> losses.evidential.evidential_loss
    Dempster's rule           -> losses.opinions.dempster_evidence
    degree of conflict (RCML) -> losses.opinions.degree_of_conflict
    PAU eq. 12                -> losses.prototypes.uncertainty_alignment
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from crosscue.backbones.embedding import embed_texts, encode_bucketed
from crosscue.backbones.protocol import Backbone, ImageInput
from crosscue.errors import MethodError
from crosscue.losses.contrastive import same_meaning
from crosscue.losses.evidential import retrieval_evidence
from crosscue.losses.opinions import opinion
from crosscue.losses.view_weights import gallery_trust
from crosscue.methods.acke.config import AckeConfig
from crosscue.methods.acke.descriptions import COUNT
from crosscue.methods.acke.other_captions import training_views
from crosscue.methods.acke.pool import Selection
from crosscue.methods.acke.towers import PoolPromptedTowers
from crosscue.methods.acke.views import ViewLosses, pair_contrast, pair_hinge
from crosscue.methods.capabilities import EnrichesGallery, KnowsUncertainty, ScoresPairs, UsesKnowledge
from crosscue.methods.contract import Batch, Learns

if TYPE_CHECKING:
    from crosscue.data.pairs import Pairs


class Acke(PoolPromptedTowers, UsesKnowledge, ScoresPairs, EnrichesGallery, KnowsUncertainty):
    """Prompts chosen from a shared pool; training enriched by descriptions that are trusted as far as the evidence goes."""

    name = "acke"
    summary = "Prompts chosen from a shared pool + generated descriptions weighted by evidence theory. Best with `describe views`."
    paper = "ACKE, TOMM 2026 (github.com/nynu-BDAI/ACKE), re-interpreted"
    config_class = AckeConfig
    config: AckeConfig

    def __init__(self, backbone: Backbone, config: AckeConfig) -> None:
        super().__init__(backbone, config)
        self.views = training_views(config.views, config.missing_views)
        self.view_losses = ViewLosses(config, backbone.embed_dim)
        self.let_towers_learn()
        self.steps = torch.zeros(())  # training steps so far
        self.to(backbone.device)

    def study(self, train: Pairs, captions: Sequence[str]) -> dict[str, Any]:
        """Reads the descriptions of the training images, and encodes all texts; see `UsesKnowledge.study`."""
        record = {} if self.config.weights == "none" else self.views.prepare(train)
        self.remember(captions)
        return record

    def forget(self) -> None:
        """Drops what texts were encoded to."""
        self.remember([])

    # --- training -----------------------------------------------------------------------------------------------------

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Returns every part of the loss, already times its weight, and what is worth watching."""
        if self.training:
            self.steps += 1
        batch, config = self.completed(batch), self.config
        chosen = self.chosen_by_images(batch.images, batch.untouched)
        images = normalize(self.read_images(batch.images, chosen).float(), dim=-1)  # f (B, D)
        rows, described = self.draw_views(batch)
        texts, views = self.encode_captions_and_views(batch, described)  # g (B, D), z (V, R, D)
        same = same_meaning(batch.captions, batch.image_ids, images.device) if config.mask_duplicates else None
        scale = self.backbone.logit_scale
        losses = {
            "contrastive_loss": pair_contrast(images, texts, scale, config, same).mean(),
            "hinge_loss": config.lambda_hinge * pair_hinge(images, texts, config.margin, same).mean(),
        }
        if len(rows) > 1:
            own = None if same is None else same[rows][:, rows]
            losses |= self.view_losses(images[rows], texts[rows], views, own, scale, int(self.steps))
        if self.config.acp == "pairwise":
            losses["pairwise_loss"] = self.pairwise_loss(images, batch, same)
        return losses | self.pool_losses(batch, chosen)

    def completed(self, batch: Batch) -> Batch:
        """Returns a batch past the layers before the first prompt, with the untouched tower's features where they are needed."""
        batch = replace(batch, images=self.once(batch.images))
        return replace(batch, untouched=batch.untouched_features(self.backbone)) if self.image_use.untouched else batch

    def remember(self, texts: Sequence[str]) -> None:
        """Encodes captions and descriptions once, where texts choose or are read without prompts; no texts: forgets all."""
        known = [*texts, *self.views.texts] if texts else []
        if self.text_key is not None:
            self.frozen.remember(known)
        if self.text_tower_stays:
            self.plain_texts.memory.fill(known)

    def draw_views(self, batch: Batch) -> tuple[list[int], list[list[str]]]:
        """Returns the R rows of a batch that have descriptions, and V lists of R drawn descriptions."""
        if self.config.weights == "none":
            return [], []
        found = self.views.of(batch.image_ids, batch.captions)
        rows = [row for row, views in enumerate(found) if views is not None]
        known = [views for views in found if views is not None]
        drawn = torch.rand(len(rows), COUNT).argsort(1)[:, : self.config.views_per_step].T.tolist()  # (V, R)
        return rows, [[views[place] for views, place in zip(known, places, strict=True)] for places in drawn]

    def encode_captions_and_views(self, batch: Batch, described: list[list[str]]) -> tuple[Tensor, Tensor]:
        """Returns captions (B, D) and descriptions (V, R, D) as unit vectors, in one pass where no image is involved."""
        extra = [text for texts in described for text in texts]
        if self.config.acp == "paired_leaky":
            assert batch.untouched is not None
            queries = self.frozen.of_features(batch.untouched)
            captions = normalize(self.read_beside(batch.captions, queries).float(), dim=-1)
            both = torch.cat([captions, encode_bucketed(extra, self.read_alone)]) if extra else captions
        else:
            both = encode_bucketed([*batch.captions, *extra], self.read_alone)
        return both[: len(batch)], both[len(batch) :].unflatten(0, (len(described), -1)) if extra else both[:0]

    def read_alone(self, texts: Sequence[str]) -> Tensor:
        """Texts of a training step, each with the prompts it chooses itself -> (B, D) unit vectors."""
        return normalize(self.read_texts(texts, self.chosen_by_texts(texts, remembered=True)).float(), dim=-1)

    def pool_losses(self, batch: Batch, chosen: Selection | None) -> dict[str, Tensor]:
        """Returns what teaches the pool: keys near their queries, one choice for a pair, even use, prompts that differ."""
        if chosen is None or self.pool is None:
            return {}
        config = self.config
        losses = {"overlap_loss": config.lambda_overlap * self.pool.overlap_loss()} if config.top_k > 1 else {}
        if chosen.affinity is None:
            return losses
        text = self.chosen_by_texts(batch.captions, remembered=True)
        both = [chosen] if text is None else [chosen, text]
        losses |= {
            "pull_loss": config.lambda_pull * self.pool.pull_loss(both),
            "balance_loss": config.lambda_balance * self.pool.balance_loss(both),
            "prompts_used": chosen.index.unique().numel() / chosen.affinity.new_tensor(config.pool_size),
        }
        if text is not None:
            losses["agree_loss"] = config.lambda_agree * self.pool.agreement_loss(chosen, text)
        return losses

    def pairwise_loss(self, images: Tensor, batch: Batch, same: Tensor | None) -> Tensor:
        """Returns the cross-entropies of captions read with the choices of their own and of `pairwise_negatives` other images.

        Caption j meets image j - d, for d = 0, 1, ...: every image and every caption is in the same number of pairs.
        """
        assert batch.untouched is not None
        queries = self.frozen.of_features(batch.untouched)
        by_caption, by_image = [], []
        for shift in range(min(self.config.pairwise_negatives, len(batch) - 1) + 1):
            texts = normalize(self.read_beside(batch.captions, queries.roll(shift, 0)).float(), dim=-1)
            scores = self.backbone.logit_scale * (images.roll(shift, 0) * texts).sum(-1)  # (B,)
            if same is not None:
                scores = scores.masked_fill(same.roll(shift, 1).diagonal(), float("-inf"))
            by_caption.append(scores)
            by_image.append(scores.roll(-shift, 0))
        right = torch.zeros(len(batch), dtype=torch.int64, device=images.device)
        return cross_entropy(torch.stack(by_caption, 1), right) + cross_entropy(torch.stack(by_image, 1), right)

    # --- inference ----------------------------------------------------------------------------------------------------

    def require_pairs(self) -> None:
        """Raises `MethodError` if captions were not trained beside candidates."""
        if self.config.acp != "pairwise":
            raise MethodError(
                f"this run was trained with acp {self.config.acp}; re-ranking needs acp pairwise. Use --no-rerank."
            )

    def pair_features(self, images: ImageInput) -> Tensor:
        """(B, 3, S, S) or a cached state -> (B, D + C): the embedding, and the query that chooses prompts."""
        images = self.once(images)
        return torch.cat([self.encode_image(images), self.frozen.of_images(images)], dim=-1)

    def text_given_image(self, texts: Sequence[str], images: Tensor) -> Tensor:
        """B texts, each with the prompts that one image (B, D + C) chooses -> (B, D) unit vectors."""
        if self.config.acp not in ("pairwise", "paired_leaky"):
            raise MethodError(
                f"this run was trained with acp {self.config.acp}: its texts choose their prompts themselves."
            )
        return normalize(self.read_beside(texts, images[:, self.backbone.embed_dim :]).float(), dim=-1)

    def pair_scores(self, images: Tensor, plain: Tensor, texts: Sequence[str]) -> Tensor:
        """Scores of B candidate pairs: a blend of the plain cosine and that of the caption read with the candidate's choice."""
        beside = (images[:, : self.backbone.embed_dim] * self.text_given_image(texts, images)).sum(-1)
        return (1 - self.config.eta) * plain + self.config.eta * beside

    @torch.no_grad()
    def enrich(self, images: Tensor, views: Sequence[Sequence[str]], strength: float) -> Tensor:
        """Adds to images (N, D) their descriptions (V lists of N), weighted by evidence: f + strength sum_v w^v z^v (N, D).

        The weight of a description grows with its evidence for one image of the gallery and its agreement with the others. No query
        enters.
        """
        texts = torch.stack([normalize(embed_texts(view, self.encode_text), dim=-1) for view in views])  # z (V, N, D)
        margin, prior = self.config.evidence_margin, self.config.prior_weight
        trust = gallery_trust(images, texts, self.evidence_scale.cpu(), margin=margin, prior_weight=prior)  # (V, N)
        weights = trust / trust.sum(0).clamp(min=1e-8)
        return images + strength * torch.einsum("vn,vnd->nd", weights, texts)

    def query_uncertainty(self, scores: Tensor) -> Tensor:
        """Returns the vacuity (B,) of the opinion that B queries hold on N candidates, from their cosines (B, N)."""
        config = self.config
        evidence = retrieval_evidence(scores, self.evidence_scale.to(scores.device), config.evidence_margin)
        return opinion(evidence, config.prior_weight).uncertainty

    @property
    def evidence_scale(self) -> Tensor:
        """() what cosines above the background are multiplied with."""
        given = self.config.evidence_scale
        return self.backbone.logit_scale if given is None else torch.tensor(given, device=self.backbone.device)

    # --- what is learned and saved --------------------------------------------------------------------------------------

    def learns(self, name: str) -> Learns | None:
        """Towers and projections learn more slowly than prompts. Norms, biases and single vectors of towers do not decay."""
        learns = super().learns(name)
        if learns and name.startswith("tuned."):
            return Learns(self.config.tower_lr_scale, decay=self.get_parameter(name).dim() > 1)
        return Learns(self.config.projection_lr_scale) if learns and "_change." in name else learns

    def extra_state(self) -> dict[str, Tensor]:
        """Returns the random keys, and the number of steps, on which the weight of the KL term depends."""
        return {name: tensor for name, tensor in self.named_buffers() if name.startswith("pool.")} | {
            "steps": self.steps
        }
