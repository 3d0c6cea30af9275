"""Captions that are longer than a text tower."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from crosscue.methods.contract import Method


def cut_captions(method: Method[Any], captions: Iterable[str]) -> str:
    """Returns a line with the number of captions whose ends a method does not read; nothing if it reads all."""
    backbone, texts = method.backbone, list(captions)
    room = backbone.room(getattr(method.config, "context_tokens", 0))
    cut = sum(len(text.encode()) > room and backbone.token_count(text) > room for text in texts)
    if not cut:
        return ""
    return f"{cut:,} of {len(texts):,} captions are cut: the text tower reads their first {room} word pieces"
