"""How a trained method is asked for its embeddings and scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crosscue.errors import MethodError, suggestion
from crosscue.methods.late_interaction import LateInteraction

if TYPE_CHECKING:
    from crosscue.methods.contract import Method


@dataclass(frozen=True)
class Inference:
    """How a trained method is asked; see `Method.inference_modes`."""

    inference: str = "plain"
    """plain, or another mode of the method: prior, caa, pairwise (re-ranks the first candidates), enriched (adds descriptions of
    the gallery's pictures, see views; a track of its own), oracle (a diagnostic)."""
    top: int = 20
    """Candidates that `pairwise` scores again."""
    allow_oracle: bool = False
    """Needed for oracle, which encodes every caption beside its own picture: its numbers are NOT COMPARABLE."""
    views: str | None = None
    """enriched: file of `crosscue describe views` for the gallery's pictures. They are the picture's side: a query never has any."""
    enrichment: float = 0.3
    """enriched: how much the descriptions add to a picture; to be chosen on validation pairs."""
    centre: bool = False
    """Subtract the gallery's mean from the embeddings of each modality; uses the whole gallery, stamped in the protocol."""

    def check(self, method: Method[Any]) -> None:
        """Raises `MethodError` where the method has no such mode or nothing to centre, or an oracle was not asked for twice."""
        if self.inference not in method.inference_modes:
            raise MethodError(
                f"method '{method.name}' has no inference mode '{self.inference}'.{suggestion(self.inference, method.inference_modes)}"
            )
        if self.centre and isinstance(method, LateInteraction):
            raise MethodError(
                f"method '{method.name}' compares token by token, so there is no one vector a picture to centre. Leave --centre out."
            )
        if (self.inference == "enriched") != (self.views is not None):
            raise MethodError(
                "--inference enriched and --views FILE (descriptions of the gallery's pictures, made by `crosscue describe views`) "
                "belong together: give both or neither."
            )
        if self.inference == "oracle" and not self.allow_oracle:
            raise MethodError(
                "oracle inference encodes every caption beside its own picture, so it sees the answer. It is a diagnostic: "
                "add --allow_oracle true to get numbers that are stamped NOT COMPARABLE."
            )
