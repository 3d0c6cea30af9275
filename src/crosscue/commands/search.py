"""crosscue search QUERY [+|- QUERY]... --collection DIR: images that fit words and images."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from crosscue.commands.options import put_json
from crosscue.commands.parser import options_parser, switched
from crosscue.errors import CollectionError, OptionError
from crosscue.search.request import Request

if TYPE_CHECKING:
    from crosscue.encoding.query import Term
    from crosscue.opening.collections import OpenedCollection


@dataclass(frozen=True)
class FilterOptions:
    """Frequent conditions as options of their own; each is joined to --filter."""

    taken_after: str | None = None
    """First date: a year, month or day, such as 2024-06."""
    taken_before: str | None = None
    """Date before which images were taken."""
    folder: str | None = None
    """Folder below a root, such as trips/."""
    camera: str | None = None
    """Part of the name of the camera."""
    format: str | None = None
    """Format, such as jpeg."""
    category: str | None = None
    """Category of a source of pairs."""
    caption: str | None = None
    """Words that stand in a caption in this order."""


@dataclass(frozen=True)
class SearchOptions:
    """Options of `crosscue search`."""

    collection: Path = Path()
    """The collection, or the folder of images that holds it. Default the present folder."""
    space: str | None = None
    """Name of the space, which is the set of vectors of one run. Default the last that was added and is whole."""
    compare: str | None = None
    """Second space: the hits of both stand side by side."""
    run: str | None = None
    """Run folder or export folder that encodes the query, if the one that made the space was moved. It must be the same run."""
    captions: bool = False
    """True: captions are found instead of images, for an image or a text."""
    json: bool | Path = False
    """JSON file of the hits. Without a value the JSON is the only text on standard output."""
    paths: bool = False
    """True: only paths are printed, one a line, such as for `| xargs -d '\\n' feh`."""
    paths0: bool = False
    """True: only paths are printed, each followed by a zero byte, for `xargs -0`."""
    open: bool = False
    """True: the first hit is opened with the program of its format."""
    thumbs: Literal["auto", "kitty", "iterm", "blocks", "off"] = "auto"
    """Images in the terminal. `auto`: on a terminal that shows them."""
    runtime: Literal["auto", "torch", "onnx"] = "auto"
    """Runtime of the encoder: onnx for an export folder, else torch."""
    precision: str = "auto"
    """dtype of the towers: auto, fp32 or bf16; of an export fp32 or w8."""
    device: str | None = None
    """Device, such as cpu or cuda; default the GPU if there is one."""


def parsed(arguments: list[str], verb: str = "search") -> tuple[Any, list[Term]]:
    """Returns the options of a search, and its terms.

    Raises:
        CrosscueError: an option is wrong, or there is nothing to search for.
    """
    from crosscue.encoding.query import parsed as terms_of

    parser = options_parser(
        verb,
        'Finds images: crosscue search "a red bicycle" --collection DIR. Images are terms too, and + and - join terms: '
        'crosscue search "2:golden retriever" + ./pool.jpg - fruit',
        (SearchOptions, None),
        (Request, None),
        (FilterOptions, None),
    )
    words, options = separated(arguments, parser.switches, parser.outputs)
    given = parser.instantiate(parser.parse_args(options))
    return given, terms_of(words)


def run(arguments: list[str]) -> int:
    """Searches and prints the hits; returns 1 if there are none."""
    from crosscue.commands.search_output import Output

    given, query = parsed(arguments)
    request = Request(
        **{name: given[name] for name in Request.__dataclass_fields__ if name != "filter"}, filter=joined(given)
    )
    output = Output(given.paths, given.paths0, given.json is True, given.thumbs)
    opened = collection_of(given)
    if given.captions:
        return _captions(opened, query, request, given)
    if given.compare is not None:
        return _compare(opened, query, request, given, output)
    hits = opened.searcher(given.space).search(query, request)
    if not len(hits) and not opened.collection.table(given.space).count_rows():
        where = shlex.quote(str(opened.collection.folder))
        raise CollectionError(f"{where}: it has no images yet. Index some: crosscue index FOLDER --collection {where}")
    if given.json:
        put_json(given.json, hits.to_dict())
    output.hits(hits)
    if given.open and len(hits):
        import webbrowser

        webbrowser.open(Path(hits[0].path).absolute().as_uri())
    return 0 if len(hits) else 1


CHOOSE = (
    *("filter", "where", "compare", "rerank", "paths", "paths0", "open"),
    *FilterOptions.__dataclass_fields__,
)
"""Options that have no effect on captions."""


def separated(
    arguments: Sequence[str], switches: Collection[str], outputs: Collection[str]
) -> tuple[list[str], list[str]]:
    """Returns the words of the query, and the options, each with its value. The words may stand anywhere between options."""
    words: list[str] = []
    options: list[str] = []
    left = switched(arguments, switches, outputs)
    while left:
        argument = left.pop(0)
        if argument == "--":
            return [*words, *left], options
        if argument == "-k" and left:
            options.append(f"--k={left.pop(0)}")
        elif not argument.startswith("--") and argument != "-h":
            if argument.startswith("-") and argument != "-":
                raise OptionError(
                    f"'{argument}' is no option. To subtract words, write - {argument[1:]}, with a space."
                )
            words.append(argument)
        elif "=" in argument or argument in ("-h", "--help", "--print_config", "--version") or not left:
            options.append(argument)
        else:
            options.append(f"{argument}={left.pop(0)}")
    return words, options


def joined(given: Any) -> str:
    """Returns the filter of all options together."""
    parts = [given.filter]
    for name in FilterOptions.__dataclass_fields__:
        value = given[name]
        if value is None:
            continue
        if '"' in value:
            raise OptionError(f"--{name}: a value cannot contain a double quote. Leave it out.")
        column = {"taken_after": "taken>=", "taken_before": "taken<"}.get(name, f"{name}:")
        parts.append(f'{column}"{value}"')
    return " ".join(part for part in parts if part)


def collection_of(given: Any) -> OpenedCollection:
    """Returns the collection of the options."""
    from crosscue.opening import open_encoder
    from crosscue.opening.collections import OpenedCollection
    from crosscue.search.collection import open_collection

    collection = open_collection(given.collection)
    options = {"runtime": given.runtime, "precision": given.precision, "device": given.device}
    encoders = {}
    if given.run is not None:
        encoders[collection.space(given.space).name] = open_encoder(given.run, **options)
    return OpenedCollection(collection, encoders, **options)


def _compare(opened: OpenedCollection, query: list[Term], request: Request, given: Any, output: Any) -> int:
    from crosscue.search.searching import compared

    sides = [opened.searcher(name).search(query, request) for name in (given.space, given.compare)]
    left, right = compared(*sides)
    if given.json:
        put_json(given.json, {"left": left.to_dict(), "right": right.to_dict()})
    output.both(left, right)
    return 0 if len(left) or len(right) else 1


def _captions(opened: OpenedCollection, query: list[Term], request: Request, given: Any) -> int:
    from crosscue.commands.search_output import shown
    from crosscue.search.caption_hits import nearest_captions

    for option in CHOOSE:
        if given[option]:
            raise OptionError(f"--{option} is about images, and --captions finds captions. Leave one of them out.")
    hits = nearest_captions(opened.searcher(given.space), query, request.k)
    if given.json:
        put_json(given.json, {"captions": [hit.to_dict() for hit in hits]})
    if given.json is not True:
        sys.stdout.writelines(f"{hit.score:6.3f}  {shown(hit.caption)}\n" for hit in hits)
    return 0 if hits else 1
