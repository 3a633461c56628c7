"""`atrc COMMAND`: options come from typed signatures; an error is one line, and the exit status is 2."""

from __future__ import annotations

import difflib
import os
import re
import sys
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stdout
from inspect import Parameter, getdoc, signature
from typing import Any, NoReturn

from jsonargparse import ActionConfigFile, ArgumentParser

from atrc import __version__
from atrc.app.commands import COMMANDS
from atrc.app.output import PartialError, require_writable, write_json
from atrc.errors import UserError, lost_loaders
from atrc.training.recipe import Recipe
from atrc.training.recipe.files import recipe_path
from atrc.training.run.folder import storage

GROUPS = {  # first words of commands of two words
    "data": "Check a data set folder, or show some of it.",
    "study": "Run a study of many recipes and seeds, or report it. `atrc study FILE` is `atrc study run FILE`.",
}
WITH_RECIPE = ("train", "search")
NEEDED = ("images",)  # lists that need at least one value
JSON = 'Also write the result to this JSON file; "-" is standard output, and tables then go to standard error.'


class Parser(ArgumentParser):
    """A parser that shows options with dashes, as `--max-dist`; `expand` accepts underscores too."""

    def format_help(self, *args: Any) -> str:
        return with_dashes(super().format_help(*args))


def with_dashes(text: str) -> str:
    """Write the options in a text with dashes.

    >>> with_dashes("--max_dist, but max_dist in a file")
    '--max-dist, but max_dist in a file'
    """
    return re.sub(r"--[\w.]+", lambda option: option[0].replace("_", "-"), text)


def make_parser() -> tuple[Parser, dict[str, Parser]]:
    """Return the parser and the parsers of its commands."""
    parser = Parser(
        prog="atrc", version=__version__, exit_on_error=False, description="Multi-task dense prediction with ATRC."
    )
    subcommands = parser.add_subcommands(metavar="COMMAND", dest="command")
    parsers, groups = {}, {"": subcommands}
    for name, command in COMMANDS.items():
        summary = (command.__doc__ or "").strip().split("\n")[0]
        parsers[name] = _make_command(name, command, summary)
        group, _, action = name.rpartition(" ")
        if group not in groups:
            grouped = Parser(description=GROUPS[group], exit_on_error=False)
            subcommands.add_subcommand(group, grouped, help=GROUPS[group])
            groups[group] = grouped.add_subcommands(metavar="COMMAND", dest="command")
        groups[group].add_subcommand(action, parsers[name], help=summary)
    return parser, parsers


def _make_command(name: str, command: Callable[..., Any], summary: str) -> Parser:
    """Make a command's parser: bools are switches, lists of words positional arguments of any number."""
    parser = Parser(description=summary, exit_on_error=False)
    config = "YAML file of options, or a shipped recipe such as network/global; if given several times, the last wins."
    parser.add_argument("--config", action=ActionConfigFile, help=config)
    if name in WITH_RECIPE:
        parser.add_class_arguments(Recipe, as_group=False)
    parameters, about = signature(command).parameters.values(), describe_arguments(command)
    lists = [parameter.name for parameter in parameters if parameter.annotation == "list[str]"]
    skip: set[str | int] = {"recipe", *lists}
    for parameter in parameters:
        if parameter.annotation == "bool":
            parser.add_argument(f"--{parameter.name}", action="store_true", help=about[parameter.name])
        elif parameter.name == "model" and parameter.default is not Parameter.empty:
            parser.add_argument("model", nargs="?", default=parameter.default, help=about["model"])
        else:
            continue
        skip.add(parameter.name)
    parser.add_function_arguments(command, as_group=False, as_positional=True, skip=skip)
    for key in lists:
        count = {"nargs": "+"} if key in NEEDED else {"nargs": "*", "default": []}
        parser.add_argument(key, help=about[key], **count)
    if signature(command).return_annotation != "None":
        parser.add_argument("--json", type=str | None, help=JSON)
    return parser


def describe_arguments(command: Callable[..., Any]) -> dict[str, str]:
    """Return the docstring's text of each argument.

    >>> describe_arguments(COMMANDS["search"])["resume"]
    'Continue the run in --out from its last checkpoint.'
    """
    arguments = (getdoc(command) or "").partition("Args:\n")[2]
    return {key: " ".join(text.split()) for key, text in re.findall(r"^ {4}(\w+): (.+(?:\n {5,}.+)*)", arguments, re.M)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; a user's mistake, or a file that cannot be used, ends with one line and exit status 2."""
    given = _complete(sys.argv[1:] if arguments is None else list(arguments))
    command = next((name for name in COMMANDS if given[: len(name.split())] == name.split()), None)
    parser, parsers = make_parser()
    try:
        options = parser.parse_args(expand(given))
        name, chosen = options.command, options[options.command]
        if name in GROUPS:
            name, chosen = f"{name} {chosen.command}", chosen[chosen.command]
        command = name
        cure = "make room, or give a place that can be written to"
        with storage(f"atrc {name}", cure), lost_loaders("give --workers fewer processes or 0"):
            _run(name, _values(name, parsers[name], chosen))
    except UserError as error:
        _fail(command, str(error))
    except ArgumentError as error:
        _fail(command, _one_line(str(error), parsers[command] if command else None))
    except OSError as error:
        if error.filename is None:  # not about a file, so not the user's mistake
            raise
        _fail(command, str(UserError(f"{os.fsdecode(error.filename)}: {error.strerror}")))
    except KeyboardInterrupt:
        print(f"atrc {command}: interrupted", file=sys.stderr)
        raise SystemExit(130) from None


def _run(name: str, values: dict[str, Any]) -> None:
    """Run a command and write what it returns; exit with status 1 if part of its work failed."""
    json, failed = values.pop("json", None), False
    require_writable(json)
    with redirect_stdout(sys.stderr) if json == "-" else nullcontext():
        try:
            content = COMMANDS[name](**values)
        except PartialError as error:
            content, failed = error.content, True
    if content is not None:
        write_json(content, json)
    if failed:
        raise SystemExit(1)


def _fail(command: str | None, message: str) -> NoReturn:
    print(f"atrc {command}: error: {message}" if command else f"atrc: error: {message}", file=sys.stderr)
    raise SystemExit(2) from None


def _complete(given: list[str]) -> list[str]:
    """Let `atrc study FILE` mean `atrc study run FILE`."""
    is_file = given[:1] == ["study"] and given[1:2] not in ([], ["-h"], ["--help"])
    return ["study", "run", *given[1:]] if is_file and f"study {given[1]}" not in COMMANDS else given


def expand(given: Sequence[str]) -> list[str]:
    """Turn arguments into the parser's form.

    `study FILE` is `study run FILE`, `--max-dist` is the key max_dist, and --config may name a shipped recipe.
    """
    found = _complete(list(given))
    for i, word in enumerate(found):
        if word == "--":
            break
        option, equals, value = word.partition("=")
        if option.startswith("--"):
            option = "--" + option[2:].replace("-", "_")
            found[i] = option + equals + (str(recipe_path(value)) if option == "--config" and equals else value)
        elif i and found[i - 1] == "--config":
            found[i] = str(recipe_path(word))
    return found


def _one_line(message: str, parser: ArgumentParser | None) -> str:
    """Fold a parser's message into one line, and suggest the option that an unknown one may mean."""
    line = " ".join(message.split()).replace("typing.", "")
    unknown = re.search(r"(unrecognized arguments: --|does not accept option ')([\w.]+)", line)
    if parser and unknown:
        known = [key for key in vars(parser.get_defaults().as_flat()) if key != "config"]
        close = difflib.get_close_matches(unknown[2], known, n=1)
        line += f"; did you mean {close[0]}?" if close else f"; choose from {', '.join(known)}"
    return with_dashes(line)


def _values(name: str, parser: ArgumentParser, options: Any) -> dict[str, Any]:
    """Return a command's arguments, and `json`."""
    values = vars(parser.instantiate(options))
    values.pop("config", None)
    if name in WITH_RECIPE:
        values["recipe"] = Recipe(**{key: values.pop(key) for key in Recipe.__dataclass_fields__})
    return values
