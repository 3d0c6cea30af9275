"""Normalised scores as a share of the evaluation that they are added to.

    python benchmarks/normalising.py SOURCE --run RUN

The test split of SOURCE is encoded by RUN and by the untouched backbone, with images that no cache holds. Then both results are
computed once more with the banks of the run folder, as `crosscue evaluate` does.
"""

from __future__ import annotations

import os
import tempfile

from harness import arguments, cpu_seconds


def main() -> None:
    given = arguments(__doc__, run="runs/latest")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["CROSSCUE_CACHE"] = cache
        import crosscue
        from crosscue.measurement import normalised_too

        run, test = crosscue.load(given.run), crosscue.read_pairs(given.source).split("test")
        plain = cpu_seconds(lambda: crosscue.before_and_after(run, test))
        more = cpu_seconds(lambda: normalised_too(run.method, run.folder, plain.result))
        print(f"evaluation of {len(test):,} images: {plain}")
        print(f"normalised too: {more}, {100 * more.seconds / plain.seconds:.2f} % of it")


if __name__ == "__main__":
    main()
