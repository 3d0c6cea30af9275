"""Mutation testing of the numeric rooms: change the source in one place, and see whether a fast test fails.

    python scripts/mutants.py               # 400 sampled mutants and those of tests/mutants.toml; an interrupted run continues
    python scripts/mutants.py --only dcar   # mutants whose file or name contains a word

The operators are those of cosmic-ray. No file is changed: a forked process imports the mutated source from memory.
Results are in runs/mutants/; delete the folder to start again.
"""

from __future__ import annotations

import argparse
import importlib.machinery
import importlib.util
import json
import os
import re
import sys
import time
import tomllib
from pathlib import Path
from types import CodeType

from call_records import ROOT, SOURCE, Calls, digest, forked, recorded, run_tests
from mutant_sample import Mutant, by_hand, sampled, text

BAR = 0.9
BUDGET = 15.0
"""CPU seconds of tests for one mutant."""
LIMIT = 30 + 4 * BUDGET


def tests_of(mutant: Mutant, calls: Calls) -> list[str]:
    """Return tests that call the function; the file for a line outside functions; or else its folder. Quick and near tests come first."""
    words = set(re.findall("[a-z]+", mutant.file.removesuffix(".py"))) - {"model", "config"}
    found: list[str] = []
    for place in (f"{mutant.file}:{mutant.function}", f"{mutant.file}:", f"{Path(mutant.file).parent}/"):
        exact = bool(mutant.function) and place.endswith(mutant.function)
        found = found or [
            test for test, (_, used) in calls.items() if any(u == place if exact else u.startswith(place) for u in used)
        ]
    near = {test: bool(words & set(re.findall("[a-z]+", test.split("::")[0]))) for test in found}
    chosen, spent = [], 0.0
    for test in sorted(found, key=lambda test: (calls[test][0] * (1 if near[test] else 4), test)):
        spent += calls[test][0]
        if not chosen or spent < BUDGET:
            chosen.append(test)
    return chosen


def status_of(mutant: Mutant, tests: list[str]) -> str:
    """Run tests on a mutant; return `killed`, `timeout`, `survived`, or `untested` where there is no test."""
    module, file = ".".join(("crosscue", *Path(mutant.file).with_suffix("").parts)), str(SOURCE / mutant.file)
    source = mutant.code()

    class Loader(importlib.machinery.SourceFileLoader):
        def get_code(self, fullname: str) -> CodeType:
            return compile(source, self.path, "exec")

    class Finder:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> object:
            return (
                importlib.util.spec_from_file_location(name, file, loader=Loader(name, file))
                if name == module
                else None
            )

    def work() -> int:
        sys.meta_path.insert(0, Finder)  # type: ignore[arg-type]
        return run_tests(tests, [])

    code = forked(work, LIMIT) if tests else 5
    if code > 2 and tests and forked(lambda: run_tests(tests, []), LIMIT):
        sys.exit(f"these tests fail without a mutant: {' '.join(tests)}")
    return "untested" if not tests else "survived" if code == 0 else "timeout" if code < 0 else "killed"


def main() -> int:
    """Test the mutants; return 1 where too many survive, or one without a reason."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--sample", type=int, default=400, help="number of mutants")
    parser.add_argument("--seed", default="0", help="another seed is another sample")
    parser.add_argument("--only", default="", help="word in the file or the name of a mutant")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "mutants", help="folder of the results")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    sys.path[:0] = [str(SOURCE.parent), str(ROOT)]
    os.chdir(ROOT)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    kept = tomllib.loads((ROOT / "tests" / "mutants.toml").read_text(encoding="utf-8"))
    reasons = {entry["mutant"]: entry["reason"] for entry in kept.get("survivor", [])}
    sample, count = sampled(options.sample, options.seed)
    hand = [by_hand(entry) for entry in kept.get("by_hand", [])]
    calls = recorded(options.out)
    noticing = sorted(
        {test for mutant in hand for test in mutant.tests if options.only in f"{mutant.file} {mutant.name}"}
    )
    if noticing and forked(lambda: run_tests(noticing, []), LIMIT + 10 * len(noticing)):
        sys.exit(f"these tests fail without a mutant: {' '.join(noticing)}")
    results = options.out / "results.jsonl"
    lines = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    known = {(line["mutant"], line["key"]): line["status"] for line in lines}
    statuses: dict[str, str] = {}
    for mutant in (m for m in [*hand, *sample] if options.only in f"{m.file} {m.name}"):
        tests = list(mutant.tests) or tests_of(mutant, calls)
        files = sorted({ROOT / test.split("::")[0] for test in tests})
        source = digest(text(mutant.file), mutant.code())
        again = digest(source, *tests, *(path.read_text(encoding="utf-8") for path in files))
        status = known.get((mutant.name, source)) or known.get((mutant.name, again))
        if status is None:
            start = time.perf_counter()
            status = status_of(mutant, tests)
            key = source if status in ("killed", "timeout") else again  # a survivor meets changed tests again
            seconds = round(time.perf_counter() - start, 1)
            line = {"mutant": mutant.name, "key": key, "status": status, "file": mutant.file, "seconds": seconds}
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            print(f"{status:9}{seconds:6} s  {mutant.name}  {mutant.file} {mutant.function}", flush=True)
        statuses[mutant.name] = status
    alive = {name for name, status in statuses.items() if status in ("survived", "untested")}
    survivors = [mutant for mutant in sample if mutant.name in alive]
    for mutant in survivors:
        print(f"\n{mutant.name} {mutant.file}: {reasons.get(mutant.name, 'no reason is given')}\n{mutant.change()}")
    tried = sum(mutant.name in statuses for mutant in sample)
    share = 1 - len(survivors) / max(tried, 1)
    print(f"\n{tried} of {count} mutants: {tried - len(survivors)} killed ({share:.1%}), {len(survivors)} survived")
    missed = [mutant.name for mutant in hand if mutant.name in alive]
    print(f"made by hand: {sum(m.name in statuses for m in hand)}, survived: {', '.join(missed) or 'none'}")
    return int(share < BAR or bool(missed) or any(mutant.name not in reasons for mutant in survivors))


if __name__ == "__main__":
    sys.exit(main())
