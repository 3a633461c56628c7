"""Scores of folders of boundary maps, and what is written of them; needs no torch."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from atrc.errors import UserError, first_line
from atrc.metrics.boundary import (
    BoundaryProtocol,
    BoundaryScores,
    draw_worst,
    evaluate_folders,
    plot_precision_recall,
    write_bsds,
    write_image_scores,
)
from atrc.metrics.boundary.figures import require_format
from atrc.metrics.boundary.reading import Truth


@dataclass(frozen=True)
class Outputs:
    """Files to write besides JSON; the options of `atrc boundaries` of the same names."""

    plot: str | None = None
    compare: tuple[str, ...] = ()
    human: bool = False
    csv: str | None = None
    worst: str | None = None
    write_bsds: str | None = None


def score_boundaries(
    predictions: str,
    truths: str,
    protocol: BoundaryProtocol,
    outputs: Outputs,
    truth: Truth = "boundaries",
    skip_missing: bool = False,
    workers: int | None = None,
) -> dict[str, Any]:
    """Score folders of boundary maps, print odsF, OIS-F and AP, write the outputs, return all scores."""
    for figure in filter(None, (outputs.plot, outputs.worst)):
        require_format(figure)
    systems = dict(map(_read_scores, map(Path, outputs.compare)))
    result = evaluate_folders(predictions, truths, protocol, truth, skip_missing, workers, sys.stderr.isatty())
    scores, name, images = result.scores, Path(predictions).absolute().name, len(result.pairs)
    different = [other for other, theirs in systems.items() if theirs.protocol != protocol]
    for remark in (*result.remarks, *(f"{other} was scored as {systems[other].protocol}" for other in different)):
        print(f"warning: {remark}", file=sys.stderr)
    print(
        f"odsF {scores.ods_f:.4f} at {scores.ods_threshold:.3f}, OIS-F {scores.ois_f:.4f}, AP {scores.ap:.4f} "
        f"({images} image{'s' * (images != 1)}; {protocol})",
        file=sys.stderr,
    )
    if outputs.plot:
        plot_precision_recall({name: scores, **systems}, outputs.plot, outputs.human)
    if outputs.csv:
        write_image_scores(result, outputs.csv)
    if outputs.worst:
        draw_worst(result, outputs.worst)
    if outputs.write_bsds:
        write_bsds(result, outputs.write_bsds)
    content = {"name": name, **asdict(scores), "images": images, "remarks": result.remarks}
    return json.loads(json.dumps(content))


def _read_scores(path: Path) -> tuple[str, BoundaryScores]:
    """Return the name and the scores of another system that `atrc boundaries --json` wrote."""
    try:
        content = _tuples(json.loads(path.read_text(encoding="utf-8")))
        protocol = BoundaryProtocol(**content["protocol"])
        fields = BoundaryScores.__dataclass_fields__.keys()
        return content["name"], BoundaryScores(**{key: content[key] for key in fields} | {"protocol": protocol})
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not written by atrc boundaries --json ({first_line(error)})") from None


def _tuples(content: dict[str, Any]) -> dict[str, Any]:
    """Return what JSON made of dicts and tuples, as these again."""
    return {
        key: tuple(value) if isinstance(value, list) else _tuples(value) if isinstance(value, dict) else value
        for key, value in content.items()
    }
