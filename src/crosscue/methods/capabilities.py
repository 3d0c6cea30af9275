"""Methods that compare a picture and a sentence part by part, not by one vector each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from crosscue.backbones.protocol import Pictures


@dataclass(frozen=True)
class Tokens:
    """What stands for B pictures or sentences: unit vectors for their parts, and one for the whole."""

    vectors: Tensor
    """(B, S, D)"""
    valid: Tensor
    """(B, S) bool, false at padding; every row has a true one."""
    whole: Tensor
    """(B, D)"""

    def __len__(self) -> int:
        return len(self.vectors)


class LateInteraction(ABC):
    """What a method has besides `Method` when its score is not the cosine of two vectors.

    Evaluation then ranks by `token_scores`. Each side is still encoded alone. `encode_image` and `encode_text` of such a method
    return one vector all the same, for measures of spread; `Run.encode_*` refuses, because an index of them would rank
    otherwise than the method does.
    """

    @abstractmethod
    def image_tokens(self, images: Pictures) -> Tokens:
        """Encodes B pictures."""

    @abstractmethod
    def text_tokens(self, texts: Sequence[str]) -> Tokens:
        """Encodes M sentences; called with sentences of similar length."""

    @abstractmethod
    def token_scores(self, images: Tokens, texts: Tokens) -> tuple[Tensor, Tensor]:
        """Scores every picture with every sentence: (B, M) for image to text and (B, M) for text to image.

        A score depends on its own pair alone, on padding not at all, and lies within about -2 to 2, as `TIE` supposes.
        """
