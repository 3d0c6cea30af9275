"""Drafting: the writer receives the image and returns a first caption."""

from __future__ import annotations

from dataclasses import dataclass

from crosscue.errors import DataError
from crosscue.knowledge.captions.prompts import SYSTEM, draft_question
from crosscue.knowledge.captions.record import CaptionRecord, Draft
from crosscue.knowledge.conversation import HashedImage, Turn
from crosscue.knowledge.failures import ReplyError
from crosscue.knowledge.language_model import LanguageModel


@dataclass(frozen=True)
class Writing:
    """Options of the writer."""

    domain: str = "objects"
    """Domain of the images: pets, birds, flowers, cars, aircraft, food, scenes, textures, actions, objects. It decides
    the focus of captions and the general nouns for a class."""
    max_tokens: int = 71
    """Most tokens of a caption. 71 are CLIP's 75 places for words less 4 for context tokens."""
    min_tokens: int = 8
    """Fewest tokens of a revised caption. Lower it for short captions."""
    draft_label_hint: bool = False
    """Put the class into the prompt. Off, because it leaks the label into the description; captions name the class anyway."""


async def drafted(record: CaptionRecord, image: HashedImage, writer: LanguageModel, writing: Writing) -> CaptionRecord:
    """Returns the record with a draft as its caption.

    Flags, without a caption: `refused`, `malformed`, `unreadable`.
    """
    template, question = draft_question(record, writing.max_tokens, writing.draft_label_hint)
    try:
        text = await writer.say((Turn("system", SYSTEM), Turn("user", question, (image,))))
    except ReplyError as error:
        return record.flagged(error.flag)
    except DataError:
        return record.flagged("unreadable")
    draft = Draft(template=template, text=text, model=writer.endpoint.model)
    return record.model_copy(update={"drafts": (*record.drafts, draft), "caption": " ".join(text.split())})
