"""Prompts about an image. A change of one repeats the work on all records."""

from __future__ import annotations

from crosscue.knowledge.captions.domains import domain_of
from crosscue.knowledge.captions.record import CaptionRecord

SYSTEM = (
    "You describe photographs for a search engine. You write plain English prose, state only what can be seen, and never "
    "mention the photograph itself, the question, or that you are describing."
)

SCENE = (
    "Describe this picture in one to three sentences, at most {words} words. Cover the overall scene, the main object and the "  # words: ok
    "background; say in particular: {focus}. Begin with the main object. Write only the description."
)

SUBCATEGORY = (
    "This picture comes from {dataset} and shows: {name}. Describe it in detail in one to three sentences, at most {words} "  # words: ok
    "words. Cover the overall scene, the main object and the background; say in particular: {focus}. Write only the description."
)

JUDGE_SYSTEM = "You check captions against photographs. You are strict about what is not in the picture, and answer with one JSON object."  # words: ok

JUDGE = (
    "Caption: {caption}\n"
    "Compare it with the picture. Answer with a JSON object with these keys: "  # words: ok
    '"faithfulness", "coverage" and "fluency", whole numbers from 1 (poor) to 5 (flawless); '
    '"hallucinations", a list of the exact words of the caption that the picture does not support; '  # words: ok
    '"missing", a list of important visible things that the caption leaves out; '
    '"revised", the caption corrected and completed in at most {words} words, keeping the name it gives the main object.'
)

WITHOUT = (
    "Caption: {caption}\n"
    "Two readers found that the picture does not support these words: {spans}. Write the caption again without them and change "  # words: ok
    "nothing else. Write only the caption."
)

SHORTER = (
    "Caption: {caption}\n"
    "Write it again in at most {words} words. Keep {keep} and what tells this picture from others. Write only the caption."  # words: ok
)

MORE_SPECIFIC = (
    "Caption: {caption}\n"
    "{count} different pictures have this same caption. Write a caption for this picture, at most {words} words, that keeps {keep} "  # words: ok
    "and says what is particular here: {focus}. Write only the caption."
)

WORDS_PER_TOKEN = 0.7
"""Words in a prompt per token of the budget: English has about 1.3 tokens a word, and models overshoot."""


def words_for(max_tokens: int) -> int:
    """Returns the number of words in a prompt for a budget of tokens."""
    return max(8, int(max_tokens * WORDS_PER_TOKEN))


def draft_question(record: CaptionRecord, max_tokens: int, label_hint: bool) -> tuple[str, str]:
    """Returns the name of the template and the prompt. Only `label_hint` puts the class into it."""
    focus, words = domain_of(record.meta_category).focus, words_for(max_tokens)
    if label_hint and record.class_name is not None:
        return "subcategory", SUBCATEGORY.format(
            dataset=f"a collection of {record.meta_category}", name=record.class_name, words=words, focus=focus
        )
    return "scene", SCENE.format(words=words, focus=focus)


def keep(record: CaptionRecord) -> str:
    """Returns the part of a caption that a rewrite has to keep, in words."""
    return f"the name '{record.class_name}'" if record.class_name is not None else "the main object"


TEMPLATES = (SYSTEM, SCENE, SUBCATEGORY, JUDGE_SYSTEM, JUDGE, WITHOUT, SHORTER, MORE_SPECIFIC)
