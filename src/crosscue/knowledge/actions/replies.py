"""Schemas of a model's replies about captions, and their conversion to triplets and states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from crosscue.knowledge.actions.record import Triplet
from crosscue.knowledge.actions.validation import invents, state_problem, without_pronouns


class Exact(BaseModel):
    """An object without further keys."""

    model_config = ConfigDict(extra="forbid")


class TripletReply(Exact):
    """One triplet."""

    s: str
    a: str
    o: str
    kind: Literal["action", "attribute"]


class StateReply(Exact):
    """One state, with the number of its triplet, counted from 1."""

    i: int
    text: str


class AboutCaption(Exact):
    """A reply about one caption."""

    id: int
    """Its number in the prompt."""


class TripletsReply(AboutCaption):
    """The triplets of one caption."""

    triplets: list[TripletReply]


class StatesReply(AboutCaption):
    """The states of one caption."""

    states: list[StateReply]


Item = TypeVar("Item", bound=AboutCaption)


class Batch(BaseModel, Generic[Item]):
    """The reply about several captions."""

    captions: list[Item]


class TripletsBatch(Batch[TripletsReply]):
    """The reply to the prompt for triplets."""


class StatesBatch(Batch[StatesReply]):
    """The reply to the prompt for states."""


def triplets_of(reply: TripletsReply | None) -> tuple[Triplet, ...]:
    """Returns the triplets of a reply, lower case, pronoun subjects replaced; they are not checked yet."""
    if reply is None:
        return ()
    return without_pronouns([Triplet(_plain(t.s), _plain(t.a), _plain(t.o), t.kind) for t in reply.triplets])


def states_of(reply: StatesReply | None, triplets: Sequence[Triplet], caption: str) -> tuple[list[str], str]:
    """Returns a text for each triplet, empty if none fits, and the first fault of the reply."""
    if reply is None:
        return [""] * len(triplets), "no reply"
    if sorted(state.i for state in reply.states) != list(range(1, len(triplets) + 1)):
        return [""] * len(
            triplets
        ), f"write exactly one state for each of the {len(triplets)} triplets, numbered from 1"
    texts, problem = [], ""
    for state in sorted(reply.states, key=lambda state: state.i):
        text = " ".join(state.text.split())
        wrong = state_problem(text)
        if not wrong and (word := invents(text, caption)):
            wrong = f"'{word}' is not in the caption"
        texts.append("" if wrong else text)
        problem = problem or (f"state {state.i}: {wrong}" if wrong else "")
    return texts, problem


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
