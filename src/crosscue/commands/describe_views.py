"""crosscue describe views SOURCE: three descriptions of each training image, for methods that learn from them."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from crosscue.commands.knowledge_options import Target, reading_of, require_packages, with_model
from crosscue.commands.parser import options_parser
from crosscue.data.sources import Reading, read_pairs
from crosscue.errors import DataError
from crosscue.knowledge.views.record import ViewKnowledge, Views

if TYPE_CHECKING:
    from crosscue.data.pairs import Pairs
    from crosscue.knowledge.conversation import HashedImage
    from crosscue.knowledge.language_model import LanguageModel


@dataclass(frozen=True)
class ViewsOptions:
    """Writer of the views, and place of the result."""

    out: Path | None = None
    """A .jsonl file, or a folder for views.jsonl. After an interruption the same command goes on."""
    backend: Literal["openai", "captions"] = "openai"
    """Writer of the views. `openai`: a vision-language model behind any compatible endpoint. `captions`: spaCy on the captions,
    without model and image, for weaker views; needs crosscue[spacy]."""
    split: str | None = None
    """Split of the images. Default: `train` if the source has splits. `all`: every image; views of held-out images are for diagnosis."""
    cache: Path | None = None
    """SQLite file of the replies; default beside the result. The caps of --limits count everything in it."""


def run(arguments: list[str]) -> int:
    """Write the views of the training images of a source."""
    from crosscue.knowledge.endpoint import Endpoint
    from crosscue.knowledge.limits import Limits
    from crosscue.knowledge.views.from_captions import caption_views, unread_views

    parser = options_parser(
        "describe views",
        "Describes each training image three times: as a whole, its background, its entities.",
        (Reading, None),
        (ViewsOptions, None),
        (Endpoint, "model"),
        (Limits, "limits"),
    )
    parser.add_argument("source", help="Any source of pairs.")
    given = parser.instantiate(parser.parse_args(arguments))
    target = Target.of(given.out, ViewKnowledge.FILE, given.cache)
    reading = reading_of(given, text_only=given.backend == "captions")
    pairs = _chosen(read_pairs(given.source, None, reading), given.split)
    if given.backend == "captions":
        known = caption_views({pair.image_id: pair.captions for pair in pairs})
    else:
        require_packages()
        from crosscue.knowledge.language_model import LanguageModel
        from crosscue.knowledge.views.writing import ViewWriter

        images = _images(pairs)

        async def work(model: LanguageModel) -> dict[str, Views | None]:
            return await ViewWriter(model).views(images)

        views = with_model(LanguageModel, given.model, given.limits, target, work)
        known = {pair.image_id: views[pair.image_id] or unread_views(pair.captions) for pair in pairs}
    knowledge = ViewKnowledge(known)
    knowledge.save(target.file)
    sources = ", ".join(
        f"{count:,} by {source}" for source, count in Counter(v.source for v in known.values()).most_common()
    )
    sys.stdout.write(f"{target.file}: views of {len(known):,} images, {sources}\n")
    for key, count in knowledge.repeated().items():
        sys.stdout.write(f"{key}: spaCy found nothing for {count:,} images, so the view is their first caption\n")
    return 0


def _chosen(pairs: Pairs, split: str | None) -> Pairs:
    """Returns the pairs of a split; of `train` where none is named and the source has splits.

    Raises:
        DataError: the source has splits, but none is called train.
    """
    if split == "all" or (split is None and not pairs.splits):
        return pairs
    if split is None and "train" not in pairs.splits:
        raise DataError(
            f"{pairs.source}: views are made of training images, and there is no split 'train' but {', '.join(pairs.splits)}. "
            "Name one with --split, or --split all."
        )
    return pairs.split(split or "train")


def _images(pairs: Pairs) -> dict[str, HashedImage]:
    from crosscue.knowledge.conversation import hashed
    from crosscue.progress import track

    images = {pair.image_id: pair.image for pair in pairs}
    tracked = track(images.items(), "reading images", len(images), "images")
    return {identity: hashed(image) for identity, image in tracked}
