"""Errors of language models, and the error of ours for each complaint of a server, with a remedy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from crosscue.errors import CrosscueError

if TYPE_CHECKING:
    import openai

    from crosscue.knowledge.endpoint import Endpoint


class EndpointError(CrosscueError):
    """The endpoint is not named, cannot be reached, or refuses every request alike: asking again would not help."""


class LimitReached(CrosscueError):
    """The cap on calls, tokens or spend would be exceeded; what was paid for is kept."""


class Interrupted(CrosscueError):
    """The user asked to stop; calls under way were finished and kept."""

    exit_code = 130


class Unanswered(CrosscueError):
    """One request got no answer after all retries; another one may."""


class ReplyError(CrosscueError):
    """A reply came and cannot be used; the record it was for is flagged and the work goes on."""

    flag = "unusable"


class Refused(ReplyError):
    """The model, or the filter in front of it, declined to answer."""

    flag = "refused"


class Malformed(ReplyError):
    """The reply did not fit its schema, and neither did the second one."""

    flag = "malformed"


SIGHT = r"(?:image|picture|vision|visual|multi-?modal|mmproj)"
DENIAL = r"(?:\bnot?\b|n['’]t\b|\b0\b|unsupported|unknown|invalid|only|without|unable|text-only|missing)"
BLIND = re.compile(rf"{SIGHT}.*{DENIAL}|{DENIAL}.*{SIGHT}", re.IGNORECASE | re.DOTALL)
FILTERED = re.compile(r"content.?(?:filter|policy|management)|responsible.?ai|safety system|moderation", re.IGNORECASE)
SCHEMA = re.compile(r"response_format|json_schema|guided|grammar", re.IGNORECASE)
TOO_LONG = re.compile(r"context.{0,20}(?:length|window|size)|maximum.{0,20}tokens|too (?:long|large)", re.IGNORECASE)
PASSING = (408, 409, 429)
LONGEST = 200
"""Characters of a server's message that are repeated."""


def complaint(error: openai.APIError, endpoint: Endpoint, role: str, key: str, *, pictures: bool) -> CrosscueError:
    """Returns our error for the client's, after its retries.

    `EndpointError` stops the run: every request would fail alike. `Unanswered` and `Refused` are about one request.
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
        return EndpointError(f"{place}: {_said(error, key)}")
    status, said = error.status_code, _said(error, key)
    if status in (401, 403):
        named = f"the key in {endpoint.api_key_env}" if endpoint.api_key_env else "a request without a key"
        return EndpointError(f"{place}: refused {named} (HTTP {status}). Check --{role}.api_key_env and its value.")
    if status in PASSING:
        after = error.response.headers.get("retry-after")
        when = f", which asks to wait {after} s" if after else ""
        return Unanswered(
            f"{place}: HTTP {status} after {endpoint.retries + 1} tries{when} ({said}). Lower --{role}.concurrency or set "
            f"--{role}.per_minute, and run the same command again later."
        )
    if status < 500 and FILTERED.search(said):
        return Refused(f"{place}: {said}")
    if pictures and BLIND.search(said):
        return EndpointError(
            f"{place}: does not take pictures (HTTP {status}: {said}). Choose a vision-language model for --{role}.model."
        )
    if status >= 500:
        return Unanswered(f"{place}: HTTP {status} after {endpoint.retries + 1} tries ({said}).")
    if status == 404:
        return EndpointError(
            f"{place}: not found (HTTP 404: {said}). Check --{role}.model, and that --{role}.base_url ends in the version, e.g. /v1."
        )
    if SCHEMA.search(said):
        return EndpointError(
            f"{place}: does not take a JSON schema ({said}). Use --{role}.json_schema false; replies are validated either way."
        )
    if "max_completion_tokens" in said:
        return EndpointError(f"{place}: {said} Use --{role}.token_parameter max_completion_tokens.")
    if status == 413 or TOO_LONG.search(said):
        return EndpointError(
            f"{place}: the request is too long (HTTP {status}: {said}). Lower --{role}.image_side or --{role}.max_tokens."
        )
    return EndpointError(f"{place}: HTTP {status}: {said}")


def _said(error: openai.APIError, key: str) -> str:
    """Returns the server's message on one line, shortened, without the key."""
    body = error.body if isinstance(error.body, dict) else {}
    text = " ".join(str(body.get("message") or error.message).split())
    if len(key) > 4:
        text = text.replace(key, "[key]")
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
