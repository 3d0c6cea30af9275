"""Prompts of ACT: the learned visual tokens, and the action prompts of captions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from crosscue.backbones.protocol import Backbone, Prompts
from crosscue.backbones.text_memory import TextMemory
from crosscue.methods.action.config import ActionConfig, prompted_layers
from crosscue.methods.action.knowledge import REMEMBERED, FrozenReader, KnowledgeBatch
from crosscue.methods.action.modules import PromptAdapter, TripletEncoder


class VisualPrompts(nn.ParameterDict):
    """The learned visual tokens P_v: layer -> (N, W)."""

    def __init__(self, backbone: Backbone, config: ActionConfig) -> None:
        layers = prompted_layers(config, backbone.image_layers)
        super().__init__(
            {str(layer): 0.02 * torch.randn(config.visual_prompts, backbone.image_width) for layer in layers}
        )
        self.entry, self.end = config.aim_layer, backbone.image_layers

    def prompts(self, beside: Tensor | None = None) -> Prompts | None:
        """Returns P_v, one set a prompted layer. With tokens `beside` (B, n, W), every layer from the first on has both."""
        layers: dict[int, Tensor] = {int(layer): tensor for layer, tensor in self.items()}
        if beside is not None:
            shallow = layers.get(self.entry, beside.new_zeros(0, beside.shape[-1]))
            for layer in range(self.entry, self.end):
                own = layers.get(layer, shallow)
                layers[layer] = torch.cat([own.expand(len(beside), -1, -1), beside], dim=1)
        return Prompts(layers) if layers else None


class CaptionPrompts:
    """The action prompts p_t and p_s of captions, behind the adapter: (kinds, k, W) a caption with k triplets.

    While nothing is learned they are kept in memory. Modules belong to the method, which registers them.
    """

    def __init__(
        self,
        reader: FrozenReader,
        kinds: tuple[str, ...],
        encoder: TripletEncoder | None,
        adapter: PromptAdapter | None,
    ) -> None:
        self.reader, self.kinds, self.encoder, self.adapter = reader, kinds, encoder, adapter
        self.memory: TextMemory[Tensor] = TextMemory(self.adapted, REMEMBERED)

    def __call__(self, captions: Sequence[str], *, training: bool) -> dict[str, Tensor]:
        """Distinct captions -> their prompts by caption; none where neither triplets nor states are used."""
        if not self.kinds:
            return {}
        lasting = not training and not torch.is_grad_enabled()
        made = self.memory(captions) if lasting else self.adapted(captions, anew=training)
        return dict(zip(captions, made, strict=True))

    def forget(self) -> None:
        """Drops all prompts and the frozen knowledge behind them."""
        self.memory.forget()
        self.reader.memory.forget()

    def adapted(self, captions: Sequence[str], *, anew: bool = False) -> list[Tensor]:
        """C captions -> (kinds, k, W) each; frozen knowledge is computed `anew` or remembered."""
        assert self.adapter is not None
        members = self.reader(captions, anew=anew)
        known = [member for member in members if len(member)]
        width, device = self.adapter.up.out_features, self.reader.backbone.device
        empty = torch.zeros(len(self.kinds), 0, width, device=device)
        if not known:
            return [empty] * len(captions)
        batch = KnowledgeBatch.of(known)
        sources = {"states": batch.states}  # (C, K, D)
        if "triplets" in self.kinds:
            sources["triplets"] = batch.crafted if self.encoder is None else self.encoder(batch)
        made = iter(self.adapter(torch.stack([sources[kind] for kind in self.kinds], 1)))  # C times (kinds, K, W)
        return [next(made)[:, : len(member)] if len(member) else empty for member in members]


def union(given: Sequence[Sequence[str]], by_caption: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Returns the prompts of all texts of each of B rows together (kinds, B, n, W), and where they are (B, n)."""
    rows = [torch.cat([by_caption[text] for text in texts], dim=1).transpose(0, 1) for texts in given]  # (n, kinds, W)
    present = [torch.ones(len(own), dtype=torch.bool, device=own.device) for own in rows]
    return pad_sequence(rows, True).permute(2, 0, 1, 3), pad_sequence(present, True)
