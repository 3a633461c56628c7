"""`atrc VERB`: options come from typed signatures, errors are one line and exit 2."""

from __future__ import annotations

import difflib
import os
import re
import sys
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from inspect import Parameter, getdoc, signature
from typing import Any, NoReturn

from jsonargparse import ActionConfigFile, ArgumentParser

from atrc import __version__
from atrc.app.commands import VERBS
from atrc.app.json_output import require_writable
from atrc.errors import UserError, lost_loaders
from atrc.training.recipe import Recipe
from atrc.training.recipe.files import recipe_path
from atrc.training.run.folder import storage

GROUPS = {  # first words of verbs of two
    "data": "Check a data set folder, or show some of it.",
    "study": "Run a study of many recipes and seeds, or report it. `atrc study FILE` is `atrc study run FILE`.",
}
WITH_RECIPE = ("train", "search")
NEEDED = ("images",)  # positional arguments of any number, of which there has to be one


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
        _add_arguments(sub, verb)
        group, _, action = name.rpartition(" ")
        if group not in groups:
            grouped = ArgumentParser(description=GROUPS[group], exit_on_error=False)
            subcommands.add_subcommand(group, grouped, help=GROUPS[group])
            groups[group] = grouped.add_subcommands(metavar="VERB", dest="verb")
        groups[group].add_subcommand(action, sub, help=summary)
        parsers[name] = sub
    return parser, parsers


def _add_arguments(parser: ArgumentParser, verb: Callable[..., None]) -> None:
    """Add a verb's parameters: bools as switches, lists of words as positional arguments of any number."""
    parameters, said = signature(verb).parameters.values(), _said(verb)
    several = [parameter.name for parameter in parameters if parameter.annotation == "list[str]"]
    skip: set[str | int] = {"recipe", *several}
    for parameter in parameters:
        name, default = parameter.name, parameter.default
        if parameter.annotation == "bool":
            names = dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"])
            parser.add_argument(*names, action="store_true", help=said[name])
        elif name == "model" and default is not Parameter.empty:
            parser.add_argument(name, nargs="?", default=default, help=said[name])
        else:
            continue
        skip.add(name)
    parser.add_function_arguments(verb, as_group=False, as_positional=True, skip=skip)
    for name in several:
        needed = {"nargs": "+"} if name in NEEDED else {"nargs": "*", "default": []}
        parser.add_argument(name, help=said[name], **needed)


def _said(verb: Callable[..., None]) -> dict[str, str]:
    """Return what a docstring says of each argument.

    >>> _said(VERBS["search"])["resume"]
    'Continue the run in --out from its last checkpoint.'
    """
    arguments = (getdoc(verb) or "").partition("Args:\n")[2]
    return {key: " ".join(text.split()) for key, text in re.findall(r"^ {4}(\w+): (.+(?:\n {5,}.+)*)", arguments, re.M)}


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
