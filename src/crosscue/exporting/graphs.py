"""The two modules that are exported: normalised pixels to vectors, and token ids to vectors."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from crosscue.backbones.protocol import TokenBatch
from crosscue.backbones.tokenizing import Tokenizer
from crosscue.backbones.towers import TwoTowers
from crosscue.errors import DataError, MethodError
from crosscue.methods.capabilities import require_vectors, text_modes
from crosscue.methods.contract import Method

TEXT = "\ue000"
"""The text whose token ids are the input of a graph. No caption contains this character."""

NO_GRAPH = (
    "method '{}' with these options {}, so it has no graph from one text to one vector. "
    "Export a run of another method or of other options: crosscue methods"
)


class ImageGraph(nn.Module):
    """The image encoder of a method."""

    def __init__(self, method: Method[Any]) -> None:
        super().__init__()
        self.method = method

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) float32 pixels, normalised -> (B, D) unit vectors."""
        return self.method.encode_image(image)


class TextGraph(nn.Module):
    """The text encoder of a method, from token ids."""

    def __init__(self, method: Method[Any], given: GivenTokens) -> None:
        super().__init__()
        self.method, self.given = method, given

    def forward(self, text: Tensor) -> Tensor:
        """(B, N) int32 token ids with special tokens, padded on the right -> (B, D) unit vectors."""
        self.given.ids = text.long()
        return self.method.encode_text([TEXT], text_modes(self.method)[0])


class GivenTokens:
    """A tokenizer whose only text is `TEXT`, and its token ids are given.

    Lengths are read from the ids, so that a graph needs no second input and padding changes nothing.
    """

    def __init__(self, tokenizer: Tokenizer, name: str) -> None:
        """Takes the tokenizer of the backbone, and the method's name for messages."""
        if not tokenizer.suffix:
            raise MethodError(
                f"method '{name}': texts of this backbone have no end token, so a graph cannot find their length. "
                "Use another backbone, such as starter."
            )
        self.own, self.name = tokenizer, name
        self.reserved = 0
        """Positions that prompts and words of the method take from each text."""
        self.ids = torch.tensor([[*tokenizer.prefix, *tokenizer.content(["a"])[0], *tokenizer.suffix]])

    @property
    def length(self) -> int:
        """Most positions of the input of a graph."""
        return self.own.max_length - self.reserved

    def room(self, prompt_count: int) -> int:
        """Returns the number of word pieces that fit beside `prompt_count` prompts."""
        return self.own.room(prompt_count)

    def __call__(self, texts: Sequence[str], prompt_count: int, device: torch.device) -> TokenBatch:
        """Returns the given ids as the tokens of `TEXT`, behind the words that a method puts before it.

        Raises:
            MethodError: the method encodes other texts beside it.
        """
        if len(texts) != 1 or not texts[0].endswith(TEXT):
            raise MethodError(NO_GRAPH.format(self.name, "encodes other texts beside its input"))
        words = self.words(texts[0].removesuffix(TEXT).rstrip())
        self.reserved = max(self.reserved, prompt_count + len(words))
        first, ids = len(self.own.prefix), self.ids
        if words:
            own = torch.tensor(words, device=ids.device).expand(ids.shape[0], -1)
            ids = torch.cat([ids[:, :first], own, ids[:, first:]], dim=1)
        before_end = (ids[:, first:] == self.own.suffix[0]).cumsum(1) == 0  # (B, N - first)
        last = first + before_end.sum(1)  # (B,) position of the end token
        lengths = last + len(self.own.suffix)
        if self.own.pad_to:
            ids = padded(ids, lengths, self.own.pad_to - prompt_count, self.own.pad)
        position = torch.arange(ids.shape[1], device=ids.device)
        return TokenBatch(ids, lengths, (position >= first) & (position < last[:, None]))

    def words(self, text: str) -> list[int]:
        """Returns the word pieces of the text that a method puts before each input."""
        return self.own.content([text])[0] if text else []


def padded(ids: Tensor, lengths: Tensor, positions: int, pad: int) -> Tensor:
    """(B, N) ids -> (B, `positions`): padded or cut, with the padding of the checkpoint behind each text."""
    ids = torch.cat([ids, ids.new_full((ids.shape[0], positions), pad)], dim=1)[:, :positions]
    return torch.where(torch.arange(positions, device=ids.device) < lengths[:, None], ids, pad)


def folded(method: Method[Any]) -> Method[Any]:
    """Returns the method with each weight that is computed from others in the place of the computation.

    A graph would compute it for every input, and would hold all tensors that it is made of.
    """
    if not any(map(parametrize.is_parametrized, method.modules())):
        return method
    method = copy.deepcopy(method)
    for module in filter(parametrize.is_parametrized, list(method.modules())):
        values = {
            name: getattr(module, name).detach().clone()
            for name, _ in module.get_submodule("parametrizations").named_children()
        }
        del module.parametrizations
        # `remove_parametrizations` would change the class, which the original has too
        module.__class__ = type(module).__bases__[0]
        for name, value in values.items():
            module.register_parameter(name, nn.Parameter(value, requires_grad=False))
    return method


@contextmanager
def graphs(method: Method[Any]) -> Iterator[tuple[ImageGraph, TextGraph]]:
    """Yields the two graphs of a method. Within it, the method encodes no other texts.

    Raises:
        MethodError: the method has no one vector a text that depends on the text alone.
    """
    require_vectors(method)
    method = folded(method)
    towers = [module for module in method.modules() if isinstance(module, TwoTowers)]
    if method.backbone not in towers:
        raise MethodError(
            f"'{method.backbone.source}' is not one of the built-in families, so its tokens cannot be given to a graph. "
            "Export a run around a backbone of family clip, siglip or dual."
        )
    tokenizers = [tower.tokenizer for tower in towers]
    given = GivenTokens(tokenizers[0], method.name)
    exchange: Any = given
    try:
        for tower in towers:
            tower.tokenizer = exchange
        text = TextGraph(method, given)
        with torch.no_grad():
            try:
                text(given.ids)  # counts the positions that prompts take
            except DataError as error:
                raise MethodError(NO_GRAPH.format(method.name, "needs knowledge of its texts")) from error
            yield ImageGraph(method), text
    finally:
        for tower, tokenizer in zip(towers, tokenizers, strict=True):
            tower.tokenizer = tokenizer
