"""Shadows: a re-tune on trial. The setting that it would lead to, and the one there is, forecast the same samples.

Owns the trials of re-tunes: their beginning at a barrier, the bets on both settings, and what follows - kept, reverted,
and for a day after it was kept rolled back, if the setting before proves right after all. Knows the settings only as
numbers (`engine/diagnosis.py`) and what is done as an action of a table (`engine/retunes.py`).

A bet is settled at each sample, on the difference of both settings' loss, cut; whose wealth is a hundred times
what it was has been proven with an error of a hundredth at most, at whatever sample one looks (as `engine/evidence.py`,
where the sources are). Both settings stand still meanwhile: what the models learn in between would let each pass.

Not obvious, three things. (1) The stretch of the log ends where a trial has seen its next EVERY samples, so a decision
falls at the same sample however the log was cut, and the hot path knows nothing of trials. (2) Of an outage the new
level is proven within minutes, as that of a deploy is. But when it ends, the setting before is proven in as few; all
that was touched is then put back, bit for bit, and that action is barred for the series for a day. (3) Columns are
kept with the trial, not with the rows: at most MOST trials go on in a shard.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from engine import diagnosis, retunes
from engine.batch import Batch
from engine.columns import Array
from engine.components import recent, season
from engine.components.bets import NEW, OLD, bet
from engine.diagnosis import Setting
from engine.errors import SnapshotError
from engine.evidence import PROOF, STAKES
from engine.fold import LEARNED, SCORED_ONLY
from engine.roster import Roster
from engine.snapshot import json_column, read_json_column
from engine.state import Marks

#: Samples between two decisions: of a trial, and of what is on probation.
EVERY, EVERY_KEPT = 4, 8
#: The proof that keeps a re-tune, and the one that undoes it: what is kept is kept for long. Samples after which a
#: trial without proof has failed. Probation: event time.
PROOF_NEW, PROOF_BACK = 100.0, 1e4
MOST_TRIED, PROBATION_MS = 160, 86_400_000
#: Trials and probations of a shard; series for which an action is barred, and for how long.
MOST, MOST_BARRED, BARRED_MS = 64, 1000, 86_400_000
_KEPT = "it forecasts better, and that is proven"
SERIES_COLUMN = "text.shadows"


class Refused(Exception):  # noqa: N818  # an answer, and no error
    """Why a re-tune that makes sense is not tried now."""


class Finding(NamedTuple):
    """What has become of a re-tune. what: kept | reverted | rolled_back | settled | superseded."""

    what: str
    shadow: Shadow
    because: str


@dataclass(slots=True)
class Shadow:
    """One re-tune. settings (2, 5): mean, sd, level, sigma, persistence, of the old and the new; shapes (2, 96); wealth
    (2, stakes): ln, of bets on the old, the new; losses, surprises (2,): sums over samples. saved: what there was
    before it was kept; None while it is on trial."""

    order: dict[str, Any]
    series: str
    entity: str
    action: str
    number: float
    began_ms: int
    source: int
    settings: Array
    shapes: Array
    wealth: Array = field(default_factory=lambda: np.zeros((2, len(STAKES))))
    losses: Array = field(default_factory=lambda: np.zeros(2))
    surprises: Array = field(default_factory=lambda: np.zeros(2))
    samples: int = 0
    saved: dict[str, dict[str, Array]] | None = None

    @property
    def component(self) -> str:
        """The component that it is about."""
        return retunes.ACTIONS[self.action].component

    @property
    def every(self) -> int:
        """Samples between two decisions."""
        return EVERY if self.saved is None else EVERY_KEPT

    def setting(self, version: int) -> Setting:
        """The old or the new setting."""
        mean, sd, level, sigma, rho = self.settings[version].tolist()
        return Setting(mean, sd, level, sigma, self.shapes[version].astype(np.float64), rho)

    def proof(self, version: int) -> float:
        """e-value for one setting against the other."""
        return float(np.exp(np.minimum(self.wealth[version], 700.0)).mean())

    def evidence(self) -> dict[str, Any]:
        """For a record."""
        count = max(self.samples, 1)
        return {
            "samples": self.samples,
            "proof_new": round(min(self.proof(NEW), 1e6), 4),
            "proof_old": round(min(self.proof(OLD), 1e6), 4),
            "loss_old": round(float(self.losses[OLD]) / count, 6),
            "loss_new": round(float(self.losses[NEW]) / count, 6),
            "surprises_old": int(self.surprises[OLD]),
            "surprises_new": int(self.surprises[NEW]),
        }


class Shadows:
    """The trials of a shard, by (series, component), oldest first. barred: (entity, until) by (series, component)."""

    def __init__(self) -> None:
        self.trials: dict[tuple[str, str], Shadow] = {}
        self.barred: dict[tuple[str, str], tuple[str, int]] = {}

    def __len__(self) -> int:
        return len(self.trials)

    def begin(
        self, roster: Roster, row: int, order: Mapping[str, Any], wanted: tuple[str, float, Setting], *, now_ms: int
    ) -> Shadow:  # fmt: skip
        """Put a re-tune on trial. Refused if there is one of that component already, or it is barred.

        wanted: what `retunes.read` gives for the order; an action that answers a kind of change.
        """
        action, number, known = wanted
        series = roster.names[row]
        entity = roster.entities[int(roster.rows.link.entity[row])]
        component = retunes.ACTIONS[action].component
        place = (series, component)
        _, until_ms = self.barred.get(place, ("", -1))
        if now_ms < until_ms:
            raise Refused(f"the {component} of {series} was rolled back; until {until_ms} ms it is left alone")
        if place in self.trials and self.trials[place].saved is None:
            raise Refused(f"a re-tune of the {component} of {series} is on trial already; one at a time")
        self.trials.pop(place, None)
        own = diagnosis.setting_of(roster, row, is_before=bool(roster.rows.change.run[row]))
        shape = diagnosis.filled(own.shape)
        old = known._replace(sigma=own.sigma, persistence=own.persistence, shape=shape)
        if component not in ("level", "scale"):
            old = own._replace(shape=shape)
        new = diagnosis.moved(old, str(retunes.ACTIONS[action].kind), number)
        shadow = Shadow(
            dict(order), series, entity, action, number, now_ms, _source(roster, row),
            np.array([_numbers(one) for one in (old, new)]), np.array([one.shape for one in (old, new)], np.float32),
        )  # fmt: skip
        self.trials[place] = shadow
        return shadow

    def room(self) -> list[Finding]:
        """End the oldest probations, so that there is room for one trial more. Refused if all are on trial."""
        found = []
        while len(self.trials) >= MOST:
            oldest = next((place for place, one in self.trials.items() if one.saved is not None), None)
            if oldest is None:
                raise Refused(f"{MOST} re-tunes are on trial in this shard; one more has to wait")
            found.append(Finding("settled", self.trials.pop(oldest), "it made room for another"))
        return found

    def stop(self, roster: Roster, batch: Batch, begin: int, until: int) -> int:
        """Where the stretch from `begin` on ends: at `until`, or where the first trial has seen its next samples."""
        for shadow in self.trials.values():
            at = np.flatnonzero(batch.row[begin:until] == roster.row_of(shadow.series))
            left = shadow.every - shadow.samples % shadow.every
            if len(at) >= left:
                until = begin + int(at[left - 1]) + 1
        return until

    def follow(self, roster: Roster, batch: Batch, begin: int, end: int, marks: Marks, offset_ms: int) -> list[Finding]:
        """Settle the bets on the samples [begin, end), which have been folded, and decide what is due."""
        found = []
        for place, shadow in tuple(self.trials.items()):
            row = roster.row_of(shadow.series)
            at = begin + np.flatnonzero(batch.row[begin:end] == row)
            # Those that have a value, of which what lies in a window is not to be learned.
            at = at[(marks.outcome[at] == LEARNED) | ((marks.outcome[at] == SCORED_ONLY) & ~np.isnan(marks.off[at]))]
            is_learned = marks.outcome[at] == LEARNED
            if not is_learned.any():
                continue
            before = shadow.samples // shadow.every
            _settle(roster, row, shadow, is_learned, int(batch.ts_ms[at[-1]]), offset_ms)
            if shadow.samples // shadow.every != before:
                finding = self._decide(roster, row, place, int(batch.ts_ms[at[-1]]), offset_ms)
                found += [finding] if finding else []
        return found

    def _decide(
        self, roster: Roster, row: int, place: tuple[str, str], now_ms: int, offset_ms: int
    ) -> Finding | None:  # fmt: skip
        shadow = self.trials[place]
        if shadow.source != _source(roster, row):
            del self.trials[place]
            return Finding("superseded", shadow, "the entity goes on with its other version")
        old, new = shadow.proof(OLD), shadow.proof(NEW)
        if shadow.saved is not None:
            if old >= PROOF_BACK:
                return self._roll_back(roster, row, place, now_ms)
            if now_ms - shadow.began_ms >= PROBATION_MS:
                del self.trials[place]
                return Finding("settled", shadow, "it has stood for a day")
            return None
        if new >= PROOF_NEW:
            return self._keep(roster, row, shadow, now_ms, offset_ms)
        if old >= PROOF or shadow.samples >= MOST_TRIED:
            del self.trials[place]
            why = "what there is forecasts better" if old >= PROOF else f"no proof within {MOST_TRIED} samples"
            return Finding("reverted", shadow, why)
        return None

    def _keep(self, roster: Roster, row: int, shadow: Shadow, now_ms: int, offset_ms: int) -> Finding:
        """Carry it out, with what the samples of the trial say of its kind and number."""
        old = shadow.setting(OLD)
        found = diagnosis.diagnose(roster, row, old, last_ms=now_ms, offset_ms=offset_ms)
        kind, number = str(retunes.ACTIONS[shadow.action].kind), shadow.number
        if found.kind in retunes.ANSWER and self._is_free(shadow, retunes.ANSWER[found.kind]):
            kind, number = found.kind, found.number
        finding = Finding("kept", replace(_copy(shadow), action=retunes.ANSWER[kind], number=number), _KEPT)
        del self.trials[shadow.series, shadow.component]
        shadow.action, shadow.number = retunes.ANSWER[kind], number
        new = diagnosis.moved(old, kind, number)
        shadow.settings[NEW], shadow.shapes[NEW] = _numbers(new), new.shape.astype(np.float32)
        shadow.saved = retunes.save(roster, row)
        retunes.do(roster, row, shadow.action, number, old)
        shadow.began_ms = now_ms
        shadow.wealth[:], shadow.losses[:], shadow.surprises[:], shadow.samples = 0.0, 0.0, 0.0, 0
        self.trials[shadow.series, shadow.component] = shadow
        return finding

    def _is_free(self, shadow: Shadow, action: str) -> bool:
        """May a trial end as that action, or is the component that it is about on a trial of its own?"""
        return self.trials.get((shadow.series, retunes.ACTIONS[action].component), shadow) is shadow

    def before_another(self, roster: Roster, row: int, action: str, now_ms: int) -> Finding | None:
        """Roll back what is on probation, if another re-tune is ordered while what was before it seems right again.

        Such is the end of an outage: a change for whoever has followed it, and none for who has not.
        """
        place = (roster.names[row], retunes.ACTIONS[action].component)
        shadow = self.trials.get(place)
        if shadow is None or shadow.saved is None or shadow.proof(OLD) < PROOF:
            return None
        return self._roll_back(roster, row, place, now_ms)

    def _roll_back(self, roster: Roster, row: int, place: tuple[str, str], now_ms: int) -> Finding:
        shadow = self.trials.pop(place)
        retunes.undo(roster, row, shadow.saved or {})
        self._bar(place, shadow.entity, now_ms + BARRED_MS)
        return Finding("rolled_back", shadow, "what was before it forecasts better again")

    def _bar(self, place: tuple[str, str], entity: str, until_ms: int) -> None:
        self.barred.pop(place, None)
        self.barred[place] = (entity, until_ms)
        while len(self.barred) > MOST_BARRED:
            self.barred.pop(next(iter(self.barred)))

    def export(self) -> dict[str, Array]:
        """As one column of JSON; nothing where nothing is on trial or barred."""
        if not (self.trials or self.barred):
            return {}
        barred = [[*place, *of] for place, of in self.barred.items()]
        return {SERIES_COLUMN: json_column([[_out(one) for one in self.trials.values()], barred])}

    @staticmethod
    def restore(arrays: Mapping[str, Array]) -> Shadows:
        """What `export` gave; SnapshotError where it is not that."""
        shadows = Shadows()
        if SERIES_COLUMN not in arrays:
            return shadows
        try:
            trials, barred = read_json_column(arrays[SERIES_COLUMN])
            for one in trials:
                shadow = _in(one)
                shadows.trials[shadow.series, shadow.component] = shadow
            shadows.barred = {(series, part): (entity, int(until)) for series, part, entity, until in barred}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SnapshotError(f"its trials of re-tunes cannot be read ({error!r}); use an older snapshot") from error
        return shadows


def _settle(roster: Roster, row: int, shadow: Shadow, is_learned: Array, last_ms: int, offset_ms: int) -> None:
    """is_learned (n,): of the newest n values of the series, which are to be bet on."""
    times, values = recent.window(roster.rows.recent, row, last_ms)
    count = min(len(is_learned), len(values))
    first = max(len(values) - count - 1, 0)
    times, values = times[first:], values[first:]
    if len(values) > count:
        step = float(roster.rows.presence.step_ms[row])
        near = np.concatenate([[False], np.diff(times) <= 3.0 * step if step > 0.0 else np.ones(len(times) - 1, bool)])
        slots = diagnosis.slots_of(times, offset_ms)
        bet(
            values, slots, near, np.append(False, is_learned[-count:]), shadow.settings, shadow.shapes,
            STAKES, shadow.wealth, shadow.losses, shadow.surprises, -np.inf if shadow.saved is None else 0.0,
        )  # fmt: skip
    shadow.samples += int(np.count_nonzero(is_learned))


def _source(roster: Roster, row: int) -> int:
    return int(roster.ents.seed.source[roster.rows.link.entity[row]])


def _numbers(one: Setting) -> list[float]:
    return [one.mean, one.sd, one.level, one.sigma, one.persistence]


def _copy(shadow: Shadow) -> Shadow:
    return replace(shadow, **{name: getattr(shadow, name).copy() for name in _ARRAYS})


_PLAIN = ("order", "series", "entity", "action", "number", "began_ms", "source", "samples")
_ARRAYS = {"settings": np.float64, "shapes": np.float32, "wealth": np.float64, "losses": np.float64,
           "surprises": np.float64}  # fmt: skip


def _out(shadow: Shadow) -> dict[str, Any]:
    told = {name: getattr(shadow, name) for name in _PLAIN}
    told |= {name: _text(getattr(shadow, name)) for name in _ARRAYS}
    told["saved"] = shadow.saved and {
        part: {name: [array.dtype.str, list(array.shape), _text(array)] for name, array in columns.items()}
        for part, columns in shadow.saved.items()
    }
    return told


def _in(told: Mapping[str, Any]) -> Shadow:
    arrays: dict[str, Any] = {name: _array(told[name], dtype) for name, dtype in _ARRAYS.items()}
    shapes = {"settings": (2, 5), "shapes": (2, season.SLOTS), "wealth": (2, len(STAKES))}
    arrays |= {name: arrays[name].reshape(shape) for name, shape in shapes.items()}
    saved = told["saved"] and {
        part: {name: _array(data, np.dtype(dtype)).reshape(shape) for name, (dtype, shape, data) in columns.items()}
        for part, columns in told["saved"].items()
    }
    if told["action"] not in retunes.ACTIONS:
        raise ValueError(f"{told['action']!r} is no action")
    return Shadow(**{name: told[name] for name in _PLAIN}, **arrays, saved=saved or None)


def _text(array: Array) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def _array(text: str, dtype: Any) -> Array:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype).copy()
