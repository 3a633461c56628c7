"""The verbs of the command line. Heavy imports wait until a verb runs, so that `--help` is quick."""

from __future__ import annotations

from collections.abc import Callable

from atrc.app.commands import data, networks, runs

VERBS: dict[str, Callable[..., None]] = {
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
