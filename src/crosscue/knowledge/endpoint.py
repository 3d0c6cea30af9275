"""Endpoint of a language model: address, model, parameters of a request, and prices."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from crosscue.errors import EndpointError


@dataclass(frozen=True)
class Endpoint:
    """A model behind any server with OpenAI's chat/completions interface."""

    base_url: str = ""
    """Address of the server up to its version, e.g. http://localhost:8000/v1."""
    model: str = ""
    """Name of the model on the server."""
    api_key_env: str = ""
    """Environment variable that contains the key. Blank: the server needs none. The key itself is never an option."""
    temperature: float | None = 0.0
    """Sampling temperature. 0 gives the same reply again. `null`: not sent, for models that accept none."""
    seed: int | None = 0
    """Seed of every request. `null`: not sent, for servers that accept none."""
    max_tokens: int = 600
    """Most tokens of one reply. Raise it if replies are cut off."""
    token_parameter: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """Name of that limit in a request. OpenAI's reasoning models need `max_completion_tokens`."""
    json_schema: bool = True
    """Send the JSON schema of the reply. Turn it off for servers that lack `response_format`; replies are validated either way."""
    image_side: int = 1024
    """Longest side of an image in pixels; larger images are scaled down. Lower it to save tokens."""
    concurrency: int = 4
    """Most requests under way at once. Raise it for a server that batches requests."""
    per_minute: int = 0
    """Most requests that start within a minute. 0: no limit."""
    timeout: float = 120.0
    """Seconds to wait for a reply."""
    retries: int = 6
    """Repetitions after 408, 409, 429, 5xx, a timeout or a lost connection. Each waits for Retry-After or a growing time."""
    input_price: float = 0.0
    """Price of a million tokens sent, in your currency. Needed for --limits.max_spend."""
    output_price: float = 0.0
    """Price of a million tokens received, in your currency. Needed for --limits.max_spend."""

    def checked(self, role: str) -> Endpoint:
        """Returns itself if a request can be sent.

        Raises:
            EndpointError: no address, no model, or no value of the key variable.
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
                f"--{role}.base_url contains a password, which would end up in reports. Name a variable in --{role}.api_key_env."
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
        """Returns the parameters of a request that change its reply. They are part of the key of a cached reply."""
        values: dict[str, Any] = {self.token_parameter: self.max_tokens}
        if self.temperature is not None:
            values["temperature"] = self.temperature
        if self.seed is not None:
            values["seed"] = self.seed
        return values

    def provenance(self) -> dict[str, Any]:
        """Returns model and parameters for the provenance of a record, without the address."""
        return {"model": self.model, **self.parameters(), "image_side": self.image_side}
