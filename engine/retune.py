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
from engine.retunes import ACTIONS, ANSWER
from engine.series import stable_id

#: One re-levelling of a series an hour: a series that moves more often has no level to follow.
COOL_DOWN_MS = 3_600_000
#: After this many orders within a day the series is left alone, or a fault would be followed wherever it goes.
ORDERS_A_DAY, DAY_MS = 6, 86_400_000
MOST_SERIES = 100_000
#: A factor of noise is tried at this power of what it seems.
SHRUNK = 0.75


class Tuner:
    """Decides about each drift record once. State: the times of the last orders of each series."""

    def __init__(self) -> None:
        self._orders: dict[str, list[int]] = {}

    def order_for(self, drift: Mapping[str, Any]) -> dict[str, Any] | None:
        """The order that answers a `graft.drift/1` record; None where there is nothing to do or the budget is spent.

        Raises BadSample (`drift`) for a record that is not whole; it costs the series nothing.
        """
        if drift.get("kind") not in ANSWER:
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
        order = _retune(drift, ANSWER[drift["kind"]])
        if order is not None:
            times.append(at_ms)
        while len(self._orders) > MOST_SERIES:
            self._orders.pop(next(iter(self._orders)))
        return order


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError(f"{number} is not finite")
    return number


def _retune(drift: Mapping[str, Any], action: str) -> dict[str, Any] | None:
    """The order: the action that answers the drift's kind, with the models from before it; None without its number."""
    before, after = drift["before"], drift["after"]
    origin = drift["follows"][0]
    params: dict[str, Any] = {"action": action}
    name = ACTIONS[action].number
    if name == "shift":
        params["shift"] = _finite(float(after["level"]) - float(before["level"]))
    elif name is not None:
        if name not in after:
            return None
        params[name] = _finite(float(after[name]))
        if action == "rescale":
            # Of what was picked because it was large, a part is chance.
            params[name] **= SHRUNK
    params |= {name: _finite(float(before[name])) for name in ("mean", "sd", "season_level")}
    if "sigma" in before:
        params["sigma"] = _finite(float(before["sigma"]))
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
        "component": ACTIONS[action].component,
        "params": params,
        "because": f"drift {drift['id']}: {drift['because']}",
        "follows": [*drift["follows"]],
    }
