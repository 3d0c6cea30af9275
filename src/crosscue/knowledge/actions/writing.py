"""Triplets and states from a language model, checked against the caption. A faulty reply is followed by one more request."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from crosscue.knowledge.actions.prompts import TEMPLATES, Requests, states_question, triplets_question
from crosscue.knowledge.actions.record import NULL, ActionKnowledge, CaptionKnowledge, Triplet
from crosscue.knowledge.actions.replies import (
    Batch,
    Item,
    StatesBatch,
    TripletsBatch,
    states_of,
    triplets_of,
)
from crosscue.knowledge.actions.states import template_state, template_states
from crosscue.knowledge.actions.validation import MOST, deduplicated, triplet_problem
from crosscue.knowledge.conversation import Turn
from crosscue.knowledge.failures import ReplyError
from crosscue.knowledge.language_model import LanguageModel, expected_tokens
from crosscue.knowledge.stages import answers_for, digest

Question = Callable[[Mapping[int, str]], tuple[Turn, ...]]
"""Numbered captions -> the conversation about them."""


class ActionWriter:
    """Action knowledge of captions, requested from one model in batches."""

    def __init__(self, model: LanguageModel, requests: Requests) -> None:
        self.model, self.requests = model, requests
        self.version = digest("actions", model.endpoint.provenance(), requests.states, TEMPLATES)
        self.counts: Counter[str] = Counter()
        """Faults of the replies of this run -> their number."""

    def key(self, caption: str) -> str:
        """Returns the key of an answer in the cache, from model, parameters, prompts and caption."""
        return digest(self.version, caption)

    def estimate(self, captions: Sequence[str]) -> str:
        """Returns the smallest number of requests and tokens for the captions without a kept answer, in words."""
        kept = self.model.cache.answers(self.key(caption) for caption in captions)
        pending = [caption for caption in captions if self.key(caption) not in kept]
        size = max(self.requests.batch, 1)
        batches = [pending[start : start + size] for start in range(0, len(pending), size)]
        rounds = 2 if self.requests.states == "model" else 1
        tokens = rounds * sum(expected_tokens(triplets_question(dict(enumerate(batch, 1)))) for batch in batches)
        return f"{len(pending):,} of them new, {rounds * len(batches):,} requests, about {tokens:,} tokens to send"

    async def knowledge(self, captions: Sequence[str]) -> dict[str, CaptionKnowledge]:
        """Returns the knowledge of each caption, in the order given. Equal captions share one request.

        Raises:
            EndpointError, LimitReached, Interrupted, Unanswered: the run stopped; answers so far are kept.
        """
        answers = await answers_for(
            {caption: self.key(caption) for caption in captions},
            self.write,
            self.model.cache,
            self.model.meter,
            batch=max(self.requests.batch, 1),
            workers=self.model.endpoint.concurrency,
            doing="requesting triplets and states",
            unit="captions",
        )
        return dict(ActionKnowledge.from_row("a kept answer", json.loads(answer)) for answer in answers.values())

    async def write(self, captions: Sequence[str]) -> dict[str, str]:
        """Returns the knowledge of each caption of a batch as JSON. Triplets are requested first, then their states."""
        triplets, sources = await self.triplets(captions)
        with_some = {caption: own for caption, own in triplets.items() if own}
        states = await self.states(with_some, sources) if self.requests.states == "model" else {}
        written = {}
        for caption, own in triplets.items():
            texts = states.get(caption) or template_states(own)
            known = CaptionKnowledge(own, tuple(texts), sources[caption] if own else NULL)
            written[caption] = json.dumps(ActionKnowledge.row(caption, known), ensure_ascii=False)
        return written

    async def triplets(self, captions: Sequence[str]) -> tuple[dict[str, tuple[Triplet, ...]], dict[str, str]]:
        """Returns the valid triplets of each caption, and their writer.

        A caption with a triplet that does not fit is requested once more, alone. Triplets that still do not fit are dropped.
        If none is left, or if no reply was of use, the caption has no triplets: `null`.
        """
        found: dict[str, tuple[Triplet, ...]] = {}
        sources: dict[str, str] = {}
        replies = await self._requested(captions, triplets_question, TripletsBatch)
        for caption in captions:
            reply = replies.get(caption)
            written = triplets_of(reply)
            problems = [problem for triplet in written if (problem := triplet_problem(triplet, caption))]
            if reply is not None and problems:
                again = await self._again(caption, triplets_question, TripletsBatch, reply, "; ".join(problems[:5]))
                written = triplets_of(again) if again is not None else written
            valid = tuple(triplet for triplet in written if not triplet_problem(triplet, caption))
            self.counts["triplets dropped"] += len(written) - len(valid)
            if valid or (reply is not None and not written):
                found[caption], sources[caption] = deduplicated(valid)[:MOST], self.model.endpoint.model
            else:
                self.counts["captions left null"] += 1
                found[caption], sources[caption] = (), NULL
        return found, sources

    async def states(
        self, triplets: Mapping[str, tuple[Triplet, ...]], sources: dict[str, str]
    ) -> dict[str, list[str]]:
        """Returns a state for each triplet. Templates replace states that stay wrong after a second request: source `...+templates`."""

        def question(numbered: Mapping[int, str]) -> tuple[Turn, ...]:
            return states_question({number: (caption, triplets[caption]) for number, caption in numbered.items()})

        replies = await self._requested(list(triplets), question, StatesBatch)
        found: dict[str, list[str]] = {}
        for caption, own in triplets.items():
            reply = replies.get(caption)
            texts, problem = states_of(reply, own, caption)
            if problem and reply is not None:
                again = await self._again(caption, question, StatesBatch, reply, problem)
                texts, problem = states_of(again or reply, own, caption)
            if problem:
                self.counts["captions with template states"] += 1
                sources[caption] += "+templates"
            found[caption] = [text or template_state(triplet) for text, triplet in zip(texts, own, strict=True)]
        return found

    async def _requested(
        self, captions: Sequence[str], question: Question, schema: type[Batch[Item]]
    ) -> dict[str, Item]:
        """Returns the reply about each caption. A batch with other ids than the requested ones is rejected whole and halved."""
        if not captions:
            return {}
        numbered = dict(enumerate(captions, 1))
        try:
            replies = (await self.model.ask(question(numbered), schema)).captions
        except ReplyError:
            replies = []
        if sorted(reply.id for reply in replies) == list(numbered):
            return {numbered[reply.id]: reply for reply in replies}
        self.counts["batches rejected"] += 1
        if len(captions) == 1:
            return {}
        half = (len(captions) + 1) // 2
        first = await self._requested(captions[:half], question, schema)
        return first | await self._requested(captions[half:], question, schema)

    async def _again(
        self, caption: str, question: Question, schema: type[Batch[Item]], reply: Item, problem: str
    ) -> Item | None:
        """Returns a second reply about one caption, after a message about the fault of the first."""
        self.counts["captions requested again"] += 1
        before = schema(captions=[reply.model_copy(update={"id": 1})]).model_dump_json()
        again = f"That reply cannot be used: {problem}. Answer again with the whole JSON object."
        try:
            replies = (
                await self.model.ask((*question({1: caption}), Turn("assistant", before), Turn("user", again)), schema)
            ).captions
        except ReplyError:
            return None
        return replies[0] if [reply.id for reply in replies] == [1] else None
