"""The commands: their options are the typed signatures here, and their help is the docstrings.

Heavy imports wait until a command runs, so that `--help` is quick. A command that returns plain values has `--json`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from atrc.app.commands import data, networks, runs

COMMANDS: dict[str, Callable[..., Any]] = {
    "demo": runs.demo,
    "rooms": data.rooms,
    "data check": data.check_data,
    "data show": data.show_data,
    "train": runs.train,
    "search": runs.search,
    "evaluate": runs.evaluate,
    "predict": networks.predict,
    "publish": networks.publish,
    "export": networks.export,
    "boundaries": networks.boundaries,
    "resources": runs.resources,
    "importance": networks.importance,
    "attention": networks.attention,
    "explore": networks.explore,
    "study run": runs.study,
    "study report": runs.report_study,
}
