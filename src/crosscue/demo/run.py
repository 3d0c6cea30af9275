"""The demo: adapt the starter to emoji, evaluate it on emoji of new concepts, show the difference."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from rich.console import Console

from crosscue.api import adapt, before_and_after
from crosscue.backbones.loading import load_backbone
from crosscue.data.pairs import Pairs
from crosscue.data.writing import write_pairs
from crosscue.demo.emoji import ATTRIBUTION, emoji_pairs, glyph
from crosscue.demo.searching import search_demo
from crosscue.evaluation.comparison import Comparison
from crosscue.evaluation.console import comparison_table, normalised_table, report_console
from crosscue.evaluation.example_queries import first_candidates
from crosscue.evaluation.report import Extras, write_report
from crosscue.evaluation.result import DIRECTIONS, Retrieval
from crosscue.measurement import normalised_too
from crosscue.methods.dual_prompt import DualPromptConfig
from crosscue.storage import cache_dir, write_json
from crosscue.training.config import TrainingConfig
from crosscue.training.facts import run_facts
from crosscue.training.journal import JOURNAL, read_journal

IMAGE_SIZE = 160
"""Half the patches of 224 px: two cores are enough, and the starter loses little (docs/results.md)."""
OPTIONS = DualPromptConfig(
    context_tokens=8, depth=3, text_start_layer=0, image_start_layer=9, tune_projection=True, projection_lr_scale=0.3
)
"""Prompts in three layers of each tower; the first nine image layers stay frozen, so they run once for each image."""
EPOCHS, BATCH, RATE = 4, 64, 1e-3
QUERIES = 5


def run_demo(out: Path, seed: int = 1) -> None:
    """Runs the demo and writes the run folder, `summary.json` and the report to `out`, replacing an earlier demo."""
    console = report_console(sys.stdout)
    started = time.monotonic()
    console.rule("crosscue demo: finding emoji by text")
    pairs = emoji_pairs()
    backbone = load_backbone("starter", image_size=IMAGE_SIZE)
    precision = backbone.precision
    console.print(
        f"backbone: the starter (OpenAI's CLIP ViT-B/16 image tower, MiniLM text tower, our bridge), {IMAGE_SIZE} px, "
        f"{precision.name} ({precision.reason})"
    )
    console.print(
        f"training images {len(pairs.split('train')):,}, validation {len(pairs.split('val')):,}, test {len(pairs.split('test')):,}"
    )
    if (out / "summary.json").exists():
        shutil.rmtree(out)
    training = TrainingConfig(
        epochs=EPOCHS,
        batch_size=BATCH,
        optimizer="adamw",
        lr=RATE,
        schedule="cosine",
        warmup_steps=10,
        weight_decay=0.01,
        seed=seed,
    )
    run = adapt(
        pairs,
        "dual_prompt",
        backbone,
        out=out,
        options=OPTIONS,
        training=training,
        resume=(out / "config.yaml").exists(),
        record={"data": str(listing(pairs))},
    )
    if run.outcome is None or run.outcome.ended == "interrupted":
        console.print(f"interrupted; run the demo again to continue {out}")
        return
    test = pairs.split("test")
    comparison = before_and_after(run, test)
    test = comparison.after.pairs or test  # without images that were trained on
    extras = Extras(
        "Emoji search, before and after adaptation",
        read_journal(out / JOURNAL),
        attribution=ATTRIBUTION,
        run=run_facts(out),
    )
    page = write_report(out / "report", comparison, test, extras)
    normalised = normalised_too(run.method, out, comparison)
    summary = {
        "gallery": len(test),
        "seconds": round(time.monotonic() - started, 1),
        "before": recalls(comparison.before),
        "after": recalls(comparison.after),
        "normalised": {"before": recalls(normalised.before), "after": recalls(normalised.after)}
        if normalised
        else None,
    }
    write_json(out / "summary.json", summary)
    console.print(comparison_table(comparison, "Emoji that were not trained on, before and after"))
    if normalised:
        console.print(normalised_table(comparison, normalised))
    show_queries(console, comparison, test)
    search_demo(console, run, test, out)
    console.print(ATTRIBUTION, style="dim")
    console.print(f"{time.monotonic() - started:.0f} s. Report with images: {page.resolve()}")


def listing(pairs: Pairs) -> Path:
    """Writes the pairs to a file in the cache, from which other verbs read them, and returns its path."""
    target = cache_dir() / "demo" / "emoji.jsonl"
    write_pairs(target, pairs)
    return target


def recalls(result: Retrieval) -> dict[str, dict[str, float]]:
    """Returns {"i2t": {"r1", "r5", "r10"}, "t2i": ...} in percent."""
    return {d: {k: round(getattr(getattr(result, d), k), 2) for k in ("r1", "r5", "r10")} for d in DIRECTIONS}


def show_queries(console: Console, comparison: Comparison, pairs: Pairs) -> None:
    """Prints the first five images of evenly spaced test captions, before and after; the right one is marked."""
    captions, owner = pairs.captions, pairs.caption_owner
    for caption in range(0, len(captions), max(len(captions) // QUERIES, 1))[:QUERIES]:
        console.print(f"\n“{captions[caption]}”", highlight=False)
        for label, result in (("before", comparison.before), ("after", comparison.after)):
            found = first_candidates(result, "t2i", caption)
            names = [("[green]" if i == owner[caption] else "[dim]") + glyph(pairs[i].image_id) + "[/]" for i in found]
            console.print(f"  {label:>6}: " + "   ".join(names), highlight=False, markup=True)
