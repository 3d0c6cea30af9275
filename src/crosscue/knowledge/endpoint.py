"""Where a language model is, and how it is asked."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from crosscue.knowledge.failures import EndpointError


@dataclass(frozen=True)
class Endpoint:
    """A model behind any server that speaks OpenAI's chat/completions."""

    base_url: str = ""
    """Address of the server up to its version, e.g. http://localhost:8000/v1."""
    model: str = ""
    """Name of the model as the server knows it."""
    api_key_env: str = ""
    """Environment variable that holds the key; blank for a server that needs none. The key itself is never an option."""
    temperature: float | None = 0.0
    """Sampling temperature; null for models that take none."""
    seed: int | None = 0
    """Seed sent with every request; null for servers that take none."""
    max_tokens: int = 600
    """Most tokens of one reply."""
    token_parameter: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """How the server calls that limit; OpenAI's reasoning models want max_completion_tokens."""
    json_schema: bool = True
    """Send response_format json_schema; turn off for servers that lack it (replies are validated either way)."""
    image_side: int = 1024
    """Pictures are scaled down until both sides are at most this many pixels."""
    concurrency: int = 4
    """Most requests under way at once."""
    per_minute: int = 0
    """Most requests begun a minute; 0 for no limit."""
    timeout: float = 120.0
    """Seconds to wait for a reply."""
    retries: int = 6
    """Repetitions after 408, 409, 429, 5xx, a timeout or a lost connection: exponential backoff with jitter, or Retry-After."""
    input_price: float = 0.0
    """Price of a million tokens sent, in your currency."""
    output_price: float = 0.0
    """Price of a million tokens received, in your currency."""

    def checked(self, role: str) -> Endpoint:
        """Returns itself when it can be asked.

        Raises:
            EndpointError: no address, no model, or no key where one is named; the message names the option.
        """
        if not self.base_url.strip():
            raise EndpointError(
                f"the {role} has no endpoint. Give --{role}.base_url, e.g. http://localhost:8000/v1, and --{role}.model."
            )
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise EndpointError(f"--{role}.base_url {self.base_url!r} is not an address like http://localhost:8000/v1.")
        if "@" in parts.netloc:
            raise EndpointError(
                f"--{role}.base_url holds a password, which would end up in reports. Name a variable in --{role}.api_key_env."
            )
        if not self.model.strip():
            raise EndpointError(f"the {role} at {self.base_url} has no model. Give --{role}.model.")
        self.key(role)
        return self

    def key(self, role: str) -> str:
        """Returns the key from the environment, or a placeholder for a server that needs none.

        Raises:
            EndpointError: the named variable is not set.
        """
        if not self.api_key_env:
            return "none"
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise EndpointError(
                f"the environment variable {self.api_key_env} is empty, and --{role}.api_key_env names it as the key of "
                f"{self.base_url}. Export it, or leave --{role}.api_key_env blank."
            )
        return key

    def parameters(self) -> dict[str, Any]:
        """Returns what changes a reply, as the request names it: part of what a cached reply is known by."""
        values: dict[str, Any] = {self.token_parameter: self.max_tokens}
        if self.temperature is not None:
            values["temperature"] = self.temperature
        if self.seed is not None:
            values["seed"] = self.seed
        return values

    def provenance(self) -> dict[str, Any]:
        """Returns model and parameters for a record's provenance; the address is no part of it."""
        return {"model": self.model, **self.parameters(), "image_side": self.image_side}

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types for a report."""
        return asdict(self)
