"""From what a model wrote to an object of a schema: thoughts and fences away, the first balanced object, validation."""

from __future__ import annotations

import json
import re
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
    """Says whether a reply declines to answer instead of answering."""
    return REFUSAL.match(spoken(text)) is not None


def first_object(text: str) -> dict[str, Any]:
    """Returns the first balanced JSON object in a reply, whatever stands around it.

    Raises:
        ValueError: there is none; the message says what was found.
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
        ValueError: no JSON object, or one that does not fit; the message is for the model to read.
    """
    value = first_object(text)
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc'])) or 'object'}: {item['msg']}" for item in error.errors()[:5]]
        raise ValueError("; ".join(problems)) from error


def json_schema(schema: type[BaseModel]) -> dict[str, Any]:
    """Returns the response_format that asks a server for this schema, in the strict form: all required, nothing else."""
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
