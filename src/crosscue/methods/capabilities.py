"""Capabilities of methods beyond the two encoders: one abstract class each, tested for with isinstance."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from crosscue.errors import MethodError, suggestion

if TYPE_CHECKING:
    from crosscue.backbones.protocol import ImageInput
    from crosscue.data.pairs import Pairs


class Untrained(ABC):  # noqa: B024
    """Marker of a method without trainable parameters: it is evaluated once for all shots and seeds."""


def has(method: object, *capabilities: type) -> bool:
    """Returns True if a method, or a class of methods, has one of the capabilities."""
    return issubclass(method, capabilities) if isinstance(method, type) else isinstance(method, capabilities)


class HasTextModes(ABC):
    """Several ways to encode texts alone. All other methods have the mode `plain` only."""

    text_modes: tuple[str, ...]
    """Modes of `text_features`, the default first: of the class all modes, of a run those that its options leave."""


def text_modes(method: object) -> tuple[str, ...]:
    """Returns the modes of `text_features` of a method or a class of methods, the default first."""
    modes: tuple[str, ...] = getattr(method, "text_modes", ("plain",))
    return modes


def require_text_mode(method: Any, mode: str) -> None:
    """Raises `MethodError` if a method, or a class of methods, has no such text mode."""
    modes = text_modes(method)
    if mode not in modes:
        raise MethodError(
            f"method '{method.name}' has no text mode '{mode}' with these options.{suggestion(mode, modes)}"
        )


class ScoresPairs(ABC):
    """Scores of candidate pairs from image vectors and texts, for re-ranking."""

    def require_pairs(self) -> None:  # noqa: B027
        """Raises `MethodError` if this run has no scores of pairs; called before anything is encoded."""

    @abstractmethod
    def pair_features(self, images: ImageInput) -> Tensor:
        """(B, 3, S, S) or a cached state -> (B, E): the image side of `text_given_image` and `pair_scores`."""

    @abstractmethod
    def text_given_image(self, texts: Sequence[str], images: Tensor) -> Tensor:
        """B texts, each encoded beside the `pair_features` of one image (B, E) -> (B, D) unit vectors."""

    @abstractmethod
    def pair_scores(self, images: Tensor, plain: Tensor, texts: Sequence[str]) -> Tensor:
        """(B, E) `pair_features`, (B,) plain cosines, B texts -> (B,); a score depends on its own pair alone."""


class WeighsWords(ABC):
    """Words of a text that weigh more or less for an image."""

    @property
    @abstractmethod
    def weighs_words(self) -> bool:
        """False for a run that was trained without weights."""

    @abstractmethod
    def word_weights(self, texts: Sequence[str], images: Tensor) -> list[list[tuple[str, float]]]:
        """Returns the words of B texts with their weights for one image each, (B, E) `pair_features`."""


class KnowsTriplets(ABC):
    """Triplets of a text, which a method reads beside it."""

    @abstractmethod
    def triplets(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """Returns the triplets of each text in words; its knowledge is already there."""


class ReadsTogether(ABC):
    """Images encoded beside texts, for re-ranking."""

    reranks: bool = True
    """Default of re-ranking, in evaluation and in validation."""
    preselect: Literal["tuned", "clip"] = "tuned"
    """Default model that pre-selects the candidates. `tuned`: this method. `clip`: the untouched backbone."""

    @abstractmethod
    def scores_given_texts(
        self, images: ImageInput, given: Sequence[Sequence[str]], captions: Tensor, plain: Tensor
    ) -> Tensor:
        """Returns scores of candidates for images that are encoded beside texts.

        A score depends on its image, the texts given with it, and its caption: never on which candidate is right.

        Args:
            images: B images, or their cached state.
            given: the texts that each image is encoded with, at least one.
            captions: (B, C, D) the candidates of every image, unit vectors.
            plain: (B, C) cosines of the candidates with the image alone, from the model that pre-selected them.

        Returns:
            (B, C).
        """

    def effect(self, images: ImageInput, texts: Sequence[str], other: Sequence[str]) -> dict[str, float]:
        """Returns measures of the part of the image encoding that depends on texts, by name; none by default.

        Args:
            images: B images, or their cached state.
            texts: the text that each image is encoded with.
            other: another text for each image.
        """
        return {}


class EnrichesGallery(ABC):
    """Generated descriptions added to the embeddings of a gallery."""

    @abstractmethod
    def enrich(self, images: Tensor, views: Sequence[Sequence[str]], strength: float) -> Tensor:
        """(N, D) gallery and V lists of N descriptions, without any query -> (N, D), not normalised."""


class KnowsUncertainty(ABC):
    """An uncertainty for every query."""

    @abstractmethod
    def query_uncertainty(self, scores: Tensor) -> Tensor:
        """(B, N) scores of B queries -> (B,) in 0 .. 1: how undecided a query is between its candidates."""


class WantsNeighbours(ABC):
    """Batches of similar images."""

    companions: int
    """Number of nearest training images placed in the same batch as each image. 0: random batches."""


@dataclass(frozen=True)
class Stage:
    """A part of a training run with losses, parameters and a learning rate of its own."""

    name: str
    trains: Callable[[str], bool] = lambda name: True
    """Parameters that get gradients in this stage, by name."""
    epochs: int | None = None
    """Epochs of the run that belong to it. None: those that the other stages leave."""
    learning_rate_scale: float = 1.0
    """Multiplier of the run's learning rate; the schedule starts anew in every stage."""


class TrainsInStages(ABC):
    """Training in several parts."""

    @property
    @abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """The parts of a training run, in order."""

    @abstractmethod
    def enter(self, stage: str, epoch: int) -> None:
        """Called before every epoch with the stage's name and the number of its epochs that are done."""


class UsesKnowledge(ABC):  # noqa: B024
    """Knowledge beside the pairs: of captions, of training images, or features computed once for a run."""

    def require(self, captions: Sequence[str], source: str | None = None) -> None:
        """Checks, before captions are encoded, that what the method needs of them is there.

        Args:
            captions: the texts that will be encoded.
            source: the file that describes them, where it is not the one of the method's options.

        Raises:
            CrosscueError: something is missing.
        """
        refuse(self, source)

    def study(self, train: Pairs, captions: Sequence[str]) -> dict[str, Any]:
        """Reads or computes, before the first step, what training needs; returns the part that a run records.

        Args:
            train: the training pairs.
            captions: all captions that training and validation encode.

        Raises:
            DataError: something is missing or cannot be used.
        """
        return {}

    def forget(self) -> None:  # noqa: B027
        """Drops what `study` computed."""


def refuse(method: object, source: str | None) -> None:
    """Raises `MethodError` where a knowledge file is given to a method that uses none."""
    if source is not None:
        name = getattr(method, "name", type(method).__name__)
        raise MethodError(f"method '{name}' uses no knowledge of captions. Leave --knowledge out.")


def require(method: object, captions: Sequence[str], source: str | None = None) -> None:
    """Checks that a method has what it needs of captions; see `UsesKnowledge.require`."""
    if isinstance(method, UsesKnowledge):
        method.require(captions, source)
    else:
        refuse(method, source)


def require_vectors(method: object) -> None:
    """Raises `MethodError` if a method has no one vector an image and a text that ranks as it does."""
    if isinstance(method, LateInteraction):
        name = getattr(method, "name", type(method).__name__)
        raise MethodError(
            f"method '{name}' compares images and texts token by token, so one vector each would rank "
            "otherwise than it does. Rank with run.rank, or adapt with another method, such as dual_prompt."
        )


@contextmanager
def studied(method: object, train: Pairs, captions: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Holds a method's knowledge of a run: `require` and `study` before, `forget` after; yields what a run records."""
    if not isinstance(method, UsesKnowledge):
        yield {}
        return
    method.require(captions)
    try:
        yield method.study(train, captions)
    finally:
        method.forget()


@dataclass(frozen=True)
class Tokens:
    """Unit vectors of B images or texts: several for the parts of each, and one for the whole."""

    vectors: Tensor
    """(B, S, D)"""
    valid: Tensor
    """(B, S) bool, false at padding; every row has a true one."""
    whole: Tensor
    """(B, D)"""

    def __len__(self) -> int:
        return len(self.vectors)


class LateInteraction(ABC):
    """A score that is not the cosine of two vectors but compares tokens.

    Evaluation then ranks by `token_scores`. Each side is still encoded alone. `encode_image` and `encode_text` of such a method
    return one vector all the same, for measures of spread. `Run.encode_*` refuses, because an index of them would rank
    otherwise than the method does.
    """

    @abstractmethod
    def image_tokens(self, images: ImageInput) -> Tokens:
        """Encodes B images."""

    @abstractmethod
    def text_tokens(self, texts: Sequence[str]) -> Tokens:
        """Encodes M texts of similar length."""

    @abstractmethod
    def token_scores(self, images: Tokens, texts: Tokens) -> tuple[Tensor, Tensor]:
        """Scores every image with every text: (B, M) for image to text and (B, M) for text to image.

        A score depends on its own pair alone, on padding not at all, and lies within about -2 to 2, as `TIE` supposes.
        """
