"""crosscue describe captions SOURCE: captions for images that have none, written and checked by language models."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosscue.commands.knowledge_options import reading_of, require_packages
from crosscue.commands.parser import options_parser
from crosscue.data.sources import Reading
from crosscue.errors import DataError

if TYPE_CHECKING:
    from crosscue.knowledge.captions.record import CaptionRecord


@dataclass(frozen=True)
class DescribeOptions:
    """Place of the result, and the measures of the captions."""

    out: Path | None = None
    """Output folder. After an interruption the same command goes on."""
    dataset: str | None = None
    """Name of the set. Default: the name of the source."""
    aliases: Path | None = None
    """YAML file with other names of classes, e.g. `Basset Hound: [basset]`. Captions get the name of the class instead."""
    tokens_of: str = "starter"
    """Backbone whose tokenizer counts the tokens of captions. `words`: count words and punctuation marks instead."""
    review_share: float = 0.01
    """Share of the captions without a flag that go into review.csv too."""
    cache: Path | None = None
    """SQLite file of the replies; default replies.sqlite in --out. The caps of --limits count everything in it."""
    clip_score: str | None = None
    """Backbone for the CLIPScore of images and captions, e.g. starter. Default: not measured."""


def run(arguments: list[str]) -> int:
    """Run `describe captions`. The exit code is 1 if the acceptance report contains a fault."""
    require_packages()
    from crosscue.data.negatives import NegativesConfig
    from crosscue.interruption import interruption
    from crosscue.knowledge.captions.acceptance import acceptance, as_markdown
    from crosscue.knowledge.captions.domains import domain_of
    from crosscue.knowledge.captions.drafting import Writing
    from crosscue.knowledge.captions.images import begin_records, find_images, read_aliases
    from crosscue.knowledge.captions.judging import Judging
    from crosscue.knowledge.captions.negatives import negatives_audit
    from crosscue.knowledge.captions.pipeline import Recipe, describe, write_pairs
    from crosscue.knowledge.captions.review import read_decisions, write_queue
    from crosscue.knowledge.endpoint import Endpoint
    from crosscue.knowledge.limits import Limits
    from crosscue.locks import sole_run
    from crosscue.storage import write_json, write_text

    parser = options_parser(
        "describe captions",
        "Writes captions for a folder of class sub-folders, or any source of pairs.",
        (Reading, None),
        (DescribeOptions, None),
        (Endpoint, "writer"),
        (Endpoint, "judge"),
        (Endpoint, "second_judge"),
        (Writing, "writing"),
        (Judging, "judging"),
        (NegativesConfig, "negatives"),
        (Limits, "limits"),
    )
    parser.add_argument("source", help="Folder with one sub-folder for each class, or any source of pairs.")
    given = parser.instantiate(parser.parse_args(arguments))
    if given.out is None:
        raise DataError("there is no output folder. Add --out FOLDER.")
    domain_of(given.writing.domain)
    recipe = Recipe(
        given.writer.checked("writer"),
        given.judge.checked("judge") if given.judge.base_url or given.judge.model else None,
        given.second_judge.checked("second_judge") if given.second_judge.base_url else None,
        given.writing,
        given.judging,
        given.negatives,
    )
    out: Path = given.out
    dataset = given.dataset or Path(given.source).resolve().name
    with sole_run(out):
        records, images = begin_records(
            find_images(given.source, out, reading_of(given)),
            out,
            dataset=dataset,
            domain=given.writing.domain,
            aliases=read_aliases(given.aliases) if given.aliases is not None else {},
            provenance=recipe.provenance(),
        )
        decisions = read_decisions(out / "review.csv", set(images))
        token_count = _token_count(given.tokens_of)
        with interruption() as stopping:
            done = asyncio.run(
                describe(
                    records,
                    images,
                    out,
                    recipe,
                    token_count=token_count,
                    limits=given.limits,
                    cache=given.cache,
                    decisions=decisions,
                    stopping=stopping,
                )
            )
    count = write_pairs(out / "captions.jsonl", done.records)
    queue = write_queue(out / "review.csv", done.records, decisions, given.review_share)
    report = acceptance(
        done.records,
        max_tokens=given.writing.max_tokens,
        tokens_of=given.tokens_of,
        negatives=negatives_audit(done.records, token_count, given.writing.max_tokens),
        clip_scores=_clip_scores(given.clip_score, out, done.records) if given.clip_score is not None else None,
        clip_score_of=given.clip_score,
    )
    write_json(out / "report.json", report.to_dict())
    write_text(out / "report.md", as_markdown(report, dataset))
    total = done.spent_before + done.spent
    sys.stdout.write(
        f"{count:,} captions for {len(done.records):,} images: {out / 'captions.jsonl'}\n"
        f"calls: {done.spent.calls:,} now ({done.replayed:,} replies were kept from before, {done.retried:,} repetitions), "
        f"{total.calls:,} in all, {total.input_tokens:,} + {total.output_tokens:,} tokens, cost {total.cost:.4f}\n"
        f"look through {queue:,} captions: {out / 'review.csv'} (write keep, edit or drop, then run the same command again)\n"
    )
    for failure in report.failures:
        sys.stdout.write(f"not accepted: {failure}\n")
    sys.stdout.write(f"report: {out / 'report.md'}\n")
    if report.failures:
        return 1
    sys.stdout.write(f"next: crosscue data check {out} && crosscue adapt --data {out}\n")
    return 0


def _token_count(tokens_of: str) -> Callable[[str], int]:
    if tokens_of == "words":
        return lambda text: len(re.findall(r"\w+|[^\w\s]", text))
    from crosscue.backbones.loading import load_backbone

    return load_backbone(tokens_of, device="cpu").token_count


def _clip_scores(backbone: str, out: Path, records: Sequence[CaptionRecord]) -> list[float]:
    """Returns 2.5 max(cos, 0) of every image and its caption."""
    from crosscue.api import as_run
    from crosscue.progress import track

    measured: Any = as_run("zero_shot", backbone)
    written = [record for record in records if record.caption]
    scores: list[float] = []
    blocks = [written[start : start + 32] for start in range(0, len(written), 32)]
    for block in track(blocks, "measuring CLIPScore", len(blocks), "batches"):
        images = measured.encode_image([out / record.image_path for record in block])  # (B, D), unit length
        texts = measured.encode_text([record.caption for record in block])  # (B, D), unit length
        scores += (2.5 * (images * texts).sum(dim=1).clamp(min=0)).tolist()
    return scores
