"""Re-tuning: from a drift signal to one order for one component, within a budget.

Owns the decision only: it is a pure function of the drift records that it has seen, so the same log gives the same
orders, in a replay as in the Faust agent. The order goes to the control topic; the shard carries it out at a barrier.

Not obvious: the cool-down is in event time, and the memory is bounded: the series longest without drift is forgotten
first, which can only allow an order earlier.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.series import stable_id

#: One re-levelling of a series an hour: a series that moves more often has no level to follow.
COOL_DOWN_MS = 3_600_000
#: After this many orders within a day the series is left alone, or a fault would be followed wherever it goes.
ORDERS_A_DAY, DAY_MS = 6, 86_400_000
MOST_SERIES = 100_000


class Tuner:
    """Decides about each drift record once. State: the times of the last orders of each series."""

    def __init__(self) -> None:
        self._orders: dict[str, list[int]] = {}

    def order_for(self, drift: Mapping[str, Any]) -> dict[str, Any] | None:
        """The order that answers a `graft.drift/1` record; None where there is nothing to do or the budget is spent."""
        if drift.get("kind") != "level":
            return None
        series, at_ms = str(drift["series"]), int(drift["at_ms"])
        times = [t for t in self._orders.pop(series, []) if at_ms - t < DAY_MS]
        self._orders[series] = times
        if times and (at_ms - times[-1] < COOL_DOWN_MS or len(times) >= ORDERS_A_DAY):
            return None
        # First the order: a drift record that is not whole raises here, and costs the series nothing.
        order = _relevel(drift)
        times.append(at_ms)
        while len(self._orders) > MOST_SERIES:
            self._orders.pop(next(iter(self._orders)))
        return order


def _relevel(drift: Mapping[str, Any]) -> dict[str, Any]:
    origin = drift["follows"][0]
    before, after = drift["before"], float(drift["after"]["level"])
    params = {
        "shift": after - float(before["level"]),
        "mean": float(before["mean"]),
        "sd": float(before["sd"]),
        "season_level": float(before["season_level"]),
    }
    return {
        "schema": "graft.order/1",
        "id": stable_id("order", drift["id"]),
        "at_ms": drift["at_ms"],
        "environment": drift.get("environment"),
        "kind": "retune",
        "target": {
            "topic": origin["topic"],
            "partition": origin["partition"],
            "series": drift["series"],
            "entity": drift["entity"],
        },
        "component": "level",
        "params": params,
        "because": f"drift {drift['id']}: {drift['because']}",
        "follows": [*drift["follows"]],
    }
