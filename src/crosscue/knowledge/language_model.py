"""Language models, behind a server or in this process. Requests are bounded, repeated, capped, and never paid twice."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import openai
from pydantic import BaseModel

from crosscue.errors import EndpointError
from crosscue.knowledge.cache import ReplyCache
from crosscue.knowledge.conversation import Turn, canonical, described, request_key, wire_messages
from crosscue.knowledge.endpoint import Endpoint
from crosscue.knowledge.failures import Malformed, Refused, Unanswered, complaint
from crosscue.knowledge.limits import Meter
from crosscue.knowledge.replies import Reply, Schema, json_schema, parsed, read_completion, server_error

TOKENS_PER_IMAGE = 1500
"""Expected tokens of an image of 1024 x 1024 before the first one was counted."""


class LanguageModel:
    """A model behind an endpoint, its cache of replies, and the meter it shares with other models of a run.

    It is an asynchronous context manager. Retries are those of the openai client. It repeats 408, 409, 429, 5xx, timeouts
    and lost connections, with exponential backoff from 0.5 s to 8 s and a quarter of jitter. It obeys a Retry-After of up
    to two minutes; a longer one ends the request.
    """

    def __init__(self, endpoint: Endpoint, cache: ReplyCache, meter: Meter, role: str = "model") -> None:
        """Receives the endpoint, the cache, the meter, and the name of the model in messages and options.

        Raises:
            EndpointError: no address, no model, or no key.
        """
        self.endpoint = endpoint.checked(role)
        self.cache, self.meter, self.role = cache, meter, role
        self.key = endpoint.key(role)
        self.slots = asyncio.Semaphore(max(endpoint.concurrency, 1))
        self.under_way: dict[str, asyncio.Lock] = {}
        self.next_start = 0.0
        self.replayed = 0
        self.retried = 0
        self.client = openai.AsyncOpenAI(
            base_url=endpoint.base_url, api_key=self.key, timeout=endpoint.timeout, max_retries=endpoint.retries
        )

    async def __aenter__(self) -> LanguageModel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def say(self, turns: Sequence[Turn]) -> str:
        """Returns the text that the model writes, without thoughts and fences.

        Raises:
            Refused: the model declined. Malformed: the reply is empty.
            EndpointError, LimitReached, Interrupted, Unanswered: see `reply`.
        """
        reply = await self._willing(turns)
        if not reply.spoken:
            raise Malformed(f"{self.role} {self.endpoint.model} wrote nothing (it ended with '{reply.finish}').")
        return reply.spoken

    async def ask(self, turns: Sequence[Turn], schema: type[Schema]) -> Schema:
        """Returns the reply of the model as an object of `schema`. A reply of another form is followed by one more request.

        Raises:
            Refused: the model declined. Malformed: the second reply does not fit either.
            EndpointError, LimitReached, Interrupted, Unanswered: see `reply`.
        """
        reply = await self._willing(turns, schema)
        try:
            return parsed(reply.text, schema)
        except ValueError as error:
            objection = f"That reply cannot be used: {error}. Answer again with the JSON object only."
        turns = (*turns, Turn("assistant", reply.text or "(nothing)"), Turn("user", objection))
        reply = await self._willing(turns, schema)
        try:
            return parsed(reply.text, schema)
        except ValueError as error:
            raise Malformed(
                f"{self.role} {self.endpoint.model} answered twice without fitting JSON: {error}"
            ) from error

    async def _willing(self, turns: Sequence[Turn], schema: type[BaseModel] | None = None) -> Reply:
        reply = await self.reply(turns, schema)
        if reply.declined:
            raise Refused(f"{self.role} {self.endpoint.model} declined: {reply.text[:120]}")
        return reply

    async def reply(self, turns: Sequence[Turn], schema: type[BaseModel] | None = None) -> Reply:
        """Returns the reply to this conversation: from the cache, or from the server and then kept.

        Raises:
            EndpointError: every request would fail alike. Unanswered: no answer after all retries.
            LimitReached: it could pass a cap. Interrupted: the user pressed Ctrl-C. Refused: a filter rejected it.
            DataError: an image cannot be read. StorageError: the reply cannot be kept.
        """
        parameters = self.endpoint.parameters()
        if schema is not None and self.endpoint.json_schema:
            parameters["response_format"] = json_schema(schema)
        key = request_key(self.endpoint.model, parameters, turns, self.endpoint.image_side)
        async with self.under_way.setdefault(key, asyncio.Lock()):
            body = self.cache.get(key)
            if body is not None and (kept := read_completion(body)) is not None:
                self.replayed += 1
                return kept
            async with self.slots, self.meter.room(self.endpoint, expected_tokens(turns)):
                return await self._request(key, parameters, turns)

    async def _request(self, key: str, parameters: dict[str, Any], turns: Sequence[Turn]) -> Reply:
        body = await self.completed(turns, parameters)
        request = canonical({"parameters": parameters, "turns": described(turns)})
        self.cache.put(key, self.endpoint.model, request, body)
        reply = read_completion(body)
        if reply is None:
            place = f"{self.role} {self.endpoint.model} at {self.endpoint.base_url}"
            if message := server_error(body):
                raise Unanswered(f"{place}: {message}")
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
                f"{self.role} {self.endpoint.model} at {self.endpoint.base_url}: its replies contain no token counts, so a "
                "cap on tokens or spend cannot be kept. Use --limits.max_calls instead."
            )
        return reply

    async def completed(self, turns: Sequence[Turn], parameters: dict[str, Any]) -> str:
        """Returns the raw body of the server's chat completion, after the retries."""
        messages: Any = await asyncio.to_thread(wire_messages, turns, self.endpoint.image_side)
        await self._pace()
        try:
            raw = await self.client.chat.completions.with_raw_response.create(
                model=self.endpoint.model, messages=messages, **parameters
            )
        except openai.APIError as error:
            images = any(turn.images for turn in turns)
            raise complaint(error, self.endpoint, self.role, self.key, images=images) from error
        self.retried += raw.retries_taken
        return raw.text

    async def _pace(self) -> None:
        """Wait until `per_minute` allows the next request."""
        if self.endpoint.per_minute > 0:
            now = time.monotonic()
            start = max(now, self.next_start)
            self.next_start = start + 60 / self.endpoint.per_minute
            await asyncio.sleep(start - now)


def expected_tokens(turns: Sequence[Turn]) -> int:
    """Returns an upper estimate of the tokens of a conversation: one for 3 characters, 1,500 for an image."""
    return sum(len(turn.text) // 3 + 8 + TOKENS_PER_IMAGE * len(turn.images) for turn in turns)


ADDRESS = "http://in-this-process/v1"
"""Placeholder for the address; nothing is sent there."""


class LocalModel(LanguageModel):
    """Any instruct model that the `text-generation` pipeline of transformers runs, from a folder or a Hub id.

    Replies are kept and read as those of a server. A schema cannot be forced on this model. A reply of another form is
    followed by one more request, as for any model.
    """

    def __init__(self, endpoint: Endpoint, cache: ReplyCache, meter: Meter, role: str = "model") -> None:
        """Loads `endpoint.model`. Temperature, seed and max_tokens of the endpoint hold; its address is not used.

        Raises:
            EndpointError: the model cannot be loaded, or has no chat template.
        """
        super().__init__(replace(endpoint, base_url=ADDRESS, api_key_env="", concurrency=1), cache, meter, role)
        from transformers import pipeline

        try:
            self.pipeline: Any = pipeline("text-generation", model=endpoint.model)
        except (OSError, ValueError, KeyError) as error:
            raise EndpointError(
                f"--{role}.model {endpoint.model}: transformers cannot load it ({' '.join(str(error).split())[:160]}). Give the "
                "folder or Hub id of a causal language model."
            ) from error
        self.tokenizer: Any = self.pipeline.tokenizer
        if not getattr(self.tokenizer, "chat_template", None):
            raise EndpointError(f"--{role}.model {endpoint.model}: has no chat template. Choose an instruct model.")

    async def completed(self, turns: Sequence[Turn], parameters: dict[str, Any]) -> str:
        """Returns a chat completion of the form a server sends."""
        return await asyncio.to_thread(self._generate, turns)

    def _generate(self, turns: Sequence[Turn]) -> str:
        if any(turn.images for turn in turns):
            raise EndpointError(
                f"{self.role} {self.endpoint.model}: the local backend accepts no images. Use --backend openai."
            )
        from transformers import set_seed

        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        prompt = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        temperature = self.endpoint.temperature or 0.0
        sampling = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
        if self.endpoint.seed is not None:
            set_seed(self.endpoint.seed)
        written = self.pipeline(prompt, max_new_tokens=self.endpoint.max_tokens, return_full_text=False, **sampling)
        text = str(written[0]["generated_text"])
        sent, received = (len(self.tokenizer(part, add_special_tokens=False)["input_ids"]) for part in (prompt, text))
        message = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": sent, "completion_tokens": received, "total_tokens": sent + received}
        return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage})
