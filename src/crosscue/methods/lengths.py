"""Captions that are longer than a text tower."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from crosscue.methods.contract import Method


def room(method: Method[Any]) -> int:
    """Returns the most word pieces that a method reads of a text.

    A method with prompts, or with words of its own before a text, has a `tokenize` that leaves room for them.
    """
    tokenize = getattr(method, "tokenize", method.backbone.tokenize)
    long, empty = tokenize(["a " * 2 * method.backbone.context_length, ""]).content.sum(1).tolist()
    return int(long - empty)


def cut_captions(method: Method[Any], captions: Iterable[str]) -> str:
    """Returns a line with the number of captions whose ends a method does not read; nothing if it reads all."""
    texts, most = list(captions), room(method)
    cut = sum(len(text.encode()) > most and method.backbone.token_count(text) > most for text in texts)
    if not cut:
        return ""
    return f"{cut:,} of {len(texts):,} captions are cut: the text tower reads their first {most} word pieces"
