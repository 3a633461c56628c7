"""The numbers of a study in full, for other programs: a record for each number, for each row, and nested."""

from __future__ import annotations

import math
from typing import Any

from atrc.studies.measured import COSTS, DELTA_M, TIMES, Measurements, Quantity

Record = dict[str, Any]
SAMPLED, TRAINED = "sampled", "trained"  # from the supergraph at the end of a search; after training


def quantities(measurements: Measurements) -> list[Quantity]:
    """Return everything that rows are measured by."""
    return [*measurements.columns, DELTA_M, *COSTS, *TIMES]


def long_records(measurements: Measurements) -> list[Record]:
    """Return a record for every number: its row, seed, network, quantity and value."""
    records = []
    for row in measurements.rows:
        sampled = [(seed, task, result) for seed, own in row.sampled.items() for task, result in own.items()]
        values = [(SAMPLED, s, Quantity(task, r.metric, r.unit), r.value) for s, task, r in sampled]
        values += [(TRAINED, s, q, value) for q in quantities(measurements) for s, value in row.of(q.name).items()]
        for network, seed, quantity, value in values:
            what = {"quantity": quantity.name, "metric": quantity.metric, "unit": quantity.unit}
            known = None if math.isnan(value) else value
            records.append({"row": row.name, "seed": seed, "network": network, **what, "value": known})
    return records


def wide_records(measurements: Measurements) -> list[Record]:
    """Return a record for every row: the summary of every quantity, and of its difference to the control."""
    records = []
    for row in measurements.rows:
        spreads = {q.name: row.spread(q.name) for q in quantities(measurements)}
        if measurements.control:
            compared = [q.name for q in (*measurements.columns, DELTA_M)]
            spreads |= {f"{name}_vs_control": measurements.difference(row, name) for name in compared}
        record: Record = {"row": row.name}
        for name, spread in spreads.items():
            parts = spread.to_dict() if spread else dict.fromkeys(("mean", "std", "n", "interval"))
            record |= {f"{name}_{key}": value for key, value in parts.items()}
        records.append(record | {f"paper_{key}": value for key, value in row.row.paper.items()})
    return records


def nested_records(measurements: Measurements) -> list[Record]:
    """Return plain values for every row: the summary of every quantity, its values by seed, and its difference."""
    found = []
    for row in measurements.rows:
        record: Record = {"row": row.name, "single_task": row.row.single_task, "paper": row.row.paper}
        for quantity in quantities(measurements):
            spread, difference = row.spread(quantity.name), measurements.difference(row, quantity.name)
            values = {seed: None if math.isnan(value) else value for seed, value in row.of(quantity.name).items()}
            record[quantity.name] = (spread.to_dict() if spread else {}) | {"values": values}
            if difference:
                record[quantity.name]["vs_control"] = difference.to_dict()
        found.append(record)
    return found
