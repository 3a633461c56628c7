"""What became of every input of `atrc predict`: predictions.json, and a few lines for whoever waits."""

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
    """What became of the inputs, in the order of their completion.

    Attributes:
        done: Source and name, size [px], and whatever there is to say.
        failed: Source and reason.
    """

    def __init__(self) -> None:
        self.done: list[dict[str, Any]] = []
        self.failed: list[dict[str, str]] = []

    def succeed(self, one: Input, size: Size, note: str = "", non_finite: Mapping[str, float] | None = None) -> None:
        """Note an input that is done.

        Args:
            one: The input.
            size: Height and width [px].
            note: What there is to say.
            non_finite: Tasks with NaN or infinite predictions, and in what share of the pixels.
        """
        more: dict[str, Any] = {"note": note} if note else {}
        if non_finite:
            more["non_finite"] = dict(non_finite)
        self.done.append({"source": str(one.path), "name": one.name, "size": list(size), **more})

    def fail(self, one: Input, reason: str) -> None:
        """Note an input that cannot be predicted, and why."""
        self.failed.append({"source": str(one.path), "reason": reason.removeprefix(f"{one.path}: ")})

    @contextmanager
    def trying(self, one: Input) -> Iterator[None]:
        """Note it if an input fails, of whatever, and go on; a disk that is full ends all."""
        try:
            yield
        except UserError as error:
            self.fail(one, str(error))
        except OSError as error:
            self.fail(one, f"its predictions cannot be written ({error.strerror or error})")
            if is_full(error):
                raise UserError(
                    f"{error.filename or 'the disk'}: {error.strerror}; {len(self.done)} files are done"
                ) from None
        except Exception as error:  # one odd file is no reason to lose what is known of the others
            self.fail(one, explain(error))

    def write(self, folder: Path, model: str, tasks: Sequence[Task], inputs: Sequence[Input]) -> None:
        """Write predictions.json: the tasks, what is done, what failed, and what was not reached.

        Raises:
            UserError: It cannot be written.
        """
        described = [_describe(task) for task in tasks]
        content = {"model": model, "tasks": described, "images": self.done, "failed": self.failed}
        content["not_reached"] = self._not_reached(inputs)
        try:
            write_atomic(folder / INDEX, (json.dumps(content, indent=1) + "\n").encode(errors="surrogateescape"))
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{folder / INDEX}: {reason}; the predictions themselves are kept") from None

    def tell(self, out: Path, others: str, inputs: Sequence[Input]) -> None:
        """Print what there is to say, failures at the end.

        Args:
            out: The folder of the predictions.
            others: What was passed over.
            inputs: All that was to be predicted.
        """
        left = len(self._not_reached(inputs))
        lines = [f"{one['source']}: {one['note']}" for one in self.done if "note" in one]
        lines += [line for line in (others, self._non_finite()) if line]
        counted = f"{len(self.done)} done, {len(self.failed)} failed" + (f", {left} not reached" if left else "")
        lines += [f"{counted}: {out}", *(f"failed: {one['source']}: {one['reason']}" for one in self.failed)]
        for line in lines:
            print(line, file=sys.stderr)

    def _not_reached(self, inputs: Sequence[Input]) -> list[str]:
        reached = {one["source"] for one in (*self.done, *self.failed)}
        return [str(one.path) for one in inputs if str(one.path) not in reached]

    def _non_finite(self) -> str:
        broken = [one for one in self.done if "non_finite" in one]
        if not broken:
            return ""
        first = f"{broken[0]['source']} ({', '.join(broken[0]['non_finite'])})"
        counted = f"{len(broken)} of {len(self.done)} files have predictions that are NaN or infinite"
        cure = "the training has diverged, or the network needs --precision 32"
        return f"warning: {counted}, first {first}, with their shares in {INDEX}; {cure}"


def is_full(error: OSError) -> bool:
    """Tell whether the disk is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def explain(error: Exception) -> str:
    """Say in a line of what an input failed that nobody foresaw.

    >>> explain(RuntimeError("out of memory"))
    'the network failed (out of memory); try a smaller --max-side'
    """
    reason = first_line(error)
    if isinstance(error, RuntimeError | MemoryError):  # too much memory, most likely
        return f"the network failed ({reason}); try a smaller --max-side"
    return f"{type(error).__name__} ({reason}); a mistake in atrc, please report it"


def _describe(task: Task) -> dict[str, Any]:
    classes = {"classes": list(task.region_names)} if task.legend == "classes" else {}
    return {"name": task.name, "kind": tasks_to_dicts([task])[0]["kind"], **classes}
