"""Conversation with a model: turns of text and images, as messages for the server and as a key of the cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from crosscue.data.images import jpeg_url
from crosscue.data.pairs import Image
from crosscue.errors import DataError

JPEG_QUALITY = 90


@dataclass(frozen=True)
class HashedImage:
    """An image with the digest of its content. The file is read again only for a real request, not for a cached reply."""

    source: Image
    sha256: str
    """SHA-256 of the encoded bytes."""


def hashed(image: Image) -> HashedImage:
    """Returns an image with the digest of its content.

    Raises:
        DataError: the image cannot be read.
    """
    try:
        return HashedImage(image, hashlib.sha256(image.read()).hexdigest())
    except OSError as error:
        raise DataError(f"{image.name}: cannot be read ({error.strerror or error}). Check the path.") from error


@dataclass(frozen=True)
class Turn:
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    text: str
    images: tuple[HashedImage, ...] = ()


def request_key(model: str, parameters: Mapping[str, Any], turns: Sequence[Turn], image_side: int) -> str:
    """Returns the key of a reply in the cache: the SHA-256 of model, canonical parameters, and turns."""
    content: dict[str, Any] = {"model": model, "parameters": dict(parameters), "turns": described(turns)}
    if any(turn.images for turn in turns):
        content["image_side"] = image_side
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def canonical(value: Any) -> str:
    """Returns JSON that is equal for equal values: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def described(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """Returns the turns with each image as its SHA-256."""
    return [{"role": turn.role, "text": turn.text, "images": [image.sha256 for image in turn.images]} for turn in turns]


def wire_messages(turns: Sequence[Turn], image_side: int) -> list[dict[str, Any]]:
    """Returns the turns in the form of chat/completions; images become data URLs.

    Raises:
        DataError: an image cannot be read.
    """
    messages: list[dict[str, Any]] = []
    for turn in turns:
        content: str | list[dict[str, Any]] = turn.text
        if turn.images:
            content = [
                {"type": "image_url", "image_url": {"url": jpeg_url(image.source, image_side, JPEG_QUALITY)}}
                for image in turn.images
            ] + [{"type": "text", "text": turn.text}]
        messages.append({"role": turn.role, "content": content})
    return messages
