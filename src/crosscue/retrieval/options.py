"""How a trained method is asked for its embeddings and scores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from crosscue.errors import MethodError, suggestion
from crosscue.methods.capabilities import LateInteraction, ReadsTogether

if TYPE_CHECKING:
    from crosscue.methods.contract import Method

MODES = ("pairwise", "pooled")
"""Inference modes that re-rank."""


@dataclass(frozen=True)
class Inference:
    """How a trained method is asked; see `Method.inference_modes`."""

    inference: str | None = None
    """A mode of the method, default its own: plain, prior, caa, pairwise or pooled (re-rank the first candidates), enriched (adds
    descriptions of the gallery's pictures, see views; a track of its own), oracle (a diagnostic)."""
    top: int = 20
    """Candidates that `pairwise` and `pooled` score again."""
    preselect: Literal["tuned", "clip"] | None = None
    """Which model pre-selects them: the method, or the untouched backbone. Default what the method's paper does."""
    pairs_at_once: int = 64
    """Pictures read beside sentences at once; bounds the memory of re-ranking."""
    knowledge: str | None = None
    """For methods that use knowledge of captions: the file that describes these ones; default what the run was trained with."""
    diagnostics: int = 50
    """Queries a direction for the diagnostics of methods that read pictures beside sentences; 0 leaves them out."""
    minimal_pairs: bool = False
    """Also ask how often a picture prefers its caption to each of its edited ones (the source's negatives)."""
    allow_oracle: bool = False
    """Needed for oracle, which encodes every caption beside its own picture: its numbers are NOT COMPARABLE."""
    views: str | None = None
    """enriched: file of `crosscue describe views` for the gallery's pictures. They are the picture's side: a query never has any."""
    enrichment: float = 0.3
    """enriched: how much the descriptions add to a picture; to be chosen on validation pairs."""
    centre: bool = False
    """Subtract the gallery's mean from the embeddings of each modality; uses the whole gallery, stamped in the protocol."""

    def of(self, method: Method[Any]) -> Inference:
        """Returns these choices with the method's own where nothing was asked for.

        Raises:
            MethodError: see `check`.
        """
        mode = self.inference if self.inference is not None else method.default_inference
        chosen = replace(
            self,
            inference=mode,
            preselect=self.preselect or (method.preselect if isinstance(method, ReadsTogether) else "tuned"),
        )
        chosen.check(method)
        return chosen

    def check(self, method: Method[Any]) -> None:
        """Raises `MethodError` where the method has no such mode or nothing to centre, or an oracle was not asked for twice."""
        if self.inference is not None and self.inference not in method.inference_modes:
            raise MethodError(
                f"method '{method.name}' has no inference mode '{self.inference}'.{suggestion(self.inference, method.inference_modes)}"
            )
        if self.centre and isinstance(method, LateInteraction):
            raise MethodError(
                f"method '{method.name}' compares token by token, so there is no one vector a picture to centre. Leave --centre out."
            )
        for name in ("top", "pairs_at_once"):
            if getattr(self, name) < 1:
                raise MethodError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if (self.inference == "enriched") != (self.views is not None):
            raise MethodError(
                "--inference enriched and --views FILE (descriptions of the gallery's pictures, made by `crosscue describe views`) "
                "belong together: give both or neither."
            )
        if self.inference == "oracle" and not self.allow_oracle:
            raise MethodError(
                "oracle inference encodes every caption beside its own picture, so it sees the answer. It is a diagnostic: "
                "add --allow_oracle to get numbers that are stamped NOT COMPARABLE."
            )
