"""Compare methods on one source, with several seeds, from Python.

python examples/small_grid.py pairs.jsonl runs/grid --methods linear_probe dual_prompt --seeds 1 2
"""

import argparse
from pathlib import Path
from statistics import mean

import crosscue

parser = argparse.ArgumentParser()
parser.add_argument("source", help="pairs with the splits train and test")
parser.add_argument("out", type=Path)
parser.add_argument("--backbone", default="starter")
parser.add_argument("--methods", nargs="+", default=["linear_probe", "dual_prompt"])
parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2])
given = parser.parse_args()

pairs, backbone = crosscue.read_pairs(given.source), crosscue.load_backbone(given.backbone)
print(f"zero_shot    Rsum {crosscue.evaluate('zero_shot', pairs, backbone).rsum:.1f}")
for method in given.methods:
    results = [
        crosscue.adapt(pairs, method, backbone, out=given.out / f"{method}-{seed}", validation=False,
                       training=crosscue.TrainingConfig(epochs=2, seed=seed)).evaluate(pairs)
        for seed in given.seeds
    ]  # fmt: skip
    print(f"{method:<12} Rsum {mean(result.rsum for result in results):.1f}")
