"""Replies of a model: the chat completion, its text, and the object of a schema in that text."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

Schema = TypeVar("Schema", bound=BaseModel)

THOUGHTS = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
FENCE = re.compile(r"^\s*```[\w-]*\s*\n?(.*?)\n?\s*```\s*$", re.DOTALL)
REFUSAL = re.compile(
    r"^\W*(?:(?:i['’]?m|i am)\s+(?:very\s+)?(?:sorry|afraid|unable)|sorry\b|i (?:can['’]?t|cannot|won['’]?t|am not able to)\b|"
    r"i apologi[sz]e|as an ai\b|unfortunately,? i\b|my apologies)",
    re.IGNORECASE,
)


def spoken(text: str) -> str:
    """Returns a reply without the thoughts some models write first, and without a fence around all of it."""
    text = THOUGHTS.sub("", text)
    _, closed, after = text.rpartition("</think>")
    text = (after if closed else text).strip()
    fenced = FENCE.match(text)
    return fenced.group(1).strip() if fenced else text


def refuses(text: str) -> bool:
    """Returns true for a reply that declines to answer."""
    return REFUSAL.match(spoken(text)) is not None


def first_object(text: str) -> dict[str, Any]:
    """Returns the first balanced JSON object in a reply, without the text around it.

    Raises:
        ValueError: there is none; the message contains the fault.
    """
    text = THOUGHTS.sub("", text)
    complaint = "there is no JSON object in it"
    decoder = json.JSONDecoder()
    start = text.find("{")
    while start >= 0:
        try:
            value, _ = decoder.raw_decode(text, start)
        except json.JSONDecodeError as error:
            if complaint.startswith("there"):
                complaint = f"not valid JSON: {error.msg} at character {error.pos - start}"
        else:
            if isinstance(value, dict):
                return value
        start = text.find("{", start + 1)
    raise ValueError(complaint)


def parsed(text: str, schema: type[Schema]) -> Schema:
    """Returns the reply as an object of `schema`.

    Raises:
        ValueError: no JSON object, or one that does not fit; the message is sent to the model.
    """
    value = first_object(text)
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc'])) or 'object'}: {item['msg']}" for item in error.errors()[:5]]
        raise ValueError("; ".join(problems)) from error


def json_schema(schema: type[BaseModel]) -> dict[str, Any]:
    """Returns the response_format of a request for this schema, in the strict form: all keys required, no others."""
    described = schema.model_json_schema()
    _strict(described)
    return {"type": "json_schema", "json_schema": {"name": schema.__name__, "strict": True, "schema": described}}


def _strict(node: Any) -> None:
    if isinstance(node, dict):
        if node.get("type") == "object":
            node["additionalProperties"] = False
            node["required"] = list(node.get("properties", {}))
        node.pop("default", None)
        for value in node.values():
            _strict(value)
    elif isinstance(node, list):
        for value in node:
            _strict(value)


@dataclass(frozen=True)
class Reply:
    """One reply of a model."""

    text: str
    """Text of the model; empty if it declined through the protocol."""
    finish: str
    """Reason of its end: stop, length, content_filter, ..."""
    declined: bool
    """True if the server marked it as a refusal, or if the text is one."""
    input_tokens: int
    output_tokens: int
    metered: bool
    """True if the reply contains the number of tokens."""

    @property
    def spoken(self) -> str:
        """The text without thoughts and without a fence around it."""
        return spoken(self.text)


def read_completion(body: str) -> Reply | None:
    """Returns the reply in the raw body of a chat completion, or None for another body."""
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
