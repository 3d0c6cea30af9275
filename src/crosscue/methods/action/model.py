"""Action-aware multi-modal prompt tuning (ACT, arXiv 2506.23502): images read with the action knowledge of captions.

    caption --> triplets --> triplet encoder (eq. 4-5) --> p_t --+
            --> states  ---> frozen text tower ----------> p_s --+--> adapter (eq. 6)
                                                                          |
    image ----> [class] patches E ------------------------------> AIM (eq. 7-8) --> [class] E + V, P_1 .. P_N --> z_img

An image's embedding depends on the texts it is read with, so retrieval has two steps. A model that reads images alone
pre-selects k candidates. Those are ranked again, each image read with the knowledge of the candidate or query text.
The right answer never enters: a text's knowledge is a function of the text. Without texts (`plain`) the method is
visual prompt tuning.

Equations:

    ACT eq. 4  -> methods.action.knowledge.FrozenReader.parts
    ACT eq. 5  -> methods.action.modules.TripletEncoder.forward
    ACT eq. 6  -> methods.action.modules.PromptAdapter.forward
    ACT eq. 7  -> methods.action.modules.AdaptiveInteraction.attend
    ACT eq. 8  -> methods.action.modules.AdaptiveInteraction.forward
    ACT eq. 10 -> methods.action.candidates.candidate_contrast
    ACT eq. 11 -> losses.hinge.triplet_hinge
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from crosscue.backbones.embedding import encode_bucketed
from crosscue.backbones.protocol import Backbone, ImageInput
from crosscue.losses.contrastive import same_meaning
from crosscue.losses.hinge import HardNegatives, triplet_hinge
from crosscue.methods.action.candidates import Scores, candidate_contrast, scores_by_nearest, scores_by_own
from crosscue.methods.action.config import ActionConfig, check, template_of
from crosscue.methods.action.effect import interaction_effect
from crosscue.methods.action.knowledge import STATE_TEMPLATES, FrozenReader, KnowledgeSource
from crosscue.methods.action.modules import AdaptiveInteraction, PromptAdapter, TripletEncoder
from crosscue.methods.action.prompts import CaptionPrompts, VisualPrompts
from crosscue.methods.action.reading import ImageReader
from crosscue.methods.capabilities import (
    KnowsTriplets,
    ReadsTogether,
    Stage,
    TrainsInStages,
    UsesKnowledge,
    WantsNeighbours,
)
from crosscue.methods.contract import Batch, ImageUse, Method

CONTRASTIVE, RANKING, SLOWER = "contrastive", "ranking", "slower"
SHARPEST = 100.0
"""Largest 1 / temperature, as in CLIP."""


class Action(Method[ActionConfig], KnowsTriplets, ReadsTogether, TrainsInStages, UsesKnowledge, WantsNeighbours):
    """Visual prompts and patches that attend to action knowledge; the encoders stay frozen."""

    name = "action"
    summary = "Images read with the actions in a caption; re-ranks the first candidates. Slower to search, finer."
    paper = "arXiv 2506.23502"
    config_class = ActionConfig
    preselect = "clip"

    def __init__(self, backbone: Backbone, config: ActionConfig) -> None:
        super().__init__(backbone, config)
        check(backbone, config)
        self.image_use = ImageUse(config.aim_layer)
        self.kinds = tuple(kind for kind in ("triplets", "states") if getattr(config, kind))
        self.visual = VisualPrompts(backbone, config)  # layer -> (N, W)
        scale = backbone.logit_scale.detach().float().cpu().clamp(max=SHARPEST)
        self.log_scale = nn.Parameter(scale.log().clone())  # log(1 / tau)
        self.encoder: TripletEncoder | None = None
        self.adapter: PromptAdapter | None = None
        self.interaction: AdaptiveInteraction | None = None
        if self.kinds:
            self.adapter = PromptAdapter(backbone.embed_dim, config.adapter_width, backbone.image_width)
        if config.triplets and not config.hand_crafted:
            self.encoder = TripletEncoder(
                backbone.text_width,
                backbone.embed_dim,
                config.max_triplets,
                config.triplet_layers,
                config.triplet_input,
                config.triplet_index,
            )
        if self.kinds and config.aim == "attention":
            self.interaction = AdaptiveInteraction(
                backbone,
                config.aim_layer,
                self.kinds,
                config.mixing,
                beside=config.aim_beside,
                share=config.aim_share,
                reverse=config.aim_query == "prompt",
                closed=config.aim_residual,
            )
        self.source = KnowledgeSource(config.knowledge)
        self.reader = FrozenReader(
            backbone,
            self.source,
            most=config.max_triplets,
            attributes=config.attributes,
            every_piece=config.triplet_input == "all_tokens",
            hand_crafted=config.hand_crafted,
            state_template=STATE_TEMPLATES[template_of(config, backbone)],
        )
        self.caption_prompts = CaptionPrompts(self.reader, self.kinds, self.encoder, self.adapter)
        self.images = ImageReader(backbone, config, self.kinds, self.visual, self.interaction)
        self.reranks = bool(self.kinds)
        self.stage, self.stage_epoch = CONTRASTIVE, 0
        self.companions = 0 if config.conditioning == "own" else config.candidates
        self.to(backbone.device)

    # --- images and texts alone --------------------------------------------------------------------------------------------

    def image_features(self, images: ImageInput) -> Tensor:
        """Images read without texts, which is visual prompt tuning: (B, 3, S, S) or a cached state -> (B, D)."""
        return self.images.alone(images)

    def text_features(self, texts: Sequence[str], mode: str = "plain") -> Tensor:
        """z_txt, the frozen text feature of each text: B texts -> (B, D)."""
        plain = self.backbone.encode_text(self.backbone.tokenize(texts)).pooled
        if self.config.text_enrich == "none":
            return plain
        enriched = [
            torch.cat([normalize(own[None], dim=-1), normalize(known.states, dim=-1)]).mean(0)
            for own, known in zip(plain, self.reader(texts, anew=self.training), strict=True)
        ]
        return torch.stack(enriched)

    def triplets(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """See `KnowsTriplets.triplets`: each triplet with its state; none where the run has no knowledge."""
        if not (self.source.source or self.source.opened):
            return [() for _ in texts]
        return [
            tuple(
                f"({', '.join(filter(None, (one.subject, one.action, one.object)))}): {state}"
                for one, state in zip(known.triplets, known.states, strict=True)
            )
            for known in self.source(texts)
        ]

    # --- images read with texts --------------------------------------------------------------------------------------------

    def image_given_texts(self, images: ImageInput, given: Sequence[Sequence[str]]) -> Tensor:
        """f(x | C): B images, each read with the knowledge of its texts -> (B, D) unit vectors.

        The order of an image's texts does not matter. Where nothing is known about them, the image is read alone.
        """
        captions = list(dict.fromkeys(text for texts in given for text in texts))
        prompts = self.caption_prompts(captions, training=self.training)
        return self.images(self.images.state(images), given, prompts)

    def scores_given_texts(
        self, images: ImageInput, given: Sequence[Sequence[str]], captions: Tensor, plain: Tensor
    ) -> Tensor:
        """See `ReadsTogether.scores_given_texts`: a blend of the plain cosine and cos(f(x | C), z_txt)."""
        features = self.image_given_texts(images, given)  # (B, D)
        refined = (captions @ features.unsqueeze(-1)).squeeze(-1)  # (B, C)
        return (1 - self.config.eta) * plain + self.config.eta * refined

    @torch.no_grad()
    def effect(self, images: ImageInput, texts: Sequence[str], other: Sequence[str]) -> dict[str, float]:
        """See `ReadsTogether.effect`: shares of the variance of the interaction module's output."""
        if self.interaction is None or self.config.aim_query == "prompt":
            return {}
        return interaction_effect(self.images, self.caption_prompts, self.images.state(images), texts, other)

    # --- training -------------------------------------------------------------------------------------------------------

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Returns L_stage1 (ACT eq. 10), L_stage2 (eq. 11), or both, as strategy and stage say."""
        config = self.config
        scores = self.candidate_scores(batch)
        hard: HardNegatives = config.negatives
        if hard == "hardest" and (self.stage, self.stage_epoch) == (CONTRASTIVE, 0):
            hard = "semihard"  # `combined` ranks from the first step on
        parts = {}
        if self.stage != RANKING:
            scale = self.log_scale.exp()
            parts["contrastive_loss"] = candidate_contrast(scores, scale)
            parts["scale"] = scale.detach()
        if self.stage == RANKING or config.strategy == "combined":
            parts["ranking_loss"] = sum(
                (triplet_hinge(direction, config.margin, hard) for direction in scores),
                start=self.log_scale.new_zeros(()),
            )
        return parts

    def candidate_scores(self, batch: Batch) -> Scores:
        """Cosines of B queries with their candidates, according to `conditioning`; candidates that are also right are -inf."""
        with torch.no_grad():
            self.log_scale.clamp_(max=math.log(SHARPEST))
        state, captions = self.images.state(batch.images), list(batch.captions)
        texts = encode_bucketed(captions, self.encode_text)  # z_txt (B, D)
        excluded = torch.eye(len(batch), dtype=torch.bool, device=texts.device)
        same = same_meaning(captions, batch.image_ids, texts.device) if self.config.mask_duplicates else None
        if same is not None:
            excluded = excluded | same
        prompts = self.caption_prompts(list(dict.fromkeys(captions)), training=self.training)
        read = partial(self.images, by_caption=prompts)
        if self.config.conditioning == "own":
            return scores_by_own(read, state, captions, texts, excluded)
        return scores_by_nearest(
            read,
            state,
            captions,
            texts,
            excluded,
            self.config.candidates,
            pooled=self.config.conditioning == "matched",
            conditioned=bool(self.kinds),
        )

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Two stages; the second has its own rate.

        `two_stage` trains the interaction module there with eq. 11, or the visual prompts where there is no module.
        The other strategies go on as before, so that all have the same schedule.
        """
        epochs, rate = self.config.second_stage_epochs, self.config.second_stage_lr
        if self.config.strategy != "two_stage":
            return (Stage(CONTRASTIVE), Stage(SLOWER, epochs=epochs, learning_rate_scale=rate))
        part = "visual." if self.interaction is None else "interaction."
        return (Stage(CONTRASTIVE), Stage(RANKING, lambda name: name.startswith(part), epochs, rate))

    def enter(self, stage: str, epoch: int) -> None:
        """See `TrainsInStages.enter`."""
        self.stage, self.stage_epoch = stage, epoch

    # --- knowledge, and what is saved -----------------------------------------------------------------------------------

    def require(self, captions: Sequence[str], source: str | None = None) -> None:
        """See `UsesKnowledge.require`; nothing is needed where neither triplets nor states are used."""
        if self.kinds or self.config.text_enrich != "none":
            if (source or self.source.source) != self.source.opened:
                self.caption_prompts.forget()
            self.source.prepare(captions, source)

    def train(self, mode: bool = True) -> Self:
        """Sets the mode and drops what was remembered of captions, because tensors may have changed."""
        self.caption_prompts.forget()
        return super().train(mode)

    def extra_state(self) -> dict[str, Tensor]:
        """Returns the fingerprint of the knowledge that the parameters were learned with."""
        return {"knowledge": self.source.fingerprint}

    def load_learned_state(self, state: dict[str, Tensor]) -> None:
        """See `Method.load_learned_state`; knowledge that was read already must be the knowledge of the run."""
        if "knowledge" in state:
            self.source.agree(state["knowledge"])
        self.caption_prompts.forget()
        super().load_learned_state(state)
