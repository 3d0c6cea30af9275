"""Evaluate a run folder and its untouched backbone on the same held-out pairs.

python examples/before_and_after.py runs/mine my_test_images/
"""

import argparse

import crosscue

parser = argparse.ArgumentParser()
parser.add_argument("run", help="a run folder")
parser.add_argument("source", help="pairs; their split `test` where they have one")
given = parser.parse_args()

comparison = crosscue.before_and_after(crosscue.load(given.run), crosscue.held_out(crosscue.read_pairs(given.source)))
for direction, name in (("i2t", "image to text"), ("t2i", "text to image")):
    before, after = getattr(comparison.before, direction), getattr(comparison.after, direction)
    change = comparison.differences[direction]["r1"]
    print(f"{name}: R@1 {before.r1:.1f} -> {after.r1:.1f} ({change.low:+.1f} to {change.high:+.1f})")
