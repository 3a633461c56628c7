"""Recipes in YAML: where they lie, and several of them made into one."""

from __future__ import annotations

from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser

import atrc
from atrc.errors import UserError
from atrc.files import read_yaml
from atrc.training.recipe import Recipe


def shipped_recipes() -> Path:
    """Return the folder of the recipes that come with the package, or lie beside its source."""
    package = Path(atrc.__file__).parent
    return installed if (installed := package / "recipes").is_dir() else package.parents[1] / "recipes"


def recipe_path(name: str | Path, beside: Path | None = None) -> Path:
    """Find a recipe: a file, a file beside another, or the name of a shipped one, such as `network/global`.

    Raises:
        UserError: There is none, or it cannot be one.
    """
    places = [Path(name), *([beside / name] if beside else []), shipped_recipes() / f"{name}.yaml"]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise UserError(f"no recipe '{name}'; give a YAML file or one of {', '.join(shipped_names())}")
    _require_sections(found)
    return found


def _require_sections(path: Path) -> None:
    """Refuse what no parser should be given: what fills the memory, and sections that are none."""
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: a recipe is keys with values, not {type(content).__name__}")
    for key, field in Recipe.__dataclass_fields__.items():
        if is_dataclass(field.default_factory) and not isinstance(content.get(key, {}), dict):
            raise UserError(f"{path}: {key} is {content[key]!r:.60}; give keys with values below it, or leave it out")


def shipped_names() -> list[str]:
    """List the shipped recipes, without studies."""
    root = shipped_recipes()
    names = (path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml"))
    return sorted(name for name in names if not name.startswith("study/"))


def read_recipe(paths: Sequence[Path], changes: Mapping[str, Any] | None = None) -> Recipe:
    """Read recipes over each other, the later winning, and then single keys.

    Args:
        paths: YAML files.
        changes: Dotted keys and their values, such as {"optim.lr": 0.1}.

    Raises:
        UserError: A key or a value that a recipe does not have.
    """
    for path in paths:
        _require_sections(path)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action=ActionConfigFile)
    parser.add_class_arguments(Recipe, as_group=False)
    arguments = [f"--config={path}" for path in paths]
    arguments += [f"--{key}={_text(value)}" for key, value in (changes or {}).items()]
    try:
        values = vars(parser.instantiate(parser.parse_args(arguments)))
    except (ArgumentError, TypeError, ValueError) as error:  # of keys and values that none has thought of
        raise UserError(f"{', '.join(map(str, paths))}: {' '.join(str(error).split())}") from None
    return Recipe(**{key: values[key] for key in Recipe.__dataclass_fields__})


def _text(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("\n").removesuffix("\n...")
