"""The command line: one subcommand per verb, options from the same dataclasses as Python and YAML."""

from __future__ import annotations

import os
import sys
import time
from difflib import get_close_matches
from typing import TYPE_CHECKING, NoReturn

from crosscue.commands.streams import FULL, leave_quietly, take_any_character
from crosscue.commands.verbs import Verbs
from crosscue.errors import CrosscueError, ProcessError
from crosscue.launched import OURS, one_of_many
from crosscue.progress import mute
from crosscue.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence


PAUSE = 10.0
"""Seconds in which a launcher ends the other processes of a run."""


def as_method(word: str) -> str:
    """Returns the command of the method that a word stands for, or nothing."""
    from crosscue.methods.registry import method_names

    for name in get_close_matches(word, method_names(), n=1, cutoff=0.8):
        if name == "zero_shot":
            return f" '{name}' is a method: crosscue evaluate zero_shot --data SOURCE"
        return f" '{name}' is a method: crosscue adapt --method {name} --data SOURCE"
    return ""


DATA = Verbs(
    "crosscue data",
    "Check a source of pairs, or write what it lacks.",
    {
        "check": ("report what is wrong with a source of pairs", "data_check"),
        "negatives": ("write edited captions that are wrong for their image", "data_negatives"),
        "embed": ("write the features of a source's images, which methods behind frozen towers read", "data_embed"),
        "fdrd": ("count what is wrong with files of the FDRD release", "data_fdrd"),
    },
)
DESCRIBE = Verbs(
    "crosscue describe",
    "Write text about images and captions with a model or a parser: crosscue describe captions SOURCE --out FOLDER",
    {
        "captions": ("one caption for each image, with the name of its class", "describe_captions"),
        "triplets": ("triplets of each caption (subject, action, object) and their visual states", "describe_triplets"),
        "views": ("three descriptions of each training image: whole, background, entities", "describe_views"),
        "audit": ("coverage of a file of triplets, and the difference of two files", "describe_audit"),
    },
)
EXPORT = Verbs(
    "crosscue export",
    "Write the encoders of a run for programs without torch: crosscue export onnx RUN --out DIR",
    {"onnx": ("two ONNX graphs, compared with torch, in the layout that Immich reads", "export")},
)
PLAN = Verbs(
    "crosscue plan",
    "Estimate time, memory and disk of a command from a few seconds of its work. The options are those of the command:\n"
    "crosscue plan adapt --data SOURCE --method dual_prompt",
    {
        "adapt": ("a training, and the batches that fit in memory", "plan:adapt"),
        "evaluate": ("an evaluation with its report", "plan:evaluate"),
        "index": ("the images that a collection lacks", "plan:index"),
        "search": ("one search", "plan:search"),
    },
)
VERBS = Verbs(
    "crosscue",
    "Adapt a pre-trained image-text model to your own images and captions, and prove that retrieval got better.",
    {
        "adapt": ("train a method on pairs and write a run folder", "adapt"),
        "evaluate": ("evaluate retrieval on held-out pairs, before and after", "evaluate"),
        "data": ("check a source of pairs, or add hard negatives (data check SOURCE, data negatives SOURCE)", DATA),
        "describe": ("write captions, triplets and states, or views (describe captions SOURCE)", DESCRIBE),
        "bench": ("evaluate a grid of methods, domains, shots and seeds; write tables and curves", "bench"),
        "plan": ("estimate time, memory and disk of a command before it runs (plan adapt --data SOURCE)", PLAN),
        "index": ("encode folders of images into a collection that can be searched", "index"),
        "cache": ("list what is kept to be read again, and remove what was not used", "cache"),
        "search": ('find images by words and images (search "a red bicycle" --collection DIR)', "search"),
        "serve": ("search collections in a browser and over HTTP", "serve"),
        "labels": ("write the marks of a collection as training pairs", "labels"),
        "methods": ("list the methods and their options", "methods"),
        "export": ("write the encoders of a run as ONNX graphs (export onnx RUN --out DIR)", EXPORT),
        "push": ("copy a run or an export to a repository on the Hub (push FOLDER me/birds)", "push"),
        "pull": ("copy a run or an export from a repository, checked by hash (pull me/birds)", "pull"),
        "demo": ("adapt a real model to real images in a few minutes, and show what changed", "demo"),
    },
    " `crosscue --version` prints the version.\nStart with: crosscue demo",
    as_method,
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs one verb and exits: 0 done, 2 an error of the user, 130 interrupted."""
    take_any_character()
    sys.exit(dispatch(list(sys.argv[1:] if arguments is None else arguments)))


def leave_the_word(error: CrosscueError) -> None:
    """Waits before a process of several prints an error, so that it is printed once: by process 0, or by what started them.

    Either ends this process meanwhile. If it is the only one with the error, it prints it after that.
    """
    if one_of_many() and (os.environ["RANK"] != "0" or (isinstance(error, ProcessError) and OURS in os.environ)):
        time.sleep(PAUSE)


def dispatch(arguments: list[str]) -> int:
    """Runs one verb and returns the exit code; a `CrosscueError` becomes one line on standard error."""
    if arguments and arguments[0] in ("-V", "--version"):
        sys.stdout.write(f"crosscue {__version__}\n")
        return 0
    command = VERBS.named(arguments)
    if one_of_many() and os.environ["RANK"] != "0":
        mute()
    try:
        code = VERBS.run(arguments)
        sys.stdout.flush()
        return code
    except CrosscueError as error:
        leave_the_word(error)
        sys.stderr.write(f"{command}: {error}\n")
        return error.exit_code
    except BrokenPipeError:
        return leave_quietly()
    except OSError as error:
        if error.errno not in FULL:
            raise
        sys.stderr.write(f"{command}: the output cannot be written ({error.strerror}). Free some space on the disk.\n")
        leave_quietly()
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"{command}: interrupted\n")
        return 130
