"""crosscue describe views SOURCE: three descriptions of each training picture, for methods that learn from them."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from crosscue.commands.knowledge_options import Target, require_packages, with_model
from crosscue.commands.parser import options_parser
from crosscue.data.sources import Reading, read_pairs
from crosscue.errors import DataError
from crosscue.knowledge.views.record import ViewKnowledge, Views

if TYPE_CHECKING:
    from crosscue.data.pairs import Image, Pairs
    from crosscue.knowledge.conversation import Picture
    from crosscue.knowledge.language_model import LanguageModel


@dataclass(frozen=True)
class ViewsOptions:
    """Who looks at the pictures, and where the result goes."""

    out: Path | None = None
    """A .jsonl file, or a folder that gets views.jsonl. Run the same command again to go on after an interruption."""
    backend: Literal["openai", "captions"] = "openai"
    """`openai`: a vision-language model behind any compatible endpoint. `captions`: spaCy on the captions, without model and image;
    weaker views. Needs crosscue[spacy]."""
    split: str | None = None
    """Whose pictures; default train where the source has splits. `all` for all: views of held-out pictures are for diagnosis."""
    cache: Path | None = None
    """SQLite file of a model's replies; default beside the result. The caps of --limits count everything in it."""


def run(arguments: list[str]) -> int:
    """Writes the views of the training pictures of a source."""
    from crosscue.knowledge.endpoint import Endpoint
    from crosscue.knowledge.limits import Limits
    from crosscue.knowledge.views.from_captions import caption_views, unread_views

    parser = options_parser(
        "describe views",
        "Describes each training picture three times: as a whole, its background, its entities.",
        (Reading, None),
        (ViewsOptions, None),
        (Endpoint, "model"),
        (Limits, "limits"),
    )
    parser.add_argument("source", help="Any source of pairs.")
    given = parser.instantiate(parser.parse_args(arguments))
    target = Target.of(given.out, ViewKnowledge.FILE, given.cache)
    reading = Reading(**{name: getattr(given, name) for name in Reading.__dataclass_fields__})
    if given.backend == "captions" and reading.missing == "error":
        reading = replace(reading, missing="keep")  # only text is read here
    pairs = _chosen(read_pairs(given.source, None, reading), given.split)
    if given.backend == "captions":
        known = caption_views({pair.image_id: pair.captions for pair in pairs})
    else:
        require_packages()
        from crosscue.knowledge.language_model import LanguageModel
        from crosscue.knowledge.views.writing import ViewWriter

        pictures = _pictures(pairs)

        async def work(model: LanguageModel) -> dict[str, Views | None]:
            return await ViewWriter(model).views(pictures)

        views = with_model(LanguageModel, given.model, given.limits, target, work)
        known = {pair.image_id: views[pair.image_id] or unread_views(pair.captions) for pair in pairs}
    ViewKnowledge(known).save(target.file)
    sources = ", ".join(
        f"{count:,} by {source}" for source, count in Counter(v.source for v in known.values()).most_common()
    )
    sys.stdout.write(f"{target.file}: views of {len(known):,} pictures, {sources}\n")
    return 0


def _chosen(pairs: Pairs, split: str | None) -> Pairs:
    """Returns the pairs of a split; of `train` where none is named and the source has splits.

    Raises:
        DataError: the source has splits and none is called train.
    """
    if split == "all" or (split is None and not pairs.splits):
        return pairs
    if split is None and "train" not in pairs.splits:
        raise DataError(
            f"{pairs.source}: views are made of training pictures, and there is no split 'train' but {', '.join(pairs.splits)}. "
            "Name one with --split, or --split all."
        )
    return pairs.split(split or "train")


def _pictures(pairs: Pairs) -> dict[str, Picture]:
    from crosscue.knowledge.conversation import Picture
    from crosscue.progress import track

    images = {pair.image_id: pair.image for pair in pairs}
    tracked = track(images.items(), "reading pictures", len(images), "pictures")
    return {identity: Picture(image, _sha256(image)) for identity, image in tracked}


def _sha256(image: Image) -> str:
    try:
        return hashlib.sha256(image.read()).hexdigest()
    except OSError as error:
        raise DataError(f"{image.name}: cannot be read ({error.strerror or error}). Check the path.") from error
