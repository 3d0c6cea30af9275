"""crosscue serve DIR...: search in a browser and over HTTP."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from crosscue.commands.parser import options_parser, taken
from crosscue.errors import OptionError
from crosscue.serving.options import ServeOptions


def run(arguments: list[str]) -> int:
    """Serves collections, or the embeddings of a run, until it is stopped; `serve key NAME` makes a key."""
    if arguments[:1] == ["key"]:
        return make_key(arguments[1:])
    parser = options_parser(
        "serve", "Serves collections: a page for people, and an API for programs.", (ServeOptions, None)
    )
    parser.add_argument("collections", nargs="*", help="Collections, or folders of images that were indexed.")
    given = parser.instantiate(parser.parse_args(arguments))
    options = taken(given, ServeOptions)
    if not given.collections and options.run is None:
        raise OptionError("name a collection: crosscue serve DIR. Make one: crosscue index FOLDER --run RUN")

    os.environ.setdefault(
        "OPENBLAS_NUM_THREADS", "1"
    )  # numpy reads it once; a second thread doubles the cost of a query
    from crosscue.opening import encoder_of, open_encoder
    from crosscue.serving.app import application
    from crosscue.serving.holdings import Holdings
    from crosscue.serving.logs import begin_logs
    from crosscue.serving.running import listening
    from crosscue.serving.running import run as run_server
    from crosscue.serving.service import Opener, Service

    opened: dict[str, Any] = {
        "runtime": options.runtime,
        "precision": options.precision,
        "device": options.device,
        "threads": options.threads,
    }
    holdings = Holdings([Path(folder) for folder in given.collections])
    opens = partial(encoder_of, **opened)
    openers: dict[str, Opener] = {}
    for name in holdings.names:
        openers[name] = partial(opens, holdings.place(name).space.identity)
    if options.run is not None:
        openers[Path(options.run).name] = partial(open_encoder, options.run, **opened)
    rules = options.rules()
    sock = listening(options.host, options.port)
    address = f"http://{f'[{options.host}]' if ':' in options.host else options.host}:{sock.getsockname()[1]}/"
    begin_logs(requests=options.access_log == "requests", queries=options.log_queries)
    sys.stdout.write(f"{address}  (Ctrl-C stops)\n")
    sys.stdout.flush()
    if options.open:
        import webbrowser

        webbrowser.open(address)
    app = application(Service(openers), holdings, rules, absolute=options.alone, replica=options.replica, opens=opens)
    run_server(app, sock)
    return 0


def make_key(arguments: list[str]) -> int:
    """Adds a key to a file of keys and prints it, once."""
    from crosscue.serving.keys import new_key

    if len(arguments) != 3 or arguments[1] != "--keys":
        raise OptionError("write: crosscue serve key NAME --keys FILE")
    name, _, path = arguments
    key = new_key(name, Path(path))
    sys.stdout.write(f"{key}\n")
    sys.stderr.write(
        f"This key is shown once; {path} keeps its digest. A running server reads the file when it starts.\n"
    )
    return 0
