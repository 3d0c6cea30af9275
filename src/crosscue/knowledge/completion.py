"""A chat completion as the server sent it, read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from crosscue.knowledge.replies import refuses, spoken


@dataclass(frozen=True)
class Reply:
    """One reply of a model."""

    text: str
    """What it wrote; empty when it declined through the protocol."""
    finish: str
    """Why it ended: stop, length, content_filter, ..."""
    declined: bool
    """The server marked it as a refusal, or it reads as one."""
    input_tokens: int
    output_tokens: int
    metered: bool
    """The server said how many tokens were used."""
    cached: bool = False
    """It was paid for before."""

    @property
    def spoken(self) -> str:
        """The text without thoughts and without a fence around it."""
        return spoken(self.text)


def read_completion(body: str, *, cached: bool = False) -> Reply | None:
    """Returns the reply in the raw body of a chat completion, or None where the body is something else."""
    try:
        content: Any = json.loads(body)
        choice = content["choices"][0]
        message = choice["message"]
    except (ValueError, KeyError, IndexError, TypeError):
        return None
    if not isinstance(message, dict):
        return None
    text = _text(message.get("content"))
    finish = str(choice.get("finish_reason") or "")
    usage = content.get("usage") if isinstance(content.get("usage"), dict) else {}
    return Reply(
        text=text,
        finish=finish,
        declined=bool(message.get("refusal")) or finish == "content_filter" or refuses(text),
        input_tokens=int(usage.get("prompt_tokens") or 0),
        output_tokens=int(usage.get("completion_tokens") or 0),
        metered="prompt_tokens" in usage,
        cached=cached,
    )


def server_error(body: str) -> str:
    """Returns the message of an error that came with status 200, as some gateways send them; empty for none."""
    try:
        content: Any = json.loads(body)
    except ValueError:
        return ""
    error = content.get("error") if isinstance(content, dict) else None
    return str(error.get("message") or error) if isinstance(error, dict) else str(error or "")


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content) if content is not None else ""
