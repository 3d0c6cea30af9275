"""Cleaning of captions: spacing, phrases about the image, markup, echoes of the prompt, other languages."""

from __future__ import annotations

import re

from crosscue.knowledge.actions.language import looks_english
from crosscue.knowledge.captions.prompts import TEMPLATES
from crosscue.knowledge.captions.record import CaptionRecord
from crosscue.knowledge.replies import refuses, spoken

ABBREVIATION = re.compile(r"(?:\b(?:St|Mr|Mrs|Ms|Dr|No|vs|etc|approx|Mt|Ft|Jr|Sr|cf|var|sp|spp|e\.g|i\.e)|\b[A-Z])\.$")
BOUNDARY = re.compile(r"(?<=[.!?])[\"'”’)]?\s+(?=[\"'“‘(]?[A-Z0-9])")


def statements(text: str) -> list[str]:
    """Returns the parts of a text that end in a full stop; `St. Bernard` is not the end of one."""
    found: list[str] = []
    start = 0
    for boundary in BOUNDARY.finditer(text):
        if ABBREVIATION.search(text[start : boundary.start()]):
            continue
        found.append(text[start : boundary.end()].strip())
        start = boundary.end()
    found.append(text[start:].strip())
    return [statement for statement in found if statement]


def spaced(text: str) -> str:
    """Returns the text with single spaces, one after each period, none before a comma; with a capital and a final period."""
    text = re.sub(r"\s+([,.;:!?])", r"\1", " ".join(text.split()))
    text = re.sub(r"(?<=[a-z0-9)\"'”])([.!?])(?=[A-Z])", r"\1 ", text)
    text = re.sub(r"(?<=[a-z)]),(?=[A-Za-z])", ", ", text).strip()
    if not text:
        return ""
    if text[-1] not in ".!?" and not text.endswith(('."', ".”", ".'")):
        text = text.rstrip(",;:- ") + "."
    return text[0].upper() + text[1:]


def normalised(text: str) -> str:
    """Returns the text in lower case, words and single spaces only, for comparisons."""
    return " ".join(re.findall(r"\w+", text.lower()))


MEDIUM = r"(?:image|photo|photograph|picture|snapshot|shot)"  # words: ok
OPENERS = (
    re.compile(r"^(?:sure|certainly|of course|absolutely|okay|ok)\b[^.:!\n]*[.:!,]\s*", re.IGNORECASE),
    re.compile(r"^here(?:['’]s| is| are)\b[^.:\n]*:\s*", re.IGNORECASE),
    re.compile(r"^(?:caption|description|answer|revised caption|output)\s*:\s*", re.IGNORECASE),
    re.compile(
        rf"^in (?:the|this) {MEDIUM},?\s*(?:we (?:can )?see|you can see|there (?:is|are)|one can see)?\s*",
        re.IGNORECASE,
    ),
    re.compile(
        rf"^(?:the|this) (?:{MEDIUM}|scene) (?:shows?|depicts?|features?|captures?|displays?|presents?|portrays?|contains?|showcases?|"
        r"is of|focuses on|illustrates?)\s+",
        re.IGNORECASE,
    ),
    re.compile(
        rf"^(?:this|it) is an? (?:\w+[\s-]){{0,3}}{MEDIUM} (?:of|showing|that shows|depicting|featuring)\s+",
        re.IGNORECASE,
    ),
)
WITHIN = re.compile(rf"\s+(?:of|in|within) (?:the|this) {MEDIUM}\b", re.IGNORECASE)
REMAINS = re.compile(
    r"\b(?:the|this) (?:image|photo|photograph|picture|caption|description)\b",  # words: ok
    re.IGNORECASE,
)  # words: ok
CLOSERS = re.compile(
    r"\b(?:let me know|feel free|i hope|hope this|would you like|if you need|please note)\b", re.IGNORECASE
)
URL = re.compile(r"\(?\b(?:https?://|www\.)\S+", re.IGNORECASE)
MARKUP = (
    (re.compile(r"!?\[([^\]]*)\]\([^)]*\)"), r"\1"),
    (re.compile(r"^\s{0,3}#{1,6}\s+.*$", re.MULTILINE), " "),
    (re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+", re.MULTILINE), ""),
    (re.compile(r"(\*\*|__|\*|`+)(?=\S)(.+?)(?<=\S)\1"), r"\2"),
    (re.compile(r"<[a-z/][^>]*>", re.IGNORECASE), " "),
)
QUESTIONS = tuple(normalised(template) for template in TEMPLATES)


def without_noise(text: str) -> str:
    """Returns the description alone: no markup, no address, no phrase about the image, no echo of the prompt."""
    text = spoken(text)
    for pattern, replacement in MARKUP:
        text = pattern.sub(replacement, text)
    text = URL.sub("", text).strip().strip('"“”').strip()
    kept = []
    for statement in statements(" ".join(text.split())):
        bare = _bare(statement)
        if bare and not CLOSERS.search(bare) and not _echoes(bare):
            kept.append(bare)
    return spaced(" ".join(kept))


def cleaned(record: CaptionRecord) -> CaptionRecord:
    """Returns the record with a caption that is a description alone.

    Flags: `refused` (and no caption) for a refusal, `meta_phrase` for a phrase about the image that is left,
    `not_english`, `empty`.
    """
    if not record.caption:
        return record
    if refuses(record.caption):
        return record.with_caption("").flagged("refused")
    caption = without_noise(record.caption)
    record = record.with_caption(caption).unflagged("empty", "meta_phrase", "not_english")
    if not caption:
        return record.flagged("empty")
    flags = []
    if REMAINS.search(caption):
        flags.append("meta_phrase")
    if not looks_english(caption):
        flags.append("not_english")
    return record.flagged(*flags) if flags else record


def _bare(statement: str) -> str:
    before = None
    while before != statement:
        before = statement
        for opener in OPENERS:
            statement = opener.sub("", statement)
    statement = WITHIN.sub("", statement).strip()
    return statement[:1].upper() + statement[1:]


def _echoes(statement: str) -> bool:
    words = normalised(statement)
    return len(words.split()) >= 4 and any(words in question for question in QUESTIONS)
