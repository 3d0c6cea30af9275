"""Frozen text features of the knowledge about a caption: the inputs of action-aware prompts (ACT section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from crosscue.backbones.embedding import embed_texts
from crosscue.backbones.protocol import Backbone
from crosscue.backbones.text_memory import TextMemory
from crosscue.errors import DataError
from crosscue.knowledge.actions.parser import SPACY, parsed_knowledge
from crosscue.knowledge.actions.record import ActionKnowledge, CaptionKnowledge, Triplet

STATE_TEMPLATES = {
    "paper": "Fine-grained state of the action triplet <{triplet}>: {state}",
    "state": "{state}",
}
"""Texts about a state. It stands last: what exceeds the text tower's length is cut from it, never from the triplet."""
HAND_CRAFTED = "A photo capturing a {subject} performing {action} in relation to {object}."
"""The template of the paper's Table 2, without its last part where a triplet has no object."""
REMEMBERED = 20_000
"""Most captions whose features are kept in memory."""


class KnowledgeSource:
    """Caption -> knowledge: from a file, or read by spaCy when it is needed."""

    def __init__(self, source: str) -> None:
        self.source, self.known = source, dict[str, CaptionKnowledge]()
        self.fingerprint = torch.zeros(32, dtype=torch.uint8)  # SHA-256 of the file a run learned from; zeros: no file
        self.opened: str | None = None

    def prepare(self, captions: Sequence[str], source: str | None = None) -> None:
        """Reads the knowledge of captions.

        Args:
            captions: texts that will be encoded.
            source: a file that describes them, or `spacy`, instead of the one the method was configured with.

        Raises:
            CrosscueError: the source is `spacy`, which is not installed.
            DataError: no source is named; there is no such file; captions are not in it; or the configured file is not
                the one the run was trained with.
        """
        wanted = source or self.source
        if not wanted:
            raise DataError(
                "action needs knowledge of the captions: --options.knowledge FILE.jsonl. Make the file: "
                "crosscue describe triplets SOURCE --out FILE.jsonl"
            )
        if wanted == SPACY:
            if self.opened != SPACY:
                self.known, self.opened = {}, SPACY
            self.known.update(
                parsed_knowledge([caption for caption in dict.fromkeys(captions) if caption not in self.known])
            )
            return
        if self.opened != wanted:
            self._open(wanted, configured=source is None)
        knowledge = ActionKnowledge(self.known)
        knowledge.require(captions)

    def __call__(self, captions: Sequence[str]) -> list[CaptionKnowledge]:
        """Returns the knowledge of captions, and reads it first if necessary."""
        if any(caption not in self.known for caption in captions):
            self.prepare(captions, self.opened)
        return [self.known[caption] for caption in captions]

    def agree(self, trained_with: Tensor) -> None:
        """Raises `DataError` if a run learned from other knowledge than the open file."""
        self._require_same(self.fingerprint, trained_with)

    def _require_same(self, now: Tensor, then: Tensor) -> None:
        if now.any() and then.any() and not torch.equal(now, then.cpu()):
            raise DataError(
                f"{self.source}: this is not the knowledge the run was trained with (now {_short(now)}, then "
                f"{_short(then)}). Restore the file, or name the one that describes these captions: --knowledge FILE."
            )

    def _open(self, path: str, *, configured: bool) -> None:
        if not Path(path).exists():
            raise DataError(
                f"{path}: there is no such knowledge file. Name the one that describes these captions "
                "(--options.knowledge FILE in training, --knowledge FILE with a run), or make it: crosscue describe triplets SOURCE --out FILE.jsonl"
            )
        loaded = ActionKnowledge.load(path)
        if configured:
            found = torch.frombuffer(bytearray.fromhex(loaded.fingerprint()), dtype=torch.uint8)
            self._require_same(found, self.fingerprint)
            self.fingerprint.copy_(found)
        self.known, self.opened = loaded.known, path


@dataclass(frozen=True)
class FrozenKnowledge:
    """The frozen features of one caption's k triplets; k is 0 for `null` knowledge."""

    pieces: Tensor
    """(L, W_text) word embeddings of their parts (eq. 4)."""
    slot: Tensor
    """(L,) part of its triplet that a piece belongs to: 0 subject, 1 action, 2 object."""
    triplet: Tensor
    """(L,) index of the triplet that a piece belongs to."""
    states: Tensor
    """(k, D) text features of the states, not normalised."""
    crafted: Tensor
    """(k, D) text features of hand-crafted texts about the triplets; (k, 0) without `hand_crafted`."""

    def __len__(self) -> int:
        return len(self.states)


@dataclass(frozen=True)
class KnowledgeBatch:
    """The frozen knowledge of C captions, padded to K triplets and L pieces."""

    pieces: Tensor
    """(C, L, W_text)"""
    slot: Tensor
    """(C, L)"""
    triplet: Tensor
    """(C, L) -1 at padding."""
    states: Tensor
    """(C, K, D)"""
    crafted: Tensor
    """(C, K, D)"""
    present: Tensor
    """(C, K) bool, true at a triplet."""

    @classmethod
    def of(cls, members: Sequence[FrozenKnowledge]) -> KnowledgeBatch:
        """Pads the knowledge of C captions."""

        def padded(name: str, value: float = 0) -> Tensor:
            return pad_sequence([getattr(member, name) for member in members], True, value)

        states = padded("states")
        counts = torch.tensor([len(member) for member in members], device=states.device)
        present = torch.arange(states.shape[1], device=states.device) < counts[:, None]
        return cls(padded("pieces"), padded("slot"), padded("triplet", -1), states, padded("crafted"), present)


class FrozenReader:
    """Captions -> their frozen knowledge.

    Captions that are computed together round together. A training step must be a function of its batch alone to be resumed
    bit-exactly, so it computes its captions anew. Otherwise each is computed once.
    """

    def __init__(
        self,
        backbone: Backbone,
        source: KnowledgeSource,
        *,
        most: int,
        attributes: bool,
        every_piece: bool,
        hand_crafted: bool,
        state_template: str,
    ) -> None:
        """Takes the tower, the source of knowledge, and the parts of it that are read.

        Args:
            backbone: its text tower and word embeddings are used, frozen.
            source: knowledge by caption.
            most: K, the most triplets of a caption; the first ones are taken.
            attributes: true if triplets about attributes count.
            every_piece: keep all word pieces instead of their mean per part of a triplet.
            hand_crafted: also encode a hand-crafted text about each triplet.
            state_template: one of the values of `STATE_TEMPLATES`.
        """
        self.state_template = state_template
        self.backbone, self.source = backbone, source
        self.most, self.attributes, self.every_piece, self.hand_crafted = most, attributes, every_piece, hand_crafted
        self.memory: TextMemory[FrozenKnowledge] = TextMemory(self._read, REMEMBERED)

    def __call__(self, captions: Sequence[str], *, anew: bool = False) -> list[FrozenKnowledge]:
        """C captions -> their frozen knowledge, computed `anew` or remembered."""
        return self._read(captions) if anew else self.memory(captions)

    def chosen(self, knowledge: CaptionKnowledge) -> list[tuple[Triplet, str]]:
        """Returns the triplets that are used, with their states."""
        usable = zip(knowledge.triplets, knowledge.states, strict=True)
        return [(t, state) for t, state in usable if self.attributes or t.kind == "action"][: self.most]

    @torch.no_grad()
    def _read(self, captions: Sequence[str]) -> list[FrozenKnowledge]:
        rows = [self.chosen(knowledge) for knowledge in self.source(captions)]
        flat = [pair for row in rows for pair in row]
        states = self._encode([state_text(self.state_template, triplet, state) for triplet, state in flat])  # (T, D)
        about = [hand_crafted(triplet) for triplet, _ in flat] if self.hand_crafted else []
        crafted = self._encode(about) if about else states[:, :0]
        parts = self.parts([text for t, _ in flat for text in (t.subject, t.action, t.object)])
        found, start = [], 0
        for row in rows:
            own = [
                (part, slot, number)
                for number in range(len(row))
                for slot in range(3)
                for part in parts[3 * (start + number) + slot]
            ]
            stop = start + len(row)
            pieces = torch.stack([part for part, _, _ in own]) if own else states.new_zeros(0, self.backbone.text_width)
            where = torch.tensor([[slot, number] for _, slot, number in own], dtype=torch.int64).view(-1, 2)
            slot, number = where.to(states.device).unbind(1)
            found.append(FrozenKnowledge(pieces, slot, number, states[start:stop], crafted[start:stop]))
            start = stop
        return found

    def _encode(self, texts: Sequence[str]) -> Tensor:
        """(T, D) text features, not normalised."""
        backbone = self.backbone
        if not texts:
            return torch.zeros(0, backbone.embed_dim, device=backbone.device)
        encoded = embed_texts(texts, lambda part: backbone.encode_text(backbone.tokenize(part)).pooled)
        return encoded.to(backbone.device)

    def parts(self, phrases: Sequence[str]) -> list[Tensor]:
        """Word embeddings of phrases (ACT eq. 4): the mean of each (1, W_text), or every piece (n, W_text); none of an empty one."""
        distinct = list(dict.fromkeys(phrases))
        if not distinct:
            return []
        tokens = self.backbone.tokenize(distinct)
        words = self.backbone.word_embedding(tokens.ids).float()  # (P, N, W_text)
        pieces = {phrase: words[row, tokens.content[row]] for row, phrase in enumerate(distinct)}
        if not self.every_piece:
            pieces = {phrase: own.mean(0, keepdim=True) if len(own) else own for phrase, own in pieces.items()}
        return [pieces[phrase] for phrase in phrases]


def state_text(template: str, triplet: Triplet, state: str) -> str:
    """Returns the text about the state of a triplet."""
    parts = ", ".join(filter(None, (triplet.subject, triplet.action, triplet.object)))
    return template.format(triplet=parts, state=state)


def hand_crafted(triplet: Triplet) -> str:
    """Returns the text of the paper's ablation (Table 2), in place of the triplet encoder."""
    template = HAND_CRAFTED if triplet.object else HAND_CRAFTED.replace(" in relation to {object}", "")
    return template.format(subject=triplet.subject, action=triplet.action, object=triplet.object)


def _short(fingerprint: Tensor) -> str:
    return bytes(fingerprint.cpu().tolist()).hex()[:12]
