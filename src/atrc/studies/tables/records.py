"""The numbers of a study in full, for other programs: one line for each, one line for each row, and nested."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from atrc.studies.costs import Costs
from atrc.studies.measured import Measured, Measurements, Spread

Record = dict[str, Any]
SAMPLED, TRAINED = "sampled", "trained"  # from the supergraph at the end of a search; after training


def long_records(measurements: Measurements, costs: Mapping[str, Costs]) -> list[Record]:
    """Return a record for every number: its row, seed, network, quantity and value."""
    records = []
    for row in measurements.rows:
        for stage, by_seed in ((SAMPLED, row.sampled), (TRAINED, row.results)):
            for seed, results in by_seed.items():
                for task, result in results.items():
                    what = {"quantity": task, "metric": result.metric, "unit": result.unit}
                    value = None if math.isnan(result.value) else result.value
                    records.append({"row": row.name, "seed": seed, "network": stage, **what, "value": value})
        for quantity, (unit, values) in _quantities(row, measurements, costs[row.name]).items():
            for seed, value in values.items():
                what = {"quantity": quantity, "metric": "", "unit": unit}
                records.append({"row": row.name, "seed": seed, "network": TRAINED, **what, "value": value})
    return records


def wide_records(measurements: Measurements, costs: Mapping[str, Costs]) -> list[Record]:
    """Return a record for every row: mean, sample standard deviation and number of values of every quantity."""
    records = []
    for row in measurements.rows:
        record: Record = {"row": row.name}
        for quantity, spread in _spreads(row, measurements, costs[row.name]):
            parts = asdict(spread) if spread else dict.fromkeys(("mean", "std", "n"))
            record |= {f"{quantity}_{key}": value for key, value in parts.items()}
        records.append(record | {f"paper_{key}": value for key, value in row.row.paper.items()})
    return records


def nested_records(measurements: Measurements, costs: Mapping[str, Costs]) -> list[Record]:
    """Return plain values for every row: of each quantity its spread and its value by seed."""
    long = long_records(measurements, costs)
    found = []
    for row in measurements.rows:
        own = [record for record in long if record["row"] == row.name]
        quantities = {
            quantity: (asdict(spread) if spread else {})
            | {"values": {r["seed"]: r["value"] for r in own if r["quantity"] == quantity and r["network"] == TRAINED}}
            for quantity, spread in _spreads(row, measurements, costs[row.name])
        }
        found.append({"row": row.name, "single_task": row.row.single_task, **quantities, "paper": row.row.paper})
    return found


def _spreads(row: Measured, measurements: Measurements, costs: Costs) -> Iterator[tuple[str, Spread | None]]:
    for column in measurements.columns:
        yield column.task, row.of_task(column.task)
    for quantity, (_, values) in _quantities(row, measurements, costs).items():
        yield quantity, Spread.of(map(float, values.values()))


def _quantities(row: Measured, measurements: Measurements, costs: Costs) -> dict[str, tuple[str, dict[int, Any]]]:
    """Return what is not a task's metric: unit and values by seed."""
    return {
        "delta_m": ("%", measurements.gains.get(row.name, {})),
        "parameters": ("", costs.parameters),
        "multiply_adds": ("", costs.multiply_adds),
        "seconds": ("s", row.seconds),
        "search_seconds": ("s", row.search_seconds),
    }
