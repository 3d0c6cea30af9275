"""Measure the line of likely results and the correction of hubness in search.

    python scripts/search_quality.py RUN SOURCE --absent '[OTHER_SOURCE]'
    python scripts/search_quality.py zero_shot DATA/flickr8k --features DATA/flickr8k/clip_b16_features.safetensors

The validation split sets the line and the beta; the test split is searched. RUN is a run folder or zero_shot.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jsonargparse import auto_cli
from torch import Tensor

from crosscue.api import as_run
from crosscue.data.pairs import Pairs
from crosscue.data.sources import Reading, read_pairs
from crosscue.evaluation.measuring import Ranked, rank
from crosscue.evaluation.ranks import rank_scores
from crosscue.evaluation.recall import recall
from crosscue.markdown import markdown_table
from crosscue.measurement import judged, right_images
from crosscue.methods.images import cached_images
from crosscue.retrieval.bank import bank_of
from crosscue.retrieval.options import Inference
from crosscue.retrieval.scores import Cosines
from crosscue.run import Run
from crosscue.search.background import SIZE, Background

WORDS = (
    "an elephant; an airplane; a pizza; a cat; the Eiffel tower; a piano; sushi; a microscope; a spreadsheet; a giraffe; "
    "a lighthouse; a violin; a rocket; penguins; a printer; a map; a refrigerator; a toothbrush; a laptop; a ship at night"
)
"""Queries about things that hardly any image of Flickr8k contains."""
INFERENCE = Inference(rerank=False)


def main(
    run: str,
    data: str,
    features: Path | None = None,
    absent: list[str] | None = None,
    image_size: int | None = None,
) -> None:
    """Print the tables.

    Args:
        run: run folder, or a method without training.
        data: source of pairs with the splits train, val and test.
        features: file of features in the place of the images.
        absent: further sources, whose captions are queries about things that the gallery lacks.
        image_size: side of the input image, for a method.
    """
    model = as_run(run, image_size=image_size)
    pairs = read_pairs(data, reading=Reading(features=features, unverified=features is not None))
    train, val, test = (pairs.split(name) for name in ("train", "val", "test"))
    method, inference = model.method, INFERENCE.of(model.method)
    chosen = ranked(model, val)
    bank = judged(bank_of(method, train, cached_images(train, method), inference), chosen, val)
    line = bank.line
    assert line is not None
    found = ranked(model, test)
    owner = torch.tensor(test.caption_owner)
    own, z = right_images(found.scores, owner)
    assert isinstance(found.scores, Cosines)
    gallery = found.scores.images
    rows = [["right images of the test split above the line", f"{100 * line.likely(own, z).mean():.1f} %"]]
    rows += [
        [
            "likely images of a test caption, median",
            f"{np.median(likely_counts(found.scores.texts, gallery, line.z, line.floor)):.0f}",
        ]
    ]
    queries = {f"{len(WORDS.split(';'))} words": [word.strip() for word in WORDS.split(";")]}
    for source in absent or ():
        others = read_pairs(source, reading=Reading(missing="keep"))
        captions = [pair.captions[0] for pair in others]
        queries[f"{source} ({min(len(captions), 1000)} captions)"] = captions[:: max(len(captions) // 1000, 1)][:1000]
    for name, texts in queries.items():
        vectors = model.encode_text(texts)
        for label, floor in (("z and floor", line.floor), ("z alone", -1.0)):
            least = (
                line.z
                if label == "z and floor"
                else float(np.quantile(right_images(chosen.scores, torch.tensor(val.caption_owner))[1], 0.05))
            )
            none = likely_counts(vectors, gallery, least, floor) == 0
            rows.append([f"queries without a likely image, {name}, {label}", f"{100 * none.mean():.1f} %"])
    print(f"line: z {line.z:.2f}, cosine {line.floor:.3f}, from {len(val)} validation images\n")
    print(markdown_table(["", "share or number"], rows))
    print(
        f"\nnormalised by a bank of {len(bank.scores.texts)} training captions, beta {bank.beta:g}; helps on validation: {bank.helps}\n"
    )
    corrected = rank_scores(bank.correct(found.scores, Inference(normalise="bank")), owner)
    table = [
        [name, *(f"{value:.1f}" for value in (one.r1, one.r5, one.r10))]
        for name, one in (("plain", recall(found.ranks[1])), ("normalised", recall(corrected[1])))
    ]
    print(markdown_table(["search by text", "R@1", "R@5", "R@10"], table))


def ranked(model: Run, pairs: Pairs) -> Ranked:
    """Return the scores and ranks of pairs."""
    return rank(model.method, pairs, cached_images(pairs, model.method), INFERENCE.of(model.method))


def likely_counts(texts: Tensor, gallery: Tensor, least: float, floor: float) -> np.ndarray:
    """Return the number of likely images of each query, with the background that a search takes."""
    images, sample = (
        gallery.numpy(),
        gallery[torch.randperm(len(gallery), generator=torch.Generator().manual_seed(0))[:SIZE]].numpy(),
    )
    counts = []
    for query in texts.numpy():
        background = Background.of(query, sample)
        assert background is not None
        scores = images @ query
        counts.append(int(((scores >= floor) & (background.z(scores) >= least)).sum()))
    return np.array(counts)


if __name__ == "__main__":
    auto_cli(main, as_positional=True)
