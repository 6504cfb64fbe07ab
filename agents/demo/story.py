"""Story: one run of the demo, from the first sample to the score. All live parts meet here.

Owns what runs beside what (feeder, ears, twins, scripted reviewer) and what is known at any moment. Prints nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from agents import progress
from agents.demo import useful
from agents.demo.broker import QUIET, Places
from agents.demo.ears import Ears
from agents.demo.feeder import Feeder
from agents.demo.incidents import DEPLOY, SCRIPT, WOBBLE, in_slow_motion, schedule
from agents.demo.job import Job
from agents.demo.pager import Pager
from agents.demo.scoreboard import Heard, Score, score
from agents.demo.twins import Twins
from agents.demo.wire import on_wire
from agents.demo.world import STEP_MS, Fleet, Floats
from agents.label import record as label_record

#: The reviewer of the script: who, what and why.
REVIEWER, ANSWER, REASON = "demo-reviewer", "expected", "a load test that was announced"
#: Records that the slowest reader may be behind: two seconds of the fastest demo, half of what the broker keeps.
MOST_BEHIND = 20_000
#: The same in slow motion, in event minutes: a question lives two hours, and its answer must find it open.
SLOW_BEHIND_MIN = 80
#: Event time waits at most so long for an order to be carried out.
ROUND_S = 3.0
#: Minutes of the story that a question needs to be asked.
GATHER_MIN = 3.0
#: After the last sample, so long may the last alert take to come back.
SETTLE_S = 1.5


class Moment(NamedTuple):
    """What the screen shows. lag: records that the detector has not read; -1 unknown."""

    minute: int
    samples: int
    samples_per_s: float
    lag: int
    score: Score
    pages: int
    cold_false_pages: int


class Story:
    """`start()`, then look at `moment()` until `is_over()`, then `finish()`. tell(line): an event for the log."""

    def __init__(
        self, fleet: Fleet, values: Floats, *, places: Places, begin_ms: int, prior: Any,
        state_dir: Path, pager: Pager, tell: Callable[[str, Heard], None],
    ) -> None:  # fmt: skip
        self.fleet, self.values, self.places, self.begin_ms = fleet, values, places, begin_ms
        self._state_dir, self._pager, self._tell = state_dir, pager, tell
        self._stopping, self._feeding = threading.Event(), threading.Event()
        self._keys = {one.name: one.key for one in fleet.entities}
        self.twins = Twins(fleet, values, places=places, begin_ms=begin_ms, prior=prior, stopping=self._stopping)
        self.feeder = Feeder(
            fleet, on_wire(fleet, values), places=places, begin_ms=begin_ms,
            schedule=schedule(len(values), SCRIPT),
            is_held=self._is_held, stopping=self._feeding,
        )  # fmt: skip
        self.ears = Ears(
            bootstrap=places.bootstrap, prefix=places.prefix, sent_s=self.feeder.sent_s, on_record=self._on_record,
            stopping=self._stopping,
        )  # fmt: skip
        self._slow = in_slow_motion(len(values))
        self._jobs = (Job("twins", self.twins.read), Job("ears", self.ears.listen), Job("feeder", self.feeder.play))
        self._feeding_job = self._jobs[-1]
        self._read_records, self._read_at_s = 0, 0.0
        self._producer: Any = None
        #: What has an order on its way (an escalation, or an entity with drift), until when that is waited for, and
        #: from which minute of the story on.
        self._awaited: dict[str, tuple[float, float]] = {}
        self._rate = (time.monotonic(), 0, 0.0)

    def start(self) -> None:
        """Everything at once."""
        from confluent_kafka import Producer

        self._producer = Producer({"bootstrap.servers": self.places.bootstrap, "linger.ms": 0, **QUIET})
        for job in self._jobs:
            job.start()

    def is_over(self) -> bool:
        """Everything is sent and read. OutsideError when a part has failed."""
        for job in self._jobs:
            job.check()
        if self.is_feeding():
            return False
        return self.twins.records >= self.feeder.records and self.lag() == 0

    def is_feeding(self) -> bool:
        """There is still something to send."""
        return self._feeding_job.is_alive()

    def finish(self, *, patience_s: float = SETTLE_S) -> Score:
        """End all parts, once what is still on its way has arrived; the score."""
        self._feeding.set()
        deadline_s = time.monotonic() + patience_s
        while time.monotonic() < deadline_s and self.is_feeding():
            time.sleep(0.02)
        heard = -1
        while time.monotonic() < deadline_s and heard != len(self.ears.heard()):
            heard = len(self.ears.heard())
            time.sleep(0.3)
        self._stopping.set()
        for job in self._jobs:
            job.join(0.5)
        return self.score()

    def score(self) -> Score:
        """As it stands."""
        return score(self.ears.heard(), begin_ms=self.begin_ms, keys=self._keys, until_min=self.feeder.minute)

    def cold_score(self) -> Score:
        """What the cold twin would have scored; nobody re-tunes it."""
        return score(self.twins.cold_heard[:], begin_ms=self.begin_ms, keys=self._keys, until_min=self.feeder.minute)

    def moment(self) -> Moment:
        """As it stands, for the screen."""
        now_s, samples = time.monotonic(), self.feeder.samples
        then_s, before, rate = self._rate
        if now_s - then_s >= 1.0:
            rate = (samples - before) / (now_s - then_s)
            self._rate = (now_s, samples, rate)
        return Moment(
            self.feeder.minute, samples, rate, self.lag(), self.score(), self._pager.pages(),
            len(self.cold_score().false_pages),
        )  # fmt: skip

    def lag(self) -> int:
        """Records sent that the detector has not read, as it says itself four times a second."""
        return max(0, self.feeder.records - self._read())

    def usefulness(self) -> tuple[float | None, float | None]:
        """Event seconds until the seeded and the cold fleet were useful."""
        seen = self.twins.seen
        minutes = self.twins.next_minute
        both = [
            useful.masked(scores[:minutes], self.fleet, SCRIPT) for scores in (seen.seeded_scores, seen.cold_scores)
        ]
        if minutes < 2 * useful.FINAL_MIN:
            return None, None
        import numpy as np

        final = np.fmin(*(useful.final_score(scores) for scores in both))
        first, second = (useful.useful_s(useful.hourly(scores, final)) for scores in both)
        return first, second

    def _read(self) -> int:
        if time.monotonic() - self._read_at_s > 0.05:
            self._read_at_s = time.monotonic()
            found = progress.read_all(self._state_dir)
            self._read_records = sum(max(0, shard.next_offset) for one in found for shard in one.shards)
        return self._read_records

    def _is_held(self, records: int) -> bool:
        """Whether the feeder has to wait: for the detector, the twins, or for something to come round."""
        behind = max(records - self.twins.records, records - self._read())
        minute = min(self.feeder.minute, len(self._slow) - 1)
        most = SLOW_BEHIND_MIN * len(self.fleet.entities) if self._slow[minute] else MOST_BEHIND
        return behind > most or any(
            time.monotonic() < until_s and self.feeder.minute >= after_min
            for until_s, after_min in tuple(self._awaited.values())
        )

    def _on_record(self, heard: Heard) -> None:
        record = heard.value
        if heard.topic == "experiments" and record.get("order"):
            order = dict(record.get("order") or {})
            self.twins.obey(order)
            self._awaited.pop(str(dict(order.get("params") or {}).get("escalation")), None)
            self._awaited.pop(str(record.get("entity")), None)
        if heard.topic == "drift" and self._is_scripted(record, DEPLOY):
            self._await(str(record["entity"]))
        if heard.topic == "escalations" and record.get("state") == "opened" and self._is_scripted(record, WOBBLE):
            # The desk asks at the end of the minute, so that one has to come.
            self._await(str(record["escalation"]), after_min=self.feeder.minute + GATHER_MIN)
        is_asked = heard.topic == "escalations" and record.get("state") == "asked" and not record.get("about")
        if is_asked and self._is_scripted(record, WOBBLE):
            self._await(str(record["escalation"]))
            self._answer(record)
        self._tell(heard.topic, heard)

    def _await(self, name: str, *, after_min: float = 0.0) -> None:
        """An order is on its way: event time stops until it is carried out, as it would nearly do in life."""
        self._awaited[name] = (time.monotonic() + ROUND_S, after_min)

    def _is_scripted(self, record: Mapping[str, Any], kind: str) -> bool:
        """Whether a record is about an incident of that kind; the reviewer answers nothing else."""
        minute = (int(record["at_ms"]) - self.begin_ms) / STEP_MS
        return any(
            one.kind == kind
            and record.get("entity") == self._keys[one.entity]
            and one.window_min[0] <= minute <= one.window_min[1]
            for one in SCRIPT
        )

    def _answer(self, question: Mapping[str, Any]) -> None:
        import orjson

        label = label_record(
            answer=ANSWER, at_ms=int(question["at_ms"]), escalation=str(question["escalation"]), by=REVIEWER,
            reason=REASON, environment="demo",
        )  # fmt: skip
        self._producer.produce(
            f"{self.places.prefix}feedback", orjson.dumps(label), str(question["series"]).encode(), 0
        )
        self._producer.flush(1.0)
