"""Action-aware multi-modal prompt tuning (ACT, arXiv 2506.23502): images read with what a caption says about actions.

    caption --> triplets --> triplet encoder (eq. 4-5) --> p_t --+
            --> states  ---> frozen text tower ----------> p_s --+--> adapter (eq. 6)
                                                                          |
    image ----> [class] patches E ------------------------------> AIM (eq. 7-8) --> [class] E + gamma * V, P_1 .. P_N --> z_img

An image's embedding depends on the texts it is read with, so retrieval has two steps: a model that reads images alone
pre-selects k candidates, and those are ranked again, each image read with the knowledge of the candidate or query text.
What is right is never looked at: a text's knowledge is a function of the text. Without texts (`plain`) the method is
visual prompt tuning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from torch.nn.utils.rnn import pad_sequence

from crosscue.backbones.embedding import encode_bucketed
from crosscue.backbones.protocol import Backbone, ImageFeatures, ImageInput, ImageState, Prompts
from crosscue.backbones.text_memory import TextMemory
from crosscue.losses.contrastive import same_meaning
from crosscue.losses.hinge import HardNegatives, triplet_hinge
from crosscue.methods.action.candidates import Scores, scores_by_nearest, scores_by_own
from crosscue.methods.action.config import ActionConfig, check, prompted_layers
from crosscue.methods.action.knowledge import REMEMBERED, FrozenReader, KnowledgeBatch, KnowledgeSource
from crosscue.methods.action.modules import AdaptiveInteraction, PromptAdapter, TripletEncoder
from crosscue.methods.capabilities import ReadsTogether, Stage, TrainsInStages, UsesKnowledge, WantsNeighbours
from crosscue.methods.contract import Batch, Method

CONTRASTIVE, RANKING = "contrastive", "ranking"
SHARPEST = 100.0
"""First and largest 1 / temperature, as in CLIP."""


class Action(Method[ActionConfig], ReadsTogether, TrainsInStages, UsesKnowledge, WantsNeighbours):
    """Visual prompts and patches that attend to action knowledge; the encoders stay frozen."""

    name = "action"
    summary = (
        "Images read with the actions a caption speaks of; re-ranks the first candidates. Slower to search, finer."
    )
    paper = "arXiv 2506.23502"
    config_class = ActionConfig
    inference_modes: ClassVar[tuple[str, ...]] = ("plain", "pooled", "pairwise")
    preselect = "clip"

    def __init__(self, backbone: Backbone, config: ActionConfig) -> None:
        super().__init__(backbone, config)
        check(backbone, config)
        self.kinds = tuple(kind for kind in ("triplets", "states") if getattr(config, kind))
        self.visual = nn.ParameterDict(
            {
                str(layer): 0.02 * torch.randn(config.visual_prompts, backbone.image_width)
                for layer in prompted_layers(config, backbone.image_layers)
            }
        )  # layer -> (N, W)
        self.log_scale = nn.Parameter(torch.tensor(math.log(SHARPEST)))  # log(1 / tau)
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
                backbone.image_width,
                self.kinds,
                config.mixing,
                share=config.aim_share,
                reverse=config.aim_query == "prompt",
                gated=config.aim_residual == "zero_gate",
            )
        self.source = KnowledgeSource(config.knowledge)
        self.reader = FrozenReader(
            backbone,
            self.source,
            most=config.max_triplets,
            attributes=config.attributes,
            every_piece=config.triplet_input == "all_tokens",
            hand_crafted=config.hand_crafted,
        )
        self.remembered: TextMemory[Tensor] = TextMemory(self._adapt, REMEMBERED)  # (kinds, k, W) each
        self.default_inference = "pooled" if self.kinds else "plain"
        self.stage, self.stage_epoch = CONTRASTIVE, 0
        self.companions = 0 if config.conditioning == "own" else config.candidates
        self.to(backbone.device)

    # --- images and texts alone --------------------------------------------------------------------------------------------

    def image_features(self, images: ImageInput) -> Tensor:
        """Images read without texts, which is visual prompt tuning: (B, 3, S, S) or a cached state -> (B, D)."""
        return self.backbone.encode_image(self.state(images), self.visual_prompts()).pooled

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

    def state(self, images: ImageInput) -> ImageState:
        """Returns the tokens at the input of the layer where the knowledge enters."""
        layer = self.config.aim_layer
        assert not isinstance(images, ImageFeatures)  # only of methods that leave the whole image tower alone
        state = images if isinstance(images, ImageState) else self.backbone.image_state(images, layer)
        return self.backbone.image_entry(state) if state.layer == 0 else state

    def visual_prompts(self, beside: Tensor | None = None) -> Prompts | None:
        """Returns P_v, one set a prompted layer, each followed by the tokens `beside` (B, n, W) where there are any."""
        layers: dict[int, Tensor] = {int(layer): tensor for layer, tensor in self.visual.items()}
        if beside is not None:
            entry = self.config.aim_layer
            shallow = layers.get(entry, beside.new_zeros(0, beside.shape[-1]))
            for layer in {entry, *range(entry, min(self.config.deep_start, self.backbone.image_layers)), *layers}:
                own = layers.get(layer, shallow)
                layers[layer] = torch.cat([own.expand(len(beside), -1, -1), beside], dim=1)
        return Prompts(layers) if layers else None

    # --- images read with texts --------------------------------------------------------------------------------------------

    def image_given_texts(self, images: ImageInput, given: Sequence[Sequence[str]]) -> Tensor:
        """f(x | C): B images, each read with the knowledge of its texts -> (B, D) unit vectors.

        The order of an image's texts does not matter. Where nothing is known about them, the image is read alone.
        """
        captions = list(dict.fromkeys(text for texts in given for text in texts))
        return self._read(self.state(images), given, self._caption_prompts(captions) if self.kinds else {})

    def _read(self, state: ImageState, given: Sequence[Sequence[str]], by_caption: dict[str, Tensor]) -> Tensor:
        """f(x | C) with the adapted prompts of the captions (kinds, k, W) at hand."""
        if not self.kinds:
            return normalize(self.image_features(state).float(), dim=-1)
        prompts, present = union(given, by_caption)  # (kinds, B, n, W), (B, n)
        if self.interaction is None:
            beside = torch.cat(list(prompts), dim=1)  # (B, kinds * n, W)
            return self._with_tokens(state, beside, present.repeat(1, len(prompts)))
        known = present.any(1).nonzero()[:, 0]
        if not len(known):
            return normalize(self.image_features(state).float(), dim=-1)
        by_kind = dict(zip(self.kinds, prompts[:, known], strict=True))
        first = state.tokens.shape[1] - self.backbone.patch_count
        patches = state.tokens[known, first:].float()  # E (b, M, W)
        with self.backbone.precision.autocast(patches.device):
            enhanced = self.interaction(patches, by_kind, present[known])  # (b, M, W), or (b, n, W) beside the patches
        if self.config.aim_query == "prompt":
            beside = torch.zeros(prompts.shape[1:], device=enhanced.device).index_copy(0, known, enhanced)
            return self._with_tokens(state, beside, present)
        if self.config.aim_residual != "none":
            enhanced = patches + enhanced
        changed = state.tokens[known].clone()
        changed[:, first:] = enhanced.to(changed.dtype)
        tokens = state.tokens.index_copy(0, known, changed)
        state = ImageState(tokens, state.layer, state.entered)
        if self.config.early_inject:
            return self._with_tokens(
                state, torch.cat(list(prompts), dim=1), present.repeat(1, len(prompts)), at_every_layer=True
            )
        return normalize(self.image_features(state).float(), dim=-1)

    def _with_tokens(
        self, state: ImageState, beside: Tensor, present: Tensor, *, at_every_layer: bool = False
    ) -> Tensor:
        """Encodes images with some more tokens each, (B, n, W) where `present` (B, n); rows of equal number go together.

        They stand beside the patches at the interaction's layer and are passed on, or are given anew to every layer.
        """
        counts = present.sum(1)
        features = torch.zeros(len(state), self.backbone.embed_dim, device=beside.device)
        for count in counts.unique().tolist():
            rows = (counts == count).nonzero()[:, 0]
            own = beside[rows][present[rows]].view(len(rows), count, beside.shape[-1])
            part, again = state[rows], own if at_every_layer and count else None
            if again is None:
                part = ImageState(torch.cat([part.tokens, own.to(part.tokens.dtype)], 1), part.layer, part.entered)
            pooled = self.backbone.encode_image(part, self.visual_prompts(again)).pooled
            features = features.index_copy(0, rows, pooled)
        return normalize(features, dim=-1)

    def _caption_prompts(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """Captions -> p_t and p_s behind the adapter (kinds, k, W) each; remembered while nothing is learned."""
        lasting = not self.training and not torch.is_grad_enabled()
        return dict(zip(captions, self.remembered(captions) if lasting else self._adapt(captions), strict=True))

    def _adapt(self, captions: Sequence[str]) -> list[Tensor]:
        """C captions -> (kinds, k, W) each (eq. 4-6)."""
        assert self.adapter is not None
        members = self.reader(captions, anew=self.training)
        known = [member for member in members if len(member)]
        empty = torch.zeros(len(self.kinds), 0, self.backbone.image_width, device=self.backbone.device)
        if not known:
            return [empty] * len(captions)
        batch = KnowledgeBatch.of(known)
        sources = {"states": batch.states}  # (C, K, D)
        if self.config.triplets:
            sources["triplets"] = batch.crafted if self.encoder is None else self.encoder(batch)
        adapted = iter(self.adapter(torch.stack([sources[kind] for kind in self.kinds], 1)))  # C times (kinds, K, W)
        return [next(adapted)[:, : len(member)] if len(member) else empty for member in members]

    def scores_given_texts(
        self, images: ImageInput, given: Sequence[Sequence[str]], captions: Tensor, plain: Tensor
    ) -> Tensor:
        """See `ReadsTogether.scores_given_texts`: a blend of the plain cosine and cos(f(x | C), z_txt)."""
        features = self.image_given_texts(images, given)  # (B, D)
        refined = (captions @ features.unsqueeze(-1)).squeeze(-1)  # (B, C)
        return (1 - self.config.eta) * plain + self.config.eta * refined

    # --- training -------------------------------------------------------------------------------------------------------

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Returns L_stage1 (ACT eq. 10), L_stage2 (eq. 11), or both, as strategy and stage say."""
        config = self.config
        scores = self.candidate_scores(batch)
        hard: HardNegatives = config.negatives
        if hard == "hardest" and self.stage_epoch == 0:
            hard = "semihard"
        parts = {}
        if self.stage != RANKING:
            scale = self.log_scale.exp()
            right = torch.zeros(len(batch), dtype=torch.int64, device=scale.device)
            parts["contrastive_loss"] = sum(
                (cross_entropy(scale * direction, right) for direction in scores), start=scale.new_zeros(())
            )
            parts["scale"] = scale.detach()
        if self.stage == RANKING or config.strategy == "combined":
            parts["ranking_loss"] = sum(
                (triplet_hinge(direction, config.margin, hard) for direction in scores),
                start=self.log_scale.new_zeros(()),
            )
        return parts

    def candidate_scores(self, batch: Batch) -> Scores:
        """Cosines of B queries with their candidates, as `conditioning` says; candidates that are also right are -inf."""
        with torch.no_grad():
            self.log_scale.clamp_(max=math.log(SHARPEST))
        state, captions = self.state(batch.images), list(batch.captions)
        texts = encode_bucketed(captions, self.encode_text)  # z_txt (B, D)
        excluded = torch.eye(len(batch), dtype=torch.bool, device=texts.device)
        same = same_meaning(captions, batch.image_ids, texts.device) if self.config.mask_duplicates else None
        if same is not None:
            excluded = excluded | same
        prompts = self._caption_prompts(list(dict.fromkeys(captions))) if self.kinds else {}
        read = partial(self._read, by_caption=prompts)
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
        """Eq. 10 with all learned tensors, then eq. 11 with the interaction module, or the visual prompts where there is none."""
        if self.config.strategy != "two_stage":
            return (Stage(CONTRASTIVE),)
        part = "visual." if self.interaction is None else "interaction."
        second = Stage(
            RANKING,
            lambda name: name.startswith(part),
            self.config.second_stage_epochs,
            self.config.second_stage_lr,
        )
        return (Stage(CONTRASTIVE), second)

    def enter(self, stage: str, epoch: int) -> None:
        """See `TrainsInStages.enter`."""
        self.stage, self.stage_epoch = stage, epoch

    @property
    def frozen_image_layers(self) -> int:
        """The layers before the knowledge enters."""
        return self.config.aim_layer

    # --- knowledge, and what is saved -----------------------------------------------------------------------------------

    def require(self, captions: Sequence[str], source: str | None = None) -> None:
        """See `UsesKnowledge.require`; nothing is needed where neither triplets nor states are used."""
        if self.kinds or self.config.text_enrich != "none":
            if source is not None and source != self.source.opened:
                self.reader.memory.forget()
                self.remembered.forget()
            self.source.prepare(captions, source)

    def train(self, mode: bool = True) -> Self:
        """Sets the mode and drops what was remembered of captions, because tensors may have changed."""
        self.remembered.forget()
        self.reader.memory.forget()
        return super().train(mode)

    def learned_state(self) -> dict[str, Tensor]:
        """The trainable tensors, and the fingerprint of the knowledge they were learned with."""
        return super().learned_state() | {"knowledge": self.source.fingerprint}

    def load_learned_state(self, state: dict[str, Tensor]) -> None:
        """See `Method.load_learned_state`; knowledge that was read already must be the knowledge of the run."""
        if "knowledge" in state:
            self.source.agree(state["knowledge"])
        self.remembered.forget()
        super().load_learned_state(state)


def union(given: Sequence[Sequence[str]], by_caption: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Returns the prompts of all texts of each of B rows together (kinds, B, n, W), and where they are (B, n)."""
    rows = [torch.cat([by_caption[text] for text in texts], dim=1).transpose(0, 1) for texts in given]  # (n, kinds, W)
    present = [torch.ones(len(own), dtype=torch.bool, device=own.device) for own in rows]
    return pad_sequence(rows, True).permute(2, 0, 1, 3), pad_sequence(present, True)
