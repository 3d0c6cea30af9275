"""Options of inference: the text mode, re-ranking and the gallery."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from crosscue.errors import MethodError
from crosscue.methods.capabilities import (
    EnrichesGallery,
    LateInteraction,
    ReadsTogether,
    ScoresPairs,
    UsesKnowledge,
    has,
    require_text_mode,
    text_modes,
)
from crosscue.retrieval.normalising import require_beta

if TYPE_CHECKING:
    from crosscue.methods.contract import Method


@dataclass(frozen=True)
class Inference:
    """Options of inference; None means the default of the method."""

    mode: str | None = None
    """Text mode of the method: plain, prior or caa. Default the method's first one; only `dcar` has others than plain."""
    rerank: bool | None = None
    """Score the first candidates of each query again, each image with each text. Default on for `action` with knowledge, else off."""
    top: int = 20
    """Number of candidates that are scored again."""
    pooled: bool = True
    """Image to text with `action`: encode an image once beside all candidates together. Off: once beside each, which is slower."""
    preselect: Literal["tuned", "clip"] | None = None
    """Model that pre-selects the candidates. `tuned`: the method. `clip`: the untouched backbone. Default as in the method's paper."""
    pairs_at_once: int = 64
    """Images encoded beside texts at once; bounds the memory of re-ranking."""
    knowledge: str | None = None
    """File that describes these captions, for methods that use knowledge of captions. Default the file of the training."""
    diagnostics: int = 50
    """Queries a direction for the diagnostics of methods that encode images beside texts; 0 leaves them out."""
    minimal_pairs: bool = False
    """Also measure how often an image prefers its caption to each of its edited ones (the source's negatives)."""
    views: str | None = None
    """File of `crosscue describe views`: adds descriptions to the gallery's images, for `acke`. A query never has any."""
    enrichment: float = 0.3
    """Weight of these descriptions beside the image; choose it on validation pairs."""
    normalise: Literal["none", "chosen", "bank", "dynamic", "dual", "dual_dynamic"] = "none"
    """Correction of hubness by a bank of training queries. `bank`: every query. `dynamic`: queries whose first candidate is a hub.
    `chosen`: the one of these two that validation chose in training; `bank` where it chose none, or with given pairs.
    `dual`, `dual_dynamic`: the same with a second bank, of training items of the gallery's kind (DualIS, DualDIS).
    Try `bank` when some images are found for everything; plain scores stay the default because papers report them."""
    beta: float | None = None
    """Sharpness of that correction. Default the value that validation chose in training, else 20 (beta)."""
    centre: bool = False
    """Subtract the gallery's mean from the embeddings of each modality; uses the whole gallery, stamped in the protocol."""

    def of(self, method: Method[Any]) -> Inference:
        """Returns these options with the defaults of a method.

        Raises:
            MethodError: see `check`.
        """
        self.check(method)
        together = method if isinstance(method, ReadsTogether) else None
        return replace(
            self,
            mode=self.mode or text_modes(method)[0],
            rerank=together is not None and together.reranks if self.rerank is None else self.rerank,
            preselect=self.preselect or (together.preselect if together is not None else "tuned"),
        )

    def effective(self, method: Method[Any]) -> Inference:
        """Returns these options. Raises `MethodError` for one that has no effect beside the others."""
        together = method if isinstance(method, ReadsTogether) else None
        reranks = together is not None and together.reranks if self.rerank is None else self.rerank
        usual = type(self)()
        idle = {
            "--rerank": () if reranks else ("top", "pooled"),
            "--views FILE": () if self.views is not None else ("enrichment",),
            "--normalise bank": () if self.normalise != "none" else ("beta",),
        }
        for missing, names in idle.items():
            for name in names:
                if getattr(self, name) != getattr(usual, name):
                    raise MethodError(f"{name} has no effect without {missing}. Add {missing}, or leave {name} out.")
        if self.preselect == "clip" and not reranks:
            raise MethodError("preselect has no effect without --rerank. Add --rerank, or leave preselect out.")
        if self.knowledge is not None and not has(method, UsesKnowledge):
            raise MethodError(f"method '{method.name}' uses no knowledge of captions. Leave --knowledge out.")
        return self

    def check(self, method: Method[Any] | type[Method[Any]]) -> None:
        """Raises `MethodError` if a method, or a class of methods, does not have what these options need."""
        if self.mode is not None:
            require_text_mode(method, self.mode)
        if self.rerank and not has(method, ScoresPairs, ReadsTogether):
            raise MethodError(f"method '{method.name}' has no scores of pairs to re-rank by. Leave --rerank out.")
        if self.rerank and isinstance(method, ScoresPairs):
            method.require_pairs()
        if self.views is not None and not has(method, EnrichesGallery):
            raise MethodError(f"method '{method.name}' adds no descriptions to a gallery. Leave --views out.")
        if self.views is not None and self.rerank:
            raise MethodError("re-ranking does not read the descriptions of a gallery. Leave out --views or --rerank.")
        if self.centre and has(method, LateInteraction):
            raise MethodError(
                f"method '{method.name}' compares token by token, so there is no one vector an image to centre. Leave --centre out."
            )
        if self.normalise.startswith("dual") and has(method, LateInteraction):
            raise MethodError(
                f"method '{method.name}' compares token by token, so a bank of images has no scores with images. Use --normalise bank."
            )
        if self.normalise != "none" and self.centre:
            raise MethodError("the bank of --normalise is not centred. Leave out --centre or --normalise.")
        if self.beta is not None:
            require_beta(self.beta)
        for name in ("top", "pairs_at_once"):
            if getattr(self, name) < 1:
                raise MethodError(f"{name} is {getattr(self, name)}; it must be at least 1.")
