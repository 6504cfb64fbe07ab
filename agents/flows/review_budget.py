"""How many questions people are asked: so many an hour, and as many for each team where a label names teams.

Owns the times of the last questions of each team. Pure event time. Not obvious: it counts the questions of the past
hour instead of filling a bucket, so that what is left follows from the set of questions that were asked, in whatever
order they are read again after a restart. Less than one an hour is one in so many hours.
"""

from __future__ import annotations

import heapq
import re

HOUR_MS = 3_600_000
#: Teams that have a budget of their own; whoever comes later shares that of the series without a team.
MOST_TEAMS = 100
NEVER = 1 << 62
#: Less than one question in so many hours, ten years, is none.
RAREST_H = 87_600.0


class Budget:
    """per_hour: questions of one team. team_label: the label of a series that names its team; "": there is one team."""

    def __init__(self, *, per_hour: float, team_label: str = "") -> None:
        self._most = max(1, int(per_hour))
        self._is_none = per_hour <= 1.0 / RAREST_H
        self._span_ms = NEVER if self._is_none else int(self._most / per_hour * HOUR_MS)
        # The value as the canonical text of a series has it; quotes in it are escaped.
        self._team = re.compile(rf'[{{,]{re.escape(team_label)}="((?:[^"\\]|\\.)*)"') if team_label else None
        self._asked: dict[str, list[int]] = {"": []}

    def team_of(self, series: str) -> str:
        """Whose questions these are; "" for nobody's in particular."""
        found = self._team.search(series) if self._team else None
        team = found.group(1) if found else ""
        if team not in self._asked:
            if len(self._asked) > MOST_TEAMS:
                return ""
            self._asked[team] = []
        return team

    def spend(self, team: str, at_ms: int) -> None:
        """A question was asked."""
        times = self._asked[team]
        heapq.heappush(times, at_ms)
        while len(times) > self._most:
            heapq.heappop(times)

    def free_ms(self, team: str) -> int:
        """From when on the next question may be asked; 0: at once, NEVER: there is no budget."""
        if self._is_none:
            return NEVER
        times = self._asked[team]
        return times[0] + self._span_ms if len(times) >= self._most else 0
