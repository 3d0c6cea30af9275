"""One client for every model: bounded, retried, capped, and never paid twice for one question."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import openai
from pydantic import BaseModel

from crosscue.knowledge.cache import ReplyCache
from crosscue.knowledge.complaints import complaint
from crosscue.knowledge.completion import Reply, read_completion, server_error
from crosscue.knowledge.conversation import Turn, canonical, described, request_key, wire_messages
from crosscue.knowledge.endpoint import Endpoint
from crosscue.knowledge.failures import EndpointError, Malformed, Refused, Unanswered
from crosscue.knowledge.limits import Meter
from crosscue.knowledge.replies import Schema, json_schema, parsed

TOKENS_PER_PICTURE = 1500
"""What a picture of 1024 x 1024 is expected to cost before the first one was counted."""


class LanguageModel:
    """A model behind an endpoint, its cache of replies, and the meter it shares with other models of a run.

    Retries are the openai client's own: it repeats 408, 409, 429, 5xx, timeouts and lost connections with exponential
    backoff from 0.5 s to 8 s and a quarter of jitter, and waits as long as Retry-After says up to two minutes; a longer
    Retry-After ends the request. Use it as an asynchronous context manager.
    """

    def __init__(self, endpoint: Endpoint, cache: ReplyCache, meter: Meter, role: str = "model") -> None:
        """Takes where to ask, where replies are kept, what may be spent, and how messages call the model.

        Raises:
            EndpointError: no address, no model, or no key.
        """
        self.endpoint = endpoint.checked(role)
        self.cache, self.meter, self.role = cache, meter, role
        self.key = endpoint.key(role)
        self.slots = asyncio.Semaphore(max(endpoint.concurrency, 1))
        self.asking: dict[str, asyncio.Lock] = {}
        self.next_start = 0.0
        self.replayed = 0
        self.retried = 0
        self.client = openai.AsyncOpenAI(
            base_url=endpoint.base_url, api_key=self.key, timeout=endpoint.timeout, max_retries=endpoint.retries
        )

    async def __aenter__(self) -> LanguageModel:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.client.close()

    async def say(self, turns: Sequence[Turn]) -> str:
        """Returns what the model writes, without thoughts and fences.

        Raises:
            Refused: it declined. Malformed: it wrote nothing.
            EndpointError, LimitReached, Interrupted, Unanswered: see `reply`.
        """
        reply = await self.reply(turns)
        if reply.declined:
            raise Refused(f"{self.role} {self.endpoint.model} declined: {reply.text[:120]}")
        if not reply.spoken:
            raise Malformed(f"{self.role} {self.endpoint.model} wrote nothing (it ended with '{reply.finish}').")
        return reply.spoken

    async def ask(self, turns: Sequence[Turn], schema: type[Schema]) -> Schema:
        """Returns the model's reply as an object of `schema`; a reply that does not fit is asked for once more.

        Raises:
            Refused: it declined. Malformed: the second reply does not fit either.
            EndpointError, LimitReached, Interrupted, Unanswered: see `reply`.
        """
        reply = await self.reply(turns, schema)
        if reply.declined:
            raise Refused(f"{self.role} {self.endpoint.model} declined: {reply.text[:120]}")
        try:
            return parsed(reply.text, schema)
        except ValueError as error:
            problem = str(error)
        again = (
            *turns,
            Turn("assistant", reply.text or "(nothing)"),
            Turn("user", f"That reply cannot be used: {problem}. Answer again with the JSON object only."),
        )
        reply = await self.reply(again, schema)
        if reply.declined:
            raise Refused(f"{self.role} {self.endpoint.model} declined: {reply.text[:120]}")
        try:
            return parsed(reply.text, schema)
        except ValueError as error:
            raise Malformed(
                f"{self.role} {self.endpoint.model} answered twice without fitting JSON: {error}"
            ) from error

    async def reply(self, turns: Sequence[Turn], schema: type[BaseModel] | None = None) -> Reply:
        """Returns the kept reply to this conversation, or asks for it and keeps it.

        Raises:
            EndpointError: every request would fail alike. Unanswered: this one got no answer after all retries.
            LimitReached: it could pass a cap. Interrupted: the user asked to stop. Refused: a filter rejected the request.
            DataError: a picture cannot be read. StorageError: the reply cannot be kept.
        """
        parameters = self.endpoint.parameters()
        if schema is not None and self.endpoint.json_schema:
            parameters["response_format"] = json_schema(schema)
        key = request_key(self.endpoint.model, parameters, turns, self.endpoint.image_side)
        async with self.asking.setdefault(key, asyncio.Lock()):
            kept = self._kept(key)
            if kept is not None:
                self.replayed += 1
                return kept
            async with self.slots, self.meter.room(self.endpoint, expected_tokens(turns)):
                return await self._ask(key, parameters, turns)

    def _kept(self, key: str) -> Reply | None:
        body = self.cache.get(key)
        return read_completion(body, cached=True) if body is not None else None

    async def _ask(self, key: str, parameters: dict[str, Any], turns: Sequence[Turn]) -> Reply:
        body = await self.completed(turns, parameters)
        asked = canonical({"parameters": parameters, "turns": described(turns)})
        self.cache.put(key, self.endpoint.model, asked, body)
        reply = read_completion(body)
        if reply is None:
            place = f"{self.role} {self.endpoint.model} at {self.endpoint.base_url}"
            if said := server_error(body):
                raise Unanswered(f"{place}: {said}")
            raise EndpointError(
                f"{place}: did not answer with a chat completion but with {' '.join(body.split())[:80]!r}. "
                f"Check that --{self.role}.base_url ends in the version, e.g. /v1."
            )
        spent = self.meter.measured(self.endpoint, reply.input_tokens, reply.output_tokens)
        self.cache.charge(key, spent)
        self.meter.add(self.endpoint, spent)
        caps = self.meter.limits
        if not reply.metered and (caps.max_tokens is not None or caps.max_spend is not None):
            raise EndpointError(
                f"{self.role} {self.endpoint.model} at {self.endpoint.base_url}: does not say how many tokens it used, so a "
                "cap on tokens or spend cannot be kept. Use --limits.max_calls instead."
            )
        return reply

    async def completed(self, turns: Sequence[Turn], parameters: dict[str, Any]) -> str:
        """Returns the raw body of the chat completion that the server answers with, after its retries."""
        messages: Any = await asyncio.to_thread(wire_messages, turns, self.endpoint.image_side)
        await self._pace()
        try:
            raw = await self.client.chat.completions.with_raw_response.create(
                model=self.endpoint.model, messages=messages, **parameters
            )
        except openai.APIError as error:
            pictures = any(turn.pictures for turn in turns)
            raise complaint(error, self.endpoint, self.role, self.key, pictures=pictures) from error
        self.retried += raw.retries_taken
        return raw.text

    async def _pace(self) -> None:
        """Waits until the next request may begin under `per_minute`."""
        if self.endpoint.per_minute > 0:
            now = time.monotonic()
            start = max(now, self.next_start)
            self.next_start = start + 60 / self.endpoint.per_minute
            await asyncio.sleep(start - now)


def expected_tokens(turns: Sequence[Turn]) -> int:
    """Returns a generous guess of what a conversation costs to send: three characters a token, 1,500 tokens a picture."""
    return sum(len(turn.text) // 3 + 8 + TOKENS_PER_PICTURE * len(turn.pictures) for turn in turns)
