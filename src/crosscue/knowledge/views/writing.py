"""A vision-language model answers three questions about a picture: the whole, its background, its entities (ACKE, UAIP)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from crosscue.errors import DataError
from crosscue.knowledge.conversation import Picture, Turn
from crosscue.knowledge.failures import ReplyError
from crosscue.knowledge.language_model import LanguageModel
from crosscue.knowledge.stages import answers_for, digest
from crosscue.knowledge.views.record import Views

QUESTION = (
    "Answer three questions about this picture. Each answer is limited to 30 words.\n"
    "global: What does this image describe from a global perspective?\n"
    "background: What information is depicted in the background of this image?\n"
    "entity: What entities are present in this image?\n"
    "Answer with one JSON object with the keys global, background and entity, and nothing else."
)


def _filled(text: str) -> str:
    text = " ".join(text.split())
    if not text:
        raise ValueError("must not be empty")
    return text


class ViewsReply(BaseModel):
    """What a model answers: exactly three texts, none of them empty."""

    model_config = ConfigDict(extra="forbid")

    overall: Annotated[str, AfterValidator(_filled)] = Field(alias="global")
    background: Annotated[str, AfterValidator(_filled)]
    entity: Annotated[str, AfterValidator(_filled)]


class ViewWriter:
    """Asks one model about pictures."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.failed: Counter[str] = Counter()
        """Why pictures have no views: refused, malformed, unreadable."""

    async def views(self, pictures: Mapping[str, Picture]) -> dict[str, Views | None]:
        """Returns the views of each picture by its id; None where the model gave none. Equal pictures are asked about once.

        Raises:
            EndpointError, LimitReached, Interrupted, Unanswered: stopped; what was answered is kept.
        """
        by_content = {picture.sha256: picture for picture in pictures.values()}

        async def ask(names: Sequence[str]) -> dict[str, str]:
            return {name: await self.write(by_content[name]) for name in names}

        answers = await answers_for(
            {sha256: digest("views", self.model.endpoint.provenance(), QUESTION, sha256) for sha256 in by_content},
            ask,
            self.model.cache,
            self.model.meter,
            batch=1,
            workers=self.model.endpoint.concurrency,
            doing="asking for views",
            unit="pictures",
        )
        return {identity: self._read(answers[picture.sha256]) for identity, picture in pictures.items()}

    async def write(self, picture: Picture) -> str:
        """Returns the model's answer about one picture as JSON, or the name of what went wrong."""
        try:
            reply = await self.model.ask((Turn("user", QUESTION, (picture,)),), ViewsReply)
        except ReplyError as error:
            self.failed[error.flag] += 1
            return error.flag
        except DataError:
            self.failed["unreadable"] += 1
            return "unreadable"
        return reply.model_dump_json(by_alias=True)

    def _read(self, answer: str) -> Views | None:
        if not answer.startswith("{"):
            return None
        reply = ViewsReply.model_validate_json(answer)
        return Views(reply.overall, reply.background, reply.entity, self.model.endpoint.model)
