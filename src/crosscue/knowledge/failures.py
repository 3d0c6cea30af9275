"""Errors of language models, and the conversion of a server's message into one of them with a remedy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from crosscue.errors import CrosscueError, EndpointError

if TYPE_CHECKING:
    import openai

    from crosscue.knowledge.endpoint import Endpoint


class LimitReached(CrosscueError):
    """The next request could pass a cap on calls, tokens or spend. Paid replies are kept."""


class Interrupted(CrosscueError):
    """The user pressed Ctrl-C. Calls under way were finished and kept."""

    exit_code = 130


class Unanswered(CrosscueError):
    """One request got no answer after all retries. Others may still get one."""


class ReplyError(CrosscueError):
    """A reply that cannot be used. Its record is flagged and the work goes on."""

    flag = "unusable"


class Refused(ReplyError):
    """The model, or the filter in front of it, declined."""

    flag = "refused"


class Malformed(ReplyError):
    """Two replies that do not fit the schema."""

    flag = "malformed"


SIGHT = r"(?:image|picture|vision|visual|multi-?modal|mmproj)"  # words: ok
DENIAL = r"(?:\bnot?\b|n['’]t\b|\b0\b|unsupported|unknown|invalid|only|without|unable|text-only|missing)"
BLIND = re.compile(rf"{SIGHT}.*{DENIAL}|{DENIAL}.*{SIGHT}", re.IGNORECASE | re.DOTALL)
FILTERED = re.compile(r"content.?(?:filter|policy|management)|responsible.?ai|safety system|moderation", re.IGNORECASE)
SCHEMA = re.compile(r"response_format|json_schema|guided|grammar", re.IGNORECASE)
TOO_LONG = re.compile(r"context.{0,20}(?:length|window|size)|maximum.{0,20}tokens|too (?:long|large)", re.IGNORECASE)
PASSING = (408, 409, 429)
LONGEST = 200
"""Most characters of a server's message in ours."""


def complaint(error: openai.APIError, endpoint: Endpoint, role: str, key: str, *, images: bool) -> CrosscueError:
    """Returns our error for an error of the client, after its retries.

    `EndpointError` stops the run, since every request would fail alike. `Unanswered` and `Refused` concern one request.
    """
    import openai

    place = f"{role} {endpoint.model} at {endpoint.base_url}"
    if isinstance(error, openai.APITimeoutError):
        return Unanswered(
            f"{place}: no reply within {endpoint.timeout:g} s, {endpoint.retries + 1} times. Raise --{role}.timeout, or lower "
            f"--{role}.concurrency."
        )
    if isinstance(error, openai.APIConnectionError):
        cause = error.__cause__
        return EndpointError(
            f"{place}: cannot be reached ({str(cause) or type(cause).__name__}). Start the server, or correct --{role}.base_url; "
            "replies so far are kept."
        )
    if not isinstance(error, openai.APIStatusError):
        return EndpointError(f"{place}: {_message(error, key)}")
    status, message = error.status_code, _message(error, key)
    if status in (401, 403):
        named = f"the key in {endpoint.api_key_env}" if endpoint.api_key_env else "a request without a key"
        return EndpointError(f"{place}: refused {named} (HTTP {status}). Check --{role}.api_key_env and its value.")
    if status in PASSING:
        after = error.response.headers.get("retry-after")
        when = f", Retry-After {after} s" if after else ""
        return Unanswered(
            f"{place}: HTTP {status} after {endpoint.retries + 1} tries{when} ({message}). Lower --{role}.concurrency or set "
            f"--{role}.per_minute, and run the same command again later."
        )
    if status < 500 and FILTERED.search(message):
        return Refused(f"{place}: {message}")
    if images and BLIND.search(message):
        return EndpointError(
            f"{place}: does not take images (HTTP {status}: {message}). Choose a vision-language model for --{role}.model."
        )
    if status >= 500:
        return Unanswered(f"{place}: HTTP {status} after {endpoint.retries + 1} tries ({message}).")
    if status == 404:
        return EndpointError(
            f"{place}: not found (HTTP 404: {message}). Check --{role}.model, and that --{role}.base_url ends in the version, e.g. /v1."
        )
    if SCHEMA.search(message):
        return EndpointError(
            f"{place}: does not take a JSON schema ({message}). Use --{role}.json_schema false; replies are validated either way."
        )
    if "max_completion_tokens" in message:
        return EndpointError(f"{place}: {message} Use --{role}.token_parameter max_completion_tokens.")
    if status == 413 or TOO_LONG.search(message):
        return EndpointError(
            f"{place}: the request is too long (HTTP {status}: {message}). Lower --{role}.image_side or --{role}.max_tokens."
        )
    return EndpointError(f"{place}: HTTP {status}: {message}")


def _message(error: openai.APIError, key: str) -> str:
    """Returns the server's message on one line, shortened, without the key."""
    body = error.body if isinstance(error.body, dict) else {}
    text = " ".join(str(body.get("message") or error.message).split())
    if len(key) > 4:
        text = text.replace(key, "[key]")
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
