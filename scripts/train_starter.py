"""Train the bridge of the starter: from MiniLM's text features into the space of a frozen CLIP image tower.

    python scripts/train_starter.py --shared ../shared/data --out bridge.safetensors

`--leave_out cars` trains without a source, so that zero-shot retrieval has not seen it. `--folder FOLDER` also writes a
backbone with the new bridge, for `crosscue adapt --backbone FOLDER`.
The image tower never runs: its features of the training images are read from the development data. Of the text tower
the first layers stay as they are and run once; the last `tuned_layers` are trained together with the bridge. Everything
is selected on validation pairs; the test pairs are read once, after training.
"""

from __future__ import annotations

import copy
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch
from jsonargparse import auto_cli
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, normalize

from crosscue.backbones.bridge import Bridge
from crosscue.backbones.precision import choose_precision
from crosscue.backbones.starter import MAX_LENGTH, write_starter, write_text_tower
from crosscue.data.features import feature_rows
from crosscue.data.pairs import Pair
from crosscue.data.sources import Reading, read_pairs
from crosscue.progress import progress
from crosscue.storage import atomic_file, write_text

Source = Literal["flickr8k", "cars"]


@dataclass(frozen=True)
class Recipe:
    """Everything the result depends on, beside the data."""

    tuned_layers: int = 2
    """Number of the last layers of the text tower that are trained. 0: only the bridge."""
    hidden: int = 1024
    """Width of the bridge's hidden layer."""
    epochs: int = 20
    """Passes over the training images."""
    images_per_step: int = 512
    """Images of Flickr8k per step."""
    captions_per_image: int = 2
    """Captions drawn for each of them."""
    cars_per_step: int = 128
    """Cars per step; their captions are long and name a make and a year."""
    learning_rate: float = 1e-3
    """Peak learning rate of the bridge."""
    tower_learning_rate: float = 1e-4
    """Peak learning rate of the tuned layers."""
    weight_decay: float = 0.05
    """AdamW's, on matrices."""
    word_dropout: float = 0.1
    """Share of the words hidden from the tuned layers and from the mean."""
    image_noise: float = 0.0
    """Norm of the random vector added to each image feature (of norm 1)."""
    keep: float = 1.0
    """Weight of the term that holds the tuned text features by the original ones."""
    seed: int = 0
    """Seed of initial values, order and dropout."""


class Captions:
    """The captions of some images, as token states at the input of the tuned layers."""

    def __init__(self, texts: list[list[str]], folder: Path, tuned_layers: int) -> None:
        from transformers import AutoModel, AutoTokenizer

        flat = [text for captions in texts for text in captions]
        self.owner = torch.tensor([image for image, captions in enumerate(texts) for _ in captions])  # (N,)
        tokenizer, bert = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
        ids = tokenizer(flat, truncation=True, max_length=MAX_LENGTH)["input_ids"]
        self.lengths = torch.tensor([len(row) for row in ids])  # (N,)
        self.starts = self.lengths.cumsum(0) - self.lengths
        width, last = bert.config.hidden_size, len(bert.encoder.layer) - tuned_layers
        self.states = torch.empty(int(self.lengths.sum()), width, dtype=torch.float16)
        self.original = torch.empty(len(flat), width)  # (N, W) text features of the untouched tower
        with torch.no_grad(), progress("reading captions", len(flat), "captions") as advance:
            for rows in self.lengths.argsort().split(256):
                longest = int(self.lengths[rows].max())
                padded = torch.tensor([ids[row] + [0] * (longest - len(ids[row])) for row in rows.tolist()])
                real = torch.arange(longest) < self.lengths[rows, None]
                out = bert(input_ids=padded, attention_mask=real.long(), output_hidden_states=True)
                places = (self.starts[rows, None] + torch.arange(longest))[real]
                self.states[places] = out.hidden_states[last][real].half()
                self.original[rows] = mean(out.last_hidden_state, real)
                advance(len(rows))

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(b,) indices of captions -> token states (b, n, W), zero where (b, n) is false."""
        longest = int(self.lengths[rows].max())
        real = torch.arange(longest) < self.lengths[rows, None]
        hidden = torch.zeros(*real.shape, self.states.shape[1])
        hidden[real] = self.states[(self.starts[rows, None] + torch.arange(longest))[real]].float()
        return hidden, real


@dataclass
class Pairs:
    """Images (by their features) and their captions."""

    images: Tensor
    captions: Captions

    @property
    def by_image(self) -> list[Tensor]:
        """The indices of captions of every image."""
        return list(torch.arange(len(self.captions.owner)).split(torch.bincount(self.captions.owner).tolist()))


class Text(nn.Module):
    """The tuned layers and the bridge."""

    def __init__(self, folder: Path, recipe: Recipe, embed_dim: int) -> None:
        super().__init__()
        from transformers import AutoModel

        bert = AutoModel.from_pretrained(folder)
        self.bf16 = choose_precision("auto", torch.device("cpu")).name == "bf16"
        self.first = len(bert.encoder.layer) - recipe.tuned_layers
        self.layers = copy.deepcopy(bert.encoder.layer[self.first :])
        self.bridge = Bridge(bert.config.hidden_size, embed_dim, recipe.hidden)

    def pooled(self, captions: Captions, rows: Tensor, word_dropout: float = 0.0) -> Tensor:
        """(b,) indices of captions -> (b, W) text features, four groups by length."""
        parts, order = [], captions.lengths[rows].argsort()
        for group in order.chunk(4):
            hidden, real = captions.batch(rows[group])
            if word_dropout:
                real &= (torch.rand(real.shape) >= word_dropout) | (torch.arange(real.shape[1]) == 0)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                for layer in self.layers:
                    hidden = layer(hidden, real[:, None, None, :])
            parts.append(mean(hidden.float(), real))
        return torch.cat(parts)[order.argsort()]

    def embed(self, captions: Captions) -> Tensor:
        """Every caption -> (N, D), normalised."""
        self.eval()
        with torch.no_grad():
            rows = torch.arange(len(captions.lengths)).split(512)
            return normalize(torch.cat([self.bridge.text(self.pooled(captions, part)) for part in rows]), dim=-1)


def mean(hidden: Tensor, real: Tensor) -> Tensor:
    """(B, N, W), (B, N) -> (B, W) over the real tokens."""
    share = real / real.sum(1, keepdim=True)
    return (hidden * share.unsqueeze(-1)).sum(1)


def contrastive(logits: Tensor, owner: Tensor) -> Tensor:
    """Symmetric InfoNCE where the other captions of an image are neither positives nor negatives of a term.

    Args:
        logits: (images, captions).
        owner: (captions,) the row each caption belongs to.
    """
    own = owner == torch.arange(len(logits))[:, None]
    others = logits.masked_fill(own, -torch.inf).logsumexp(1)[owner]  # (captions,)
    right = logits[owner, torch.arange(len(owner))]
    to_text = torch.logaddexp(right, others) - right
    return (to_text.mean() + cross_entropy(logits.T, owner)) / 2


def recall(text: Text, pairs: Pairs, *, centre: bool = False) -> dict[str, float]:
    """Recall@1/5/10 in percent, image to text (best of the image's captions) and text to image."""
    embedded = text.embed(pairs.captions)
    with torch.no_grad():
        images = text.bridge.image(pairs.images)
        images = normalize(images - images.mean(0) if centre else images, dim=-1)
    if centre:
        embedded = normalize(embedded - embedded.mean(0), dim=-1)
    scores, owner = images @ embedded.T, pairs.captions.owner
    own = owner == torch.arange(len(images))[:, None]
    best = scores.masked_fill(~own, -torch.inf).amax(1, keepdim=True)
    i2t = ((scores >= best) & ~own).sum(1)  # a tie counts against us
    right = scores[owner, torch.arange(len(owner))]
    t2i = (scores >= right).sum(0) - 1
    return {
        f"{way} R@{k}": round(float((ranks < k).double().mean() * 100), 1)
        for way, ranks in (("i2t", i2t), ("t2i", t2i))
        for k in (1, 5, 10)
    }


def train(text: Text, main: Pairs, cars: Pairs | None, recipe: Recipe) -> None:
    """Train `text` in place: AdamW, 10 % warm-up, then a cosine to zero.

    Args:
        text: the layers and the bridge.
        main: the pairs that an epoch goes through.
        cars: pairs that are added to every step.
        recipe: options of training.
    """
    steps_per_epoch = len(main.images) // recipe.images_per_step
    steps = recipe.epochs * steps_per_epoch
    layers = list(text.layers.parameters())
    head = [p for name, p in text.bridge.named_parameters() if name != "log_scale"]
    groups = [
        {"params": [p for p in layers if p.ndim > 1], "lr": recipe.tower_learning_rate},
        {"params": [p for p in layers if p.ndim < 2], "lr": recipe.tower_learning_rate, "weight_decay": 0.0},
        {"params": [p for p in head if p.ndim > 1], "lr": recipe.learning_rate},
        {"params": [p for p in head if p.ndim < 2], "lr": recipe.learning_rate, "weight_decay": 0.0},
        {"params": [text.bridge.log_scale], "lr": recipe.learning_rate, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        [g for g in groups if g["params"]], weight_decay=recipe.weight_decay, betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [g["lr"] for g in optimizer.param_groups], total_steps=steps, pct_start=0.1, cycle_momentum=False
    )
    by_image = main.by_image
    with progress("training", steps, "steps") as advance:
        for _ in range(recipe.epochs):
            for images in torch.randperm(len(main.images))[: steps_per_epoch * recipe.images_per_step].split(
                recipe.images_per_step
            ):
                text.train()
                drawn = [by_image[i][torch.randperm(len(by_image[i]))[: recipe.captions_per_image]] for i in images]
                rows = torch.cat(drawn)
                owner = torch.arange(len(images)).repeat_interleave(torch.tensor(list(map(len, drawn))))
                pooled = text.pooled(main.captions, rows, recipe.word_dropout)
                original, features = main.captions.original[rows], main.images[images]
                if cars is not None and recipe.cars_per_step:
                    more = torch.randperm(len(cars.images))[: recipe.cars_per_step]
                    pooled = torch.cat([pooled, text.pooled(cars.captions, more, recipe.word_dropout)])
                    original, features = (
                        torch.cat([original, cars.captions.original[more]]),
                        torch.cat([features, cars.images[more]]),
                    )
                    owner = torch.cat([owner, torch.arange(len(more)) + len(images)])
                if recipe.image_noise:
                    features = features + recipe.image_noise * normalize(torch.randn_like(features), dim=-1)
                embedded = normalize(text.bridge.text(pooled), dim=-1)
                gallery = normalize(text.bridge.image(features), dim=-1)
                loss = contrastive(text.bridge.log_scale.exp() * gallery @ embedded.T, owner)
                if recipe.tuned_layers:
                    loss = loss + recipe.keep * (1 - cosine_similarity(pooled, original)).mean()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                with torch.no_grad():
                    text.bridge.log_scale.clamp_(max=4.6)
                advance(1)


def save(text: Text, path: Path, recipe: Recipe) -> None:
    """Write what the package ships: the bridge and the tuned layers, fp16."""
    tensors = {f"bridge.{name}": tensor for name, tensor in text.bridge.state_dict().items()}
    for index, layer in enumerate(text.layers):
        tensors |= {f"text.encoder.layer.{text.first + index}.{name}": t for name, t in layer.state_dict().items()}
    metadata = {"bridge": json.dumps(text.bridge.size), "training": json.dumps(asdict(recipe))}
    with atomic_file(path) as part:
        save_file({name: t.detach().half().contiguous() for name, t in tensors.items()}, part, metadata=metadata)


def read(folder: Path, splits: tuple[str, ...]) -> list[Pair]:
    """Return the pairs of some splits, whose images are features: a folder of `crosscue data embed`, or of development data."""
    features = folder / "clip_b16_features.safetensors"
    reading = Reading(features=features if features.exists() else None)
    pairs = [pair for pair in read_pairs(folder, reading=reading) if pair.split in splits]
    if not feature_rows((pair.image for pair in pairs), str(folder)):
        raise SystemExit(
            f"{folder}: its images have pixels. Write their features: crosscue data embed {folder} --out FOLDER"
        )
    return pairs


def main(
    shared: Path,
    out: Path,
    recipe: Recipe = Recipe(),
    leave_out: list[Source] | None = None,
    folder: Path | None = None,
    threads: int = 2,
) -> None:
    """Train, measure and write a bridge.

    Args:
        shared: the folder of development data. Each source in it may be a folder that `crosscue data embed` wrote.
        out: the safetensors file to write; the numbers go to a `.json` beside it.
        recipe: what the result depends on, beside the data.
        leave_out: sources that are neither trained nor selected on.
        folder: folder of a backbone with this bridge; default none is written.
        threads: number of CPU threads.
    """
    left_out = leave_out or []
    if {"flickr8k", "cars"} <= set(left_out):
        raise SystemExit("--leave_out names every source. Keep one.")
    torch.set_num_threads(threads)
    torch.manual_seed(recipe.seed)
    start = time.monotonic()
    validation, test = dict[str, Pairs](), dict[str, Pairs]()
    with TemporaryDirectory() as scratch:
        tower = Path(scratch) / "text"
        write_text_tower(tower, None)

        def states(chosen: list[Pair]) -> Pairs:
            features = torch.stack([row.values() for row in feature_rows((pair.image for pair in chosen), "pairs")])
            return Pairs(features, Captions([list(pair.captions) for pair in chosen], tower, recipe.tuned_layers))

        parts = list[Pairs]()
        if "flickr8k" not in left_out:
            parts.append(states(read(shared / "flickr8k", ("train", "extra"))))
            validation["flickr8k val"] = states(read(shared / "flickr8k", ("val",)))
        if "cars" not in left_out:
            cars = read(shared / "cars_features", ("train",))
            held_out = set(sorted({str(pair.category) for pair in cars})[::10])
            parts.append(states([pair for pair in cars if pair.category not in held_out]))
            validation["cars, unseen categories"] = states([pair for pair in cars if pair.category in held_out])
        text = Text(tower, recipe, parts[0].images.shape[1])
        text.bridge.image_mean.data = parts[0].images.mean(0)
        train(text, parts[0], parts[1] if len(parts) > 1 else None, recipe)
        if "flickr8k" not in left_out:
            test["flickr8k test"] = states(read(shared / "flickr8k", ("test",)))
        numbers = {name: recall(text, part) for name, part in (validation | test).items()}
    save(text, out, recipe)
    if folder is not None:
        write_starter(folder, out)
    numbers["seconds"] = {"all": round(time.monotonic() - start)}
    made = {"recipe": asdict(recipe), "left_out": left_out, "recall": numbers}
    write_text(out.with_suffix(".json"), json.dumps(made, indent=2) + "\n")
    for name, row in numbers.items():
        print(f"{name:24}", "  ".join(f"{key} {value:5.1f}" for key, value in row.items()))
    print(f"logit scale {text.bridge.log_scale.exp().item():.1f}, {out} {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
