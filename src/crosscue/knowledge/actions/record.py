"""Action knowledge of a caption, and its file for all captions of a source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from crosscue.errors import DataError
from crosscue.knowledge.actions import english
from crosscue.knowledge.store import KnowledgeStore

Kind = Literal["action", "attribute"]
NULL = "null"
"""Source of a caption without knowledge: nothing could read it, or it contains no triplet."""


@dataclass(frozen=True, slots=True)
class Triplet:
    """An action with its subject and object, or an attribute of a thing."""

    subject: str
    action: str
    """A verb with its preposition (`jumping in`), a preposition (`with`), or `is`."""
    object: str = ""
    """Empty for a verb without an object."""
    kind: Kind = "action"
    """`action`: a deed or a relation. `attribute`: a property, as in (shirt, is, blue)."""

    def to_dict(self) -> dict[str, str]:
        """Returns the triplet as in files, prompts and replies."""
        return {"s": self.subject, "a": self.action, "o": self.object, "kind": self.kind}


@dataclass(frozen=True, slots=True)
class CaptionKnowledge:
    """Triplets of one caption, the most salient first, with a visual state for each."""

    triplets: tuple[Triplet, ...] = ()
    states: tuple[str, ...] = ()
    """One for each triplet: the visible pose, motion, contact or consequence."""
    source: str = NULL
    """Writer: `spacy`, the name of a model, `<model>+templates` if its states were of no use, or `null`."""

    @property
    def actions(self) -> tuple[Triplet, ...]:
        """The triplets that are not attributes."""
        return tuple(triplet for triplet in self.triplets if triplet.kind == "action")

    @property
    def deeds(self) -> tuple[Triplet, ...]:
        """The actions that are verbs: `jumping in`, not `in` or `in front of`."""
        return tuple(
            triplet
            for triplet in self.actions
            if english.PREPOSITIONS.isdisjoint((triplet.action, triplet.action.split()[0]))
        )


class ActionKnowledge(KnowledgeStore[CaptionKnowledge]):
    """Caption -> its knowledge. Knowledge is a function of the caption alone, so no image can leak into it."""

    FILE = "actions.jsonl"
    MISSING = "captions have no action knowledge"
    REMEDY = "crosscue describe triplets SOURCE --out FILE.jsonl"

    @staticmethod
    def row(key: str, known: CaptionKnowledge) -> dict[str, Any]:
        """See `KnowledgeStore.row`."""
        triplets = [triplet.to_dict() for triplet in known.triplets]
        return {"caption": key, "triplets": triplets, "states": list(known.states), "source": known.source}

    @staticmethod
    def from_row(where: str, row: Mapping[str, Any]) -> tuple[str, CaptionKnowledge]:
        """See `KnowledgeStore.from_row`."""
        try:
            triplets = tuple(Triplet(str(t["s"]), str(t["a"]), str(t["o"]), t["kind"]) for t in row["triplets"])
            caption, states = row["caption"], tuple(map(str, row["states"]))
            knowledge = CaptionKnowledge(triplets, states, str(row["source"]))
        except (KeyError, TypeError) as error:
            raise DataError(
                f"{where}: needs caption, triplets (each with s, a, o, kind), states and source; {error} is wrong. Make the file "
                "again with crosscue describe triplets."
            ) from error
        if not isinstance(caption, str) or any(triplet.kind not in get_args(Kind) for triplet in triplets):
            raise DataError(f"{where}: the caption must be text and a kind one of {', '.join(get_args(Kind))}.")
        if len(triplets) != len(states):
            raise DataError(
                f"{where}: {len(triplets)} triplets and {len(states)} states; there must be one state a triplet."
            )
        return caption, knowledge
