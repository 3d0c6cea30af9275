"""Sampled mutants of the numeric rooms, with the operators of cosmic-ray, and the mutants that tests/mutants.toml describes."""

from __future__ import annotations

import ast
import difflib
import inspect
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType

from call_records import ROOMS, SOURCE, digest

MIXED = re.compile(
    r"_(Add|Sub|Mul|Div|FloorDiv|Mod|Pow)_(\w+Shift|Bit\w+)$|_(\w+Shift|Bit\w+)_(Add|Sub|Mul|Div|FloorDiv|Mod|Pow)$"
)
"""Operators between arithmetic and bits: a float tensor refuses them, whatever the tests are."""
ORDERED = re.compile(r"Comparison\w+_(Lt|LtE|Gt|GtE)$")
"""Order in place of equality. Beside a literal string it compares the alphabet."""
TYPING = ("@final", "if TYPE_CHECKING:")
"""Lines that only a type checker reads."""


@dataclass(frozen=True)
class Mutant:
    """One change of one file, and the function that contains it."""

    name: str
    file: str
    function: str
    code: Callable[[], str]
    tests: tuple[str, ...] = ()

    def change(self) -> str:
        """Return the changed lines."""
        lines = [*difflib.unified_diff(text(self.file).splitlines(), self.code().splitlines(), n=0, lineterm="")]
        return "\n".join(line for line in lines[2:] if not line.startswith("@@"))


def text(file: str) -> str:
    """Return the source of a file."""
    return (SOURCE / file).read_text(encoding="utf-8")


def functions(code: CodeType) -> Iterator[CodeType]:
    """Yield the functions in a code object, outer ones first, without lambdas and comprehensions."""
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            if inner.co_flags & inspect.CO_OPTIMIZED and not inner.co_name.startswith("<"):
                yield inner
            yield from functions(inner)


def mutants_of(file: str) -> Iterator[Mutant]:
    """Yield every mutant of a file, outside the types. Its name depends on the words of its line, not on the line's place."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    source = text(file)
    lines, nodes = source.splitlines(), list(ast_nodes(get_ast(source)))
    notes = [getattr(node, field, None) for node in ast.walk(ast.parse(source)) for field in ("annotation", "returns")]
    hints = [((n.lineno, n.col_offset), (n.end_lineno, n.end_col_offset)) for n in notes if n is not None]
    spans = [(f.co_qualname, {at for *_, at in f.co_lines()}) for f in functions(compile(source, file, "exec"))]
    seen: Counter[str] = Counter()
    for name in operator_names():
        if get_operator(name).arguments() or MIXED.search(name):
            continue
        operator = get_operator(name)()
        places = [start for node in nodes for start, _ in operator.mutation_positions(node)]
        for occurrence, (line, column) in enumerate(places):
            literal = re.match(r"[=!]= [\"']", lines[line - 1][column:])
            typed = any(start <= (line, column) < end for start, end in hints) or lines[line - 1].strip() in TYPING
            if typed or (literal and ORDERED.search(name)):
                continue
            identity = f"{file}\0{name}\0{lines[line - 1].strip()}"
            seen[identity] += 1
            inside = [function for function, covered in spans if line in covered]
            yield Mutant(
                digest(identity, str(seen[identity])),
                file,
                inside[-1] if inside else "",
                lambda operator=operator, occurrence=occurrence: mutate_code(source, operator, occurrence),
            )


def sampled(size: int, seed: str) -> tuple[list[Mutant], int]:
    """Return a sample of the mutants that compile without a warning, and the number of all. A change of one file leaves the rest of the sample as it is."""
    files = [str(path.relative_to(SOURCE)) for room in ROOMS for path in sorted((SOURCE / room).rglob("*.py"))]
    every = sorted((m for file in files for m in mutants_of(file)), key=lambda mutant: digest(seed, mutant.name))
    sample: list[Mutant] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", SyntaxWarning)
        for mutant in every:
            try:
                compile(mutant.code(), mutant.file, "exec")
            except SyntaxError:
                continue
            sample.append(mutant)
            if len(sample) == size:
                break
    return sample, len(every)


def by_hand(entry: dict[str, object]) -> Mutant:
    """Return a mutant of tests/mutants.toml, which names the tests that notice it."""
    name, file, old, new = (str(entry[key]) for key in ("name", "file", "old", "new"))
    source = text(file)
    if source.count(old) != 1:
        sys.exit(f"tests/mutants.toml: '{name}': {file} contains {source.count(old)} times: {old}")
    return Mutant(name, file, "", lambda: source.replace(old, new), tuple(entry["tests"]))  # type: ignore[arg-type]
