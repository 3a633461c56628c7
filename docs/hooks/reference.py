"""Fills the reference pages when the site is built: the command line from its parser, packages with their modules.

A page asks by a comment: `<!-- commands -->`, or `<!-- modules of atrc.contexts -->`.
"""

from __future__ import annotations

import re
from argparse import Action
from collections.abc import Iterator
from inspect import getdoc
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import ArgumentParser

import atrc
from atrc.app.cli import COMMANDS, GROUPS, WITH_RECIPE, make_parser, with_dashes
from atrc.training.recipe import Recipe

PLACE, MODULES = "<!-- commands -->", re.compile(r"<!-- modules of ([\w.]+) -->")
SHARED = ("help", "config", "print_config")  # every command has these


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill a page; mkdocs calls this."""
    if PLACE in markdown:
        markdown = markdown.replace(PLACE, commands())
    return MODULES.sub(lambda found: modules(found[1]), markdown)


def modules(package: str) -> str:
    """Return what mkdocstrings turns into the documentation of a module, or of all modules of a package."""
    path = Path(atrc.__file__).parent.joinpath(*package.split(".")[1:])
    if not path.is_dir():
        return f"::: {package}"
    files = (file.relative_to(path).with_suffix("") for file in sorted(path.rglob("*.py")))
    return "\n\n".join(f"::: {package}.{'.'.join(file.parts)}" for file in files if file.stem[0] != "_")


def commands() -> str:
    """Return a section for every command, and one for the recipe that some share."""
    parsers = make_parser()[1]
    sections = [_command(name, parsers[name]) for name in COMMANDS]
    recipe = list(_options(parsers[WITH_RECIPE[0]], recipe=True))
    users = " and ".join(f"`atrc {name}`" for name in WITH_RECIPE)
    sections.append(f"## The recipe\n\nWhat {users} take, and the keys of recipe files.\n\n" + "\n\n".join(recipe))
    return "\n\n".join(sections)


def _command(name: str, parser: ArgumentParser) -> str:
    about = (getdoc(COMMANDS[name]) or "").split("\n\nArgs:")[0]
    places = " ".join(action.dest.upper() for action in parser._actions if not action.option_strings)
    first = (
        f"`atrc {name.split()[0]} {places}` for short." if name.split()[0] in GROUPS and name.endswith(" run") else ""
    )
    recipe = "Takes [the recipe](#the-recipe) too." if name in WITH_RECIPE else ""
    usage = " ".join(filter(None, ["atrc", name, places, "[options]"]))
    parts = [f"## atrc {name}", about, first, recipe, f"```text\n{usage}\n```", *_options(parser, recipe=False)]
    return "\n\n".join(filter(None, parts))


def _options(parser: ArgumentParser, recipe: bool) -> Iterator[str]:
    """Yield a table of the options without a group, and one for each group: of the recipe, or of all else."""
    has_recipe = "optim" in parser.groups
    tables: dict[str, list[Action]] = {"": []}
    for group in parser._action_groups:
        for action in group._group_actions:
            if _is_shown(action) and (has_recipe and _is_recipe(action)) == recipe:
                tables.setdefault((group.title or "") if "." in action.dest else "", []).append(action)
    for title, actions in tables.items():
        if actions:
            yield f"{title}:\n\n{_table(actions)}" if title else _table(actions)


def _is_shown(action: Action) -> bool:
    return action.dest not in SHARED and type(action).__name__ != "_ActionConfigLoad"


def _is_recipe(action: Action) -> bool:
    return action.dest.split(".")[0] in Recipe.__dataclass_fields__


def _table(actions: list[Action]) -> str:
    rows = ["| Option | What it is |", "| --- | --- |"]
    for action in actions:
        name = with_dashes(action.option_strings[0]) if action.option_strings else action.dest.upper()
        about = " ".join((action.help or "").split()).replace("|", "\\|")
        rows.append(f"| `{name}`{_kind(action)} | {about} |")
    return "\n".join(rows)


def _kind(action: Action) -> str:
    """Return the type and the default, in small print; nothing for a switch."""
    hint = getattr(action, "_typehint", None)
    if hint is None:
        return ""
    default = "" if not action.option_strings or action.default in (None, [], "") else f" = {action.default}"
    return f"<br><small>{_plain(hint)}{default}</small>"


def _plain(hint: Any) -> str:
    """Return a type as people say it: choices for a literal, and what may be left out without its None."""
    if get_origin(hint) is Literal:
        return ", ".join(map(str, get_args(hint)))
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_plain(kind) for kind in get_args(hint) if kind is not NoneType)
    return str(hint) if get_args(hint) else hint.__name__
