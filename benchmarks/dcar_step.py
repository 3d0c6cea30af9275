"""A training step of `dcar` on CLIP ViT-B/32 shapes, against `dual_prompt` with as many texts and against padded text.

    python benchmarks/dcar_step.py ../shared/data/fdrd_caltech101

Batch 32 with 4 negatives a caption, which the generator of `crosscue data negatives` writes for the real captions. The first
way is DCAR. The second is a dual prompt with the same 32 + 32 + 128 texts. The third has the same equations over `transformers`
encoders with text padded to 77. The step is one of the second epoch or later. The captions' token features, which are constant, are
already computed in DCAR; the padded way computes them in every step.
"""

from __future__ import annotations

from itertools import islice

import torch
from ceiling import print_shares
from harness import BATCH, alternate, arguments, backbones, print_table, random_pixels, training_step
from plain_clip import PlainClip
from torch import Tensor
from torch.nn.functional import normalize

from crosscue import Pairs, read_pairs
from crosscue.backbones.embedding import encode_bucketed
from crosscue.data.negatives import NegativeWriter
from crosscue.losses.category import category_aware
from crosscue.losses.contrastive import contrastive
from crosscue.methods.contract import Batch
from crosscue.methods.dcar.category import weight
from crosscue.methods.dcar.model import Dcar
from crosscue.methods.registry import build

CONTEXT, NEGATIVES = 4, 4


def token_features(plain: PlainClip, captions: list[str]) -> tuple[Tensor, Tensor]:
    """Return unit vectors of all tokens (B, N, D), and the mask of the words (B, N)."""
    tokens = plain.tokenize(captions)
    hidden = plain.model.text_model(**tokens).last_hidden_state
    content = tokens.attention_mask.bool()
    content[:, 0] = False
    content[torch.arange(len(content)), tokens.attention_mask.sum(1) - 1] = False
    return normalize(plain.model.text_projection(hidden).float(), dim=-1), content


def padded_weights(plain: PlainClip, method: Dcar, pixels: Tensor, batch: Batch, images: Tensor) -> Tensor:
    """Return the weights (B, N) of the padded tokens, from unit vectors of the images."""
    context, coupling = method.prompts.context[0], method.prompts.coupling[0]
    with torch.no_grad():
        empty = plain.image(torch.full_like(pixels[:1], 255.0), [coupling(context)])
        features, content = token_features(plain, batch.captions)
        difference = (features @ empty[0] - torch.einsum("bnd,bd->bn", features, images)).abs() * content
        count = content.sum(1, keepdim=True)
        return torch.where(content, count * difference / difference.sum(1, keepdim=True), 1.0)[:, : 77 - CONTEXT]


def head_loss(method: Dcar, images: Tensor, texts: Tensor, weighted: Tensor, batch: Batch, scale: Tensor) -> Tensor:
    """Return the loss of the features of images, of captions with the edited ones behind them, and of weighted captions."""
    adapted = normalize(method.category(texts), dim=-1)
    weights = torch.tensor(
        [[weight(negative.type, method.config.alpha) for negative in row] for row in batch.negatives]
    )
    negatives = adapted[BATCH:].view(BATCH, NEGATIVES, -1)
    category = category_aware(images, adapted[:BATCH], negatives, weights, 1.5, scale)
    return 0.8 * contrastive(images, weighted, scale) + 0.2 * category


def padded_loss(plain: PlainClip, method: Dcar, pixels: Tensor, batch: Batch) -> Tensor:
    """Return DCAR's loss by its equations."""
    context, coupling = method.prompts.context[0], method.prompts.coupling[0]
    images = plain.image(pixels, [coupling(context)])
    rho = padded_weights(plain, method, pixels, batch, images)
    weighted = plain.text(batch.captions, [context], rho)
    edited = [negative.text for row in batch.negatives for negative in row]
    return head_loss(method, images, plain.text(batch.captions + edited, [context]), weighted, batch, plain.scale)


def batches_of(pairs: Pairs, pixels: Tensor, count: int) -> list[Batch]:
    """Return batches of captions with edited ones; the images are the same."""
    writer = NegativeWriter(pairs)
    made = ((pair.captions[0], list(writer.write(pair))) for pair in pairs)
    rows = list(islice((row for row in made if len(row[1]) == NEGATIVES), BATCH * count))
    names, found = [str(row) for row in range(BATCH)], []
    for start in range(0, BATCH * count, BATCH):
        captions, negatives = zip(*rows[start : start + BATCH], strict=True)
        found.append(Batch(pixels, list(captions), names, negatives=negatives))
    return found


def main() -> None:
    given = arguments(__doc__, steps=3, precision="")
    pixels = random_pixels()
    parts = batches_of(read_pairs(given.source), pixels, given.steps + 1)
    for folder, backbone in backbones(given.precision):
        title = backbone.precision.name
        dcar, dual = (build(name, backbone, {"context_tokens": CONTEXT}) for name in ("dcar", "dual_prompt"))
        dcar.remember([caption for batch in parts for caption in batch.captions])
        plain, images = PlainClip(folder, backbone.precision.dtype), backbone.normalise(pixels)

        def as_many_texts(index: int, dual=dual, scale=backbone.logit_scale) -> Tensor:
            batch = parts[index]
            edited = [negative.text for row in batch.negatives for negative in row]
            encoded, texts = dual.encode_image(pixels), encode_bucketed([*batch.captions, *edited], dual.encode_text)
            again = encode_bucketed(batch.captions, dual.encode_text)
            return contrastive(encoded, again, scale) + (encoded @ texts.T).mean()

        def padded(index: int, plain=plain, dcar=dcar, images=images) -> Tensor:
            return padded_loss(plain, dcar, images, parts[index])

        ways = {
            "dcar": training_step(dcar, lambda index, dcar=dcar: sum(dcar.losses(parts[index]).values())),
            "dual_prompt with as many texts": training_step(dual, as_many_texts),
            "dcar, padded": training_step(dcar, padded, plain=True),
        }
        timings = alternate(ways, given.steps)
        print_table(title, timings, BATCH * given.steps, "pairs")
        print_shares(title, title, ways, timings, given.steps)
        print(f"{title}  loss {timings['dcar'].result[0]:.4f} and {timings['dcar, padded'].result[0]:.4f}")


if __name__ == "__main__":
    main()
