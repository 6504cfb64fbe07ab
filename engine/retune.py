"""Re-tuning: from a drift signal to one order for one component, within a budget.

Owns the decision only: it is a pure function of the drift records that it has seen, so the same log gives the same
orders, in a replay as in the Faust agent. The order goes to the control topic; the shard carries it out at a barrier.

Not obvious: the cool-down is in event time, and the memory is bounded: the series longest without drift is forgotten
first, which can only allow an order earlier.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from engine.errors import BadSample
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
        """The order that answers a `graft.drift/1` record; None where there is nothing to do or the budget is spent.

        Raises BadSample (`drift`) for a record that is not whole; it costs the series nothing.
        """
        if drift.get("kind") != "level":
            return None
        try:
            return self._order_for(drift)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise BadSample("drift", f"drift {drift.get('id')!r} lacks what an order needs: {error!r}") from error

    def _order_for(self, drift: Mapping[str, Any]) -> dict[str, Any] | None:
        series, at_ms = str(drift["series"]), int(drift["at_ms"])
        times = [t for t in self._orders.pop(series, []) if at_ms - t < DAY_MS]
        self._orders[series] = times  # newest last
        if times and (at_ms - times[-1] < COOL_DOWN_MS or len(times) >= ORDERS_A_DAY):
            return None
        order = _relevel(drift)
        times.append(at_ms)
        while len(self._orders) > MOST_SERIES:
            self._orders.pop(next(iter(self._orders)))
        return order


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError(f"{number} is not finite")
    return number


def _relevel(drift: Mapping[str, Any]) -> dict[str, Any]:
    before, after = drift["before"], float(drift["after"]["level"])
    origin = drift["follows"][0]
    params = {
        "shift": _finite(after - float(before["level"])),
        "mean": _finite(float(before["mean"])),
        "sd": _finite(float(before["sd"])),
        "season_level": _finite(float(before["season_level"])),
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
