"""A language model in this process, through transformers: no server, the same cache, checks and re-asks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from crosscue.knowledge.cache import ReplyCache
from crosscue.knowledge.client import LanguageModel
from crosscue.knowledge.conversation import Turn
from crosscue.knowledge.endpoint import Endpoint
from crosscue.knowledge.failures import EndpointError
from crosscue.knowledge.limits import Meter

ADDRESS = "http://in-this-process/v1"
"""Stands where an endpoint has its address; nothing is sent there."""


class LocalModel(LanguageModel):
    """Any instruct model that the `text-generation` pipeline of transformers runs, from a folder or a Hub id.

    Replies are kept and read as those of a server. A schema cannot be forced on the model, so it is only asked for; what does
    not fit goes the usual way of one re-ask and the fallback.
    """

    def __init__(self, endpoint: Endpoint, cache: ReplyCache, meter: Meter, role: str = "model") -> None:
        """Loads `endpoint.model`; its temperature, seed and max_tokens hold, its address does not matter.

        Raises:
            EndpointError: it cannot be loaded, or has no chat template.
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
        if any(turn.pictures for turn in turns):
            raise EndpointError(
                f"{self.role} {self.endpoint.model}: the local backend takes no pictures. Use --backend openai."
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
