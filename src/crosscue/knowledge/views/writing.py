"""Views from a vision-language model, as answers to three questions: the whole, the background, the entities (ACKE, UAIP)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from crosscue.errors import DataError
from crosscue.knowledge.conversation import HashedImage, Turn
from crosscue.knowledge.failures import ReplyError
from crosscue.knowledge.language_model import LanguageModel
from crosscue.knowledge.stages import answers_for, digest
from crosscue.knowledge.views.record import Views

QUESTION = (
    "Answer three questions about this picture. Each answer is limited to 30 words.\n"  # words: ok
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
    """Reply of the model: exactly three texts, none of them empty."""

    model_config = ConfigDict(extra="forbid")

    overall: Annotated[str, AfterValidator(_filled)] = Field(alias="global")
    background: Annotated[str, AfterValidator(_filled)]
    entity: Annotated[str, AfterValidator(_filled)]


class ViewWriter:
    """Views of images, requested from one model."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model

    async def views(self, images: Mapping[str, HashedImage]) -> dict[str, Views | None]:
        """Returns the views of each image by its id; None if the model returned none. Equal images share one request.

        Raises:
            EndpointError, LimitReached, Interrupted, Unanswered: the run stopped; answers so far are kept.
        """
        by_content = {image.sha256: image for image in images.values()}

        async def ask(names: Sequence[str]) -> dict[str, str]:
            return {name: await self.write(by_content[name]) for name in names}

        answers = await answers_for(
            {sha256: digest("views", self.model.endpoint.provenance(), QUESTION, sha256) for sha256 in by_content},
            ask,
            self.model.cache,
            self.model.meter,
            batch=1,
            workers=self.model.endpoint.concurrency,
            doing="requesting views",
            unit="images",
        )
        return {identity: self._read(answers[image.sha256]) for identity, image in images.items()}

    async def write(self, image: HashedImage) -> str:
        """Returns the reply of the model about one image as JSON, or the flag of the fault."""
        try:
            reply = await self.model.ask((Turn("user", QUESTION, (image,)),), ViewsReply)
        except ReplyError as error:
            return error.flag
        except DataError:
            return "unreadable"
        return reply.model_dump_json(by_alias=True)

    def _read(self, answer: str) -> Views | None:
        if not answer.startswith("{"):
            return None
        reply = ViewsReply.model_validate_json(answer)
        return Views(reply.overall, reply.background, reply.entity, self.model.endpoint.model)
