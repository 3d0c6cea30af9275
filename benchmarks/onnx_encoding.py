"""Encoding of queries and images by an export, against the run it was made from, in this process and on one thread.

    python benchmarks/onnx_encoding.py my_images --run zero_shot --export exports/starter

Texts are encoded one at a time, as a search does; images in batches of eight, as indexing does.
"""

from __future__ import annotations

import numpy as np
import torch
from harness import alternate, arguments, print_table

from crosscue import read_pairs
from crosscue.data.readers.contract import Reading
from crosscue.opening import open_encoder

AT_ONCE = 8


def main() -> None:
    given = arguments(__doc__, run="zero_shot", export="exports/starter", rounds=3)
    torch.set_num_threads(1)
    encoders = {"torch fp32": open_encoder(given.run, precision="fp32", device="cpu")}
    for precision in ("fp32", "w8"):
        encoders[f"onnx {precision}"] = open_encoder(given.export, precision=precision, threads=1)
    pairs = read_pairs(given.source, reading=Reading(missing="skip"))[:AT_ONCE]
    texts = [caption for pair in pairs for caption in pair.captions][:32]
    pixels = np.stack([encoders["torch fp32"].pixels.read(pair.image) for pair in pairs])
    images = {name: lambda _, each=each: each.encode_images(pixels) for name, each in encoders.items()}
    print_table("images", alternate(images, given.rounds), AT_ONCE * given.rounds, "images")
    queries = {
        name: lambda _, each=each: [each.encode_texts([text]) for text in texts] for name, each in encoders.items()
    }
    print_table("texts", alternate(queries, given.rounds), len(texts) * given.rounds, "texts")


if __name__ == "__main__":
    main()
