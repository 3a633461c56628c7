"""`atrc VERB`: options come from typed signatures, errors are one line and exit 2."""

from __future__ import annotations

import difflib
import os
import re
import sys
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from inspect import Parameter, signature
from typing import Any, NoReturn

from jsonargparse import ActionConfigFile, ArgumentParser

from atrc import __version__
from atrc.app import verbs
from atrc.app.json_output import require_writable
from atrc.data.loader import lost_loaders
from atrc.errors import UserError
from atrc.training.folder import storage
from atrc.training.recipe import Recipe
from atrc.training.recipe_files import recipe_path

VERBS: dict[str, Callable[..., None]] = {
    "demo": verbs.demo,
    "rooms": verbs.rooms,
    "data check": verbs.check_data,
    "data show": verbs.show_data,
    "train": verbs.train,
    "search": verbs.search,
    "evaluate": verbs.evaluate,
    "predict": verbs.predict,
    "publish": verbs.publish,
    "export": verbs.export,
    "boundaries": verbs.boundaries,
    "resources": verbs.resources,
    "importance": verbs.importance,
    "attention": verbs.attention,
    "explore": verbs.explore,
    "study run": verbs.study,
    "study report": verbs.report_study,
}
GROUPS = {  # first words of verbs of two
    "data": "Check a data set folder, or show some of it.",
    "study": "Run a study of many recipes and seeds, or report it. `atrc study FILE` is `atrc study run FILE`.",
}
WITH_RECIPE = ("train", "search")
SWITCHES = {  # options that take no value
    "resume": "Continue the run in --out from its last checkpoint.",
    "dry_run": "Only print the cells and their steps.",
    "augmented": "Show what a training makes of the images: scaled, cropped, mirrored, distorted.",
    "allow_different_protocols": "Compare also with a baseline that was measured otherwise.",
    "frames": "Of a video, write the raw predictions of every frame too.",
    "logits": "Export unnormalised predictions in place of classes, metres, unit vectors and probabilities.",
    "half": "Save 16-bit floats: half the size.",
    "open": "Open the page in a browser.",
}
SEVERAL = {  # positional arguments of which there may be any number
    "images": "Files, folders with all below them, patterns, videos.",
    "runs": "Folders or checkpoints of runs; their drops are averaged.",
}
NEEDED = ("images",)  # those of which there has to be one
OPTIONAL = {  # positional arguments that may be left out, in verbs that have a default
    "model": "A run's folder, a checkpoint, a published folder, a name on the Hugging Face Hub, or one that comes with "
    "atrc.",
}


def make_parser() -> tuple[ArgumentParser, dict[str, ArgumentParser]]:
    """Return the parser and those of its verbs."""
    parser = ArgumentParser(
        prog="atrc", version=__version__, exit_on_error=False, description="Multi-task dense prediction with ATRC."
    )
    subcommands = parser.add_subcommands(metavar="VERB", dest="verb")
    parsers, groups = {}, {"": subcommands}
    for name, verb in VERBS.items():
        summary = (verb.__doc__ or "").strip().split("\n")[0]
        sub = ArgumentParser(description=summary, exit_on_error=False)
        sub.add_argument(
            "--config",
            action=ActionConfigFile,
            help="YAML file of options, or a shipped recipe such as network/global; of several, the later win.",
        )
        if name in WITH_RECIPE:
            sub.add_class_arguments(Recipe, as_group=False)
        for switch in [key for key in SWITCHES if key in signature(verb).parameters]:
            names = dict.fromkeys([f"--{switch}", f"--{switch.replace('_', '-')}"])
            sub.add_argument(*names, action="store_true", help=SWITCHES[switch])
        defaults = {key: parameter.default for key, parameter in signature(verb).parameters.items()}
        optional = [key for key in OPTIONAL if defaults.get(key, Parameter.empty) is not Parameter.empty]
        for key in optional:
            sub.add_argument(key, nargs="?", default=defaults[key], help=OPTIONAL[key])
        skip: set[str | int] = {"recipe", *SWITCHES, *SEVERAL, *optional}
        sub.add_function_arguments(verb, as_group=False, as_positional=True, skip=skip)
        for several in [key for key in SEVERAL if key in signature(verb).parameters]:
            needed = {"nargs": "+"} if several in NEEDED else {"nargs": "*", "default": []}
            sub.add_argument(several, help=SEVERAL[several], **needed)
        group, _, action = name.rpartition(" ")
        if group not in groups:
            grouped = ArgumentParser(description=GROUPS[group], exit_on_error=False)
            subcommands.add_subcommand(group, grouped, help=GROUPS[group])
            groups[group] = grouped.add_subcommands(metavar="VERB", dest="verb")
        groups[group].add_subcommand(action, sub, help=summary)
        parsers[name] = sub
    return parser, parsers


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a verb; user mistakes, and files that cannot be used, end with one line and exit status 2."""
    given = _complete(sys.argv[1:] if arguments is None else list(arguments))
    verb = next((name for name in VERBS if given[: len(name.split())] == name.split()), None)
    parser, parsers = make_parser()
    try:
        options = parser.parse_args(expand(given))
    except UserError as error:
        _fail(verb, str(error))
    except ArgumentError as error:
        _fail(verb, _one_line(str(error), parsers[verb] if verb else None))
    except OSError as error:
        _fail(verb, _of_a_file(error))
    name, chosen = options.verb, options[options.verb]
    if name in GROUPS:
        name, chosen = f"{name} {chosen.verb}", chosen[chosen.verb]
    try:
        cure = "make room, or give a place that can be written to"
        with storage(f"atrc {name}", cure), lost_loaders("give --workers fewer processes or 0"):
            require_writable(chosen.get("json"))
            VERBS[name](**_values(name, parsers[name], chosen))
    except UserError as error:
        _fail(name, str(error))
    except OSError as error:
        _fail(name, _of_a_file(error))
    except KeyboardInterrupt:
        print(f"atrc {name}: interrupted", file=sys.stderr)
        raise SystemExit(130) from None


def _fail(verb: str | None, message: str) -> NoReturn:
    print(f"atrc {verb}: error: {message}" if verb else f"atrc: error: {message}", file=sys.stderr)
    raise SystemExit(2) from None


def _of_a_file(error: OSError) -> str:
    """Say which file cannot be used, and why; an error of none is not the user's."""
    if error.filename is None:
        raise error
    return str(UserError(f"{os.fsdecode(error.filename)}: {error.strerror}"))


def _complete(given: list[str]) -> list[str]:
    """Let `atrc study FILE` mean `atrc study run FILE`."""
    is_file = given[:1] == ["study"] and given[1:2] not in ([], ["-h"], ["--help"])
    return ["study", "run", *given[1:]] if is_file and f"study {given[1]}" not in VERBS else given


def expand(given: list[str]) -> list[str]:
    """Write out what may be left out: `study FILE` is `study run FILE`, --config may name a shipped recipe."""
    found = _complete(list(given))
    for i, word in enumerate(found):
        if word.startswith("--config="):
            found[i] = f"--config={recipe_path(word.removeprefix('--config='))}"
        elif word == "--config" and i + 1 < len(found):
            found[i + 1] = str(recipe_path(found[i + 1]))
    return found


def _one_line(message: str, parser: ArgumentParser | None) -> str:
    """Fold a parser's message into one line, and say what an unknown option may have meant."""
    line = " ".join(message.split()).replace("typing.", "")
    unknown = re.search(r"unrecognized arguments: --([\w.]+)|does not accept option '([\w.]+)'", line)
    if parser and unknown:
        known = [key for key in vars(parser.get_defaults().as_flat()) if key != "config"]
        close = difflib.get_close_matches(unknown[1] or unknown[2], known, n=1)
        line += f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(known)}"
    return line


def _values(name: str, parser: ArgumentParser, options: Any) -> dict[str, Any]:
    values = vars(parser.instantiate(options))
    values.pop("config", None)
    if name in WITH_RECIPE:
        fields = Recipe.__dataclass_fields__
        recipe = Recipe(**{key: values.pop(key) for key in fields})
        values["recipe"] = recipe
    return values
