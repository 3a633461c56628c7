"""The outcome of every input of `atrc predict`: predictions.json, and a summary on standard error."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from atrc.app.predict.files import Size
from atrc.app.predict.inputs import INDEX, Input
from atrc.errors import UserError, first_line
from atrc.files import write_atomic
from atrc.tasks import Task, tasks_to_dicts


class Report:
    """The outcome of the inputs, in the order in which they finish.

    Attributes:
        done: Source, name, size [px] and notes of the inputs that succeeded.
        failed: Source and reason of the others.
    """

    def __init__(self) -> None:
        self.done: list[dict[str, Any]] = []
        self.failed: list[dict[str, str]] = []

    def succeed(self, one: Input, size: Size, note: str = "", non_finite: Mapping[str, float] | None = None) -> None:
        """Record an input that is done.

        Args:
            one: The input.
            size: Height and width [px].
            note: A remark about the file.
            non_finite: The share of pixels with NaN or infinite predictions, by task.
        """
        more: dict[str, Any] = {"note": note} if note else {}
        if non_finite:
            more["non_finite"] = dict(non_finite)
        self.done.append({"source": str(one.path), "name": one.name, "size": list(size), **more})

    def fail(self, one: Input, reason: str) -> None:
        """Record an input that cannot be predicted, and why."""
        self.failed.append({"source": str(one.path), "reason": reason.removeprefix(f"{one.path}: ")})

    @contextmanager
    def trying(self, one: Input) -> Iterator[None]:
        """Record any failure of an input and go on; only a full disk ends the command."""
        try:
            yield
        except UserError as error:
            self.fail(one, str(error))
        except OSError as error:
            self.fail(one, f"its predictions cannot be written ({error.strerror or error})")
            if is_full(error):
                where, count = error.filename or "the disk", len(self.done)
                raise UserError(f"{where}: {error.strerror}; {count} files are done") from None
        except Exception as error:  # one odd file must not stop the others
            self.fail(one, explain(error))

    def write(self, folder: Path, model: str, tasks: Sequence[Task], inputs: Sequence[Input]) -> None:
        """Write predictions.json: the tasks, and the inputs that are done, failed, or were not reached.

        Raises:
            UserError: It cannot be written.
        """
        content = {"model": model, "tasks": [_describe(task) for task in tasks], "images": self.done}
        content |= {"failed": self.failed, "not_reached": self._not_reached(inputs)}
        try:
            write_atomic(folder / INDEX, (json.dumps(content, indent=1) + "\n").encode(errors="surrogateescape"))
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{folder / INDEX}: {reason}; the predictions themselves are kept") from None

    def summarise(self, out: Path, skipped: str, inputs: Sequence[Input]) -> None:
        """Print notes, warnings and a summary; failures come last.

        Args:
            out: The folder of the predictions.
            skipped: Files in the given folders that are not images or videos.
            inputs: All inputs.
        """
        left = len(self._not_reached(inputs))
        lines = [f"{one['source']}: {one['note']}" for one in self.done if "note" in one]
        lines += [f"skipped: {skipped}"] if skipped else []
        lines += self._non_finite()
        counts = f"{len(self.done)} done, {len(self.failed)} failed" + (f", {left} not reached" if left else "")
        lines += [f"{counts}: {out}", *(f"failed: {one['source']}: {one['reason']}" for one in self.failed)]
        print("\n".join(lines), file=sys.stderr)

    def _not_reached(self, inputs: Sequence[Input]) -> list[str]:
        reached = {one["source"] for one in (*self.done, *self.failed)}
        return [str(one.path) for one in inputs if str(one.path) not in reached]

    def _non_finite(self) -> list[str]:
        broken = [one for one in self.done if "non_finite" in one]
        if not broken:
            return []
        first = f"{broken[0]['source']} ({', '.join(broken[0]['non_finite'])})"
        counts = f"{len(broken)} of {len(self.done)} files have predictions that are NaN or infinite"
        cure = "the training has diverged, or the network needs --precision 32"
        return [f"warning: {counts}, first {first}; {INDEX} has the shares; {cure}"]


def is_full(error: OSError) -> bool:
    """Tell whether the disk is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def explain(error: Exception) -> str:
    """Explain an unexpected failure in one line.

    >>> explain(RuntimeError("out of memory"))
    'the network failed (out of memory); try a smaller --max-side'
    """
    if isinstance(error, RuntimeError | MemoryError):  # out of memory, most likely
        return f"the network failed ({first_line(error)}); try a smaller --max-side"
    return f"{type(error).__name__} ({first_line(error)}); a bug in atrc, please report it"


def _describe(task: Task) -> dict[str, Any]:
    classes = {"classes": list(task.region_names)} if task.legend == "classes" else {}
    return {"name": task.name, "kind": tasks_to_dicts([task])[0]["kind"], **classes}
