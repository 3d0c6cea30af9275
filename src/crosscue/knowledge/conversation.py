"""What is sent to a model: turns of text and pictures, in the form they are sent and in the form they are known by."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image as Pillow

from crosscue.data.images import open_image
from crosscue.data.pairs import Image

JPEG_QUALITY = 90


@dataclass(frozen=True)
class Picture:
    """A picture to send; its content is read when the request is really made, not when a cached reply is found."""

    image: Image
    sha256: str
    """SHA-256 of the encoded bytes."""


@dataclass(frozen=True)
class Turn:
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    text: str
    pictures: tuple[Picture, ...] = ()


def request_key(model: str, parameters: Mapping[str, Any], turns: Sequence[Turn], image_side: int) -> str:
    """Returns the SHA-256 of (model, canonical parameters, messages, SHA-256 of each picture): what a reply is kept under."""
    asked: dict[str, Any] = {"model": model, "parameters": dict(parameters), "turns": described(turns)}
    if any(turn.pictures for turn in turns):
        asked["image_side"] = image_side
    return hashlib.sha256(canonical(asked).encode()).hexdigest()


def canonical(value: Any) -> str:
    """Returns JSON that is equal for equal values: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def described(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """Returns the turns with each picture as its SHA-256."""
    return [
        {"role": turn.role, "text": turn.text, "pictures": [picture.sha256 for picture in turn.pictures]}
        for turn in turns
    ]


def wire_messages(turns: Sequence[Turn], image_side: int) -> list[dict[str, Any]]:
    """Returns the turns as chat/completions takes them; pictures become data URLs.

    Raises:
        DataError: a picture cannot be read.
    """
    messages: list[dict[str, Any]] = []
    for turn in turns:
        content: str | list[dict[str, Any]] = turn.text
        if turn.pictures:
            content = [
                {"type": "image_url", "image_url": {"url": data_url(picture.image, image_side)}}
                for picture in turn.pictures
            ] + [{"type": "text", "text": turn.text}]
        messages.append({"role": turn.role, "content": content})
    return messages


def data_url(image: Image, side: int) -> str:
    """Returns a picture as a JPEG data URL, both sides at most `side` pixels.

    Raises:
        DataError: the picture cannot be read.
    """
    picture = open_image(image, at_least=side)
    picture.thumbnail((side, side), Pillow.Resampling.LANCZOS)
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.getvalue()).decode("ascii")
