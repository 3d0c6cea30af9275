"""Print the mean token weights of DCAR by kind of word, for the own image and for another one.

    python scripts/token_weights.py RUN SOURCE

The kinds are words of the category, function words and all others. The mean weight of a caption is 1.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from jsonargparse import auto_cli

from crosscue.api import load
from crosscue.data.sources import read_pairs
from crosscue.data.splits import held_out
from crosscue.markdown import markdown_table
from crosscue.methods.images import cached_images
from crosscue.retrieval.encoding import embed_images, pair_features

FUNCTION_WORDS = frozenset(
    "a an and are as at be by for from has in into is it its of on or that the their there this to was which while with".split()  # noqa: SIM905
)


def main(run: Path, data: str, count: int = 500) -> None:
    """Print the table.

    Args:
        run: run folder of method dcar.
        data: source of pairs; its test split is used.
        count: number of pairs, evenly spaced.
    """
    loaded = load(run)
    method, pairs = loaded.method, held_out(read_pairs(data))
    pairs = pairs[:: max(len(pairs) // count, 1)]
    images = embed_images(method, cached_images(pairs, method), len(pairs))
    beside = pair_features(method, cached_images(pairs, method), len(pairs), 32)
    weighing = beside[:, -method.backbone.embed_dim :]  # (N, D) the image features that weight captions
    others = weighing.roll(len(images) // 2, 0)
    sums = {kind: torch.zeros(3, dtype=torch.float64) for kind in ("category", "function word", "other")}
    spread, moved, shift = [], [], []
    with torch.no_grad():
        blank = method.blank_feature()
        for row, pair in enumerate(pairs):
            text = [pair.captions[0]]
            tokens = method.tokenize(text)
            own, other = (
                method.token_weights(text, tokens, of[row : row + 1], blank)[0][tokens.content[0]]
                for of in (weighing, others)
            )
            weighted, plain = method.weighted(text, weighing[row : row + 1]), method.encode_text(text)
            moved.append(float((weighted * plain).sum()))
            shift.append(float((weighted * images[row]).sum() - (plain * images[row]).sum()))
            spread.append((float(own.std()), float((own - other).abs().mean())))
            pieces = method.backbone.tokenizer.tokenizer.convert_ids_to_tokens(
                tokens.ids[0][tokens.content[0]].tolist()
            )
            named = set(re.findall(r"\w+", (pair.category or "").lower().replace("_", " ")))
            for piece, one, two in zip(pieces, own, other, strict=True):
                word = piece.removeprefix("##").removesuffix("</w>").lower()
                kind = "category" if word in named else "function word" if word in FUNCTION_WORDS else "other"
                sums[kind] += torch.tensor([1.0, float(one), float(two)], dtype=torch.float64)
    total = sum(float(values[0]) for values in sums.values())
    rows = [
        [kind, f"{100 * size / total:.0f} %", f"{own / size:.2f}", f"{other / size:.2f}"]
        for kind, (size, own, other) in sums.items()
    ]
    heads = ["tokens", "share", "mean weight", "with another image"]
    print(f"{len(pairs)} captions\n\n{markdown_table(heads, rows)}")
    deviation, difference = torch.tensor(spread).mean(0)
    print(
        f"\nstandard deviation of the weights of a caption: {deviation:.2f}; mean change with another image: {difference:.2f}"
    )
    print(
        f"cosine of weighted and plain caption: {sum(moved) / len(moved):.3f}; weighting changes the cosine to the own image by {sum(shift) / len(shift):+.4f}"
    )


if __name__ == "__main__":
    auto_cli(main, as_positional=True)
