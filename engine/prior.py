"""Prior: what a source environment lends to series that a shard sees for the first time.

Owns the lendable part of a distilled snapshot, by metric class of the target, with the strength of each component in
pseudo-samples, and the act of seeding a row with it. A level is never lent: it is the target's own from the first
sample on. Matching, planning and reporting are in `transfer/`, which also makes the arrays that this file reads.

Not obvious: the prior is part of the state. A shard that is restored after a crash must lend the same things to
series that appear later, or the state would no longer be the fold of its log. Hence a prior is never changed, one
may serve many shards, and what was lent is read from the columns of the roster, not counted here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.columns import Array
from engine.components import block, entity, level, season, tail, trial
from engine.components.factory import factory
from engine.errors import SnapshotError
from engine.series import Kind
from engine.snapshot import State, digest_of, read_json_column

if TYPE_CHECKING:
    from engine.roster import Roster

#: What a prior holds per metric class, per pair of classes, and once; with the dtype of each.
PER_CLASS = {
    "kind": np.uint8, "ratio": np.float32, "far": np.float32, "step": np.float32, "shape": np.float32,
    "sigma": np.float32, "tail": np.float32, "own": np.float32, "own_residual": np.float32, "sigmas": np.float32,
}  # fmt: skip
PER_PAIR = {"lagged": np.float32, "residual": np.float32}
_REST = {"pairs": np.int32, "strength": np.float32, "channels": np.float32, "entity_strength": np.float32}
#: Strengths in pseudo-samples, one row a class; a class of strength 0 everywhere is as good as cold.
STRENGTHS = ("scale", "season", "level", "structure", "tail")
SCALE, SEASON, LEVEL, STRUCTURE, TAIL = range(len(STRENGTHS))
#: Strengths of an entity: of its histograms; ticks that its joint model counts as learned; ticks of its age.
ENTITY_STRENGTHS = ("channels", "ticks", "age")
CHANNELS, TICKS, AGE = range(len(ENTITY_STRENGTHS))
#: So many metrics are half of many: the weight of what is borrowed grows with the number that are alike.
FEW = 9.0
#: An entity borrows what belongs to it as a whole when at least this share of its metrics does.
MAJORITY = 0.5
#: Where a prior comes from, in its arrays and in a summary; a text of at most so many characters, or unknown.
ORIGIN, MOST_TEXT = ("environment", "source"), 4096
#: What the numbers of an array lie between, both included; of all others between -MOST_NUMBER and MOST_NUMBER, whose
#: squares are float32 as well. A share may be above 1 by its rounding. How restless a class is (`step`, in ln) is the
#: only number that may be unknown, and is NaN then.
MOST_NUMBER = 1e18
BOUNDS = {
    "ratio": (1e-30, 1e9), "sigma": (1e-9, MOST_NUMBER), "far": (0.0, 1.0 + 1e-6), "step": (-100.0, 100.0),
    "tail": (0.0, MOST_NUMBER), "channels": (0.0, MOST_NUMBER), "strength": (0.0, 1e6), "entity_strength": (0.0, 1e6),
}  # fmt: skip
MAY_BE_UNKNOWN = "step"
#: ln of the largest step beside the size of a value that is lent. Real ones are below 1; from 7 on the first forecasts
#: could leave float32.
MOST_STEP = 5.0


class Prior:
    """Metric classes that something is lent to. arrays: see `transfer/lend`, which makes them.

    SnapshotError for whatever else: they may come from a topic, and what a state has taken in it keeps.
    """

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = dict(arrays)
        try:
            names = read_json_column(self._arrays["classes"])
            self._origin = _origin(read_json_column(self._arrays["origin"]))
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise ValueError("classes that are no list of names")
            self._class: dict[str, int] = {name: k for k, name in enumerate(names)}
            self._check(len(names))
            self._pair = {(int(i), int(j)): at for at, (i, j) in enumerate(self._arrays["pairs"])}
        except KeyError as error:
            raise SnapshotError(f"the prior in this state lacks {error}; cut the source snapshot again") from error
        except (TypeError, ValueError, IndexError) as error:
            raise SnapshotError(f"the prior in this state is none ({error}); cut the source snapshot again") from error

    def arrays(self) -> dict[str, Array]:
        """All that is lent, for the snapshot."""
        return dict(self._arrays)

    @cached_property
    def digest(self) -> str:
        """16 hex digits of what is lent, and to whom; the same in every shard."""
        return digest_of(State({"kind": "prior"}, self._arrays))

    def summary(self) -> dict[str, Any]:
        """For people and manifests: where it comes from, how many classes it knows, what an entity borrows in ticks."""
        lent = (round(float(strength), 4) for strength in self._arrays["entity_strength"])
        return {**self._origin, "classes": len(self._class), "entity": dict(zip(ENTITY_STRENGTHS, lent, strict=True))}

    def lend(self, roster: Roster, row: int, name: str) -> bool:
        """Seed a fresh row if its metric class is known and means the same; False: it stays cold."""
        k = self._class.get(name, -1)
        is_lent = k >= 0 and self._arrays["strength"][k].max() > 0 and self._agree_on_kind(roster, row, k)
        if is_lent:
            self._seed_series(roster, row, k)
            self._seed_structure(roster, row, k)
        return is_lent

    def lend_to_entity(self, roster: Roster, e: int) -> None:
        """What an entity borrows as a whole, set anew whenever series of it have come, while it has closed no tick."""
        if roster.ents.open.number[e] == 0:
            self._seed_entity(roster, e)

    def _seed_entity(self, roster: Roster, e: int) -> None:
        share = self._share_of(roster, e)
        if share == 0.0:
            return
        strength = self._arrays["entity_strength"]
        self._weaken(roster, e)
        if strength[TICKS] > 0:
            of = roster.blocks_of(e)
            roster.block.ticks[of] = np.floor(float(strength[TICKS]) * share * self._sureness(roster, e))
            # The joint model is solved at the end of the first tick, from what was lent.
            roster.block.solve_at[of] = roster.block.ticks[of] + 1.0
        if share >= MAJORITY and strength[CHANNELS] > 0:
            shares, rows = self._arrays["channels"], float(strength[CHANNELS])
            entity.seed(roster.ents.entity, e, shares=shares, rows=rows)
            roster.ents.entity.ticks[e] = float(strength[AGE])
        else:
            # Of the first that came most borrowed, of all no longer: which came together depends on cuts of batches.
            entity.begin(roster.ents.entity, e, factory())
            roster.ents.entity.ticks[e] = 0.0

    def _sureness(self, roster: Roster, e: int) -> float:
        """How far a likeness of so many metrics is more than chance: one metric is like many."""
        lent = len(self._lent_of(roster, e))
        return lent / (lent + FEW)

    def _weaken(self, roster: Roster, e: int) -> None:
        """Scale and structure weigh less where few metrics are alike. While an entity is fresh."""
        sureness = self._sureness(roster, e)
        for row in self._lent_of(roster, e):
            lent = self._arrays["strength"][self._of(roster, row)]
            if lent[SCALE] > 0:
                rows = np.float32(max(float(lent[SCALE]) * sureness, level.PRIOR_ROWS + 1.0))
                roster.rows.level.prior_rows[row] = rows
            if lent[STRUCTURE] > 0:
                part, j = self._place(roster, row)
                part["vectors"][[block.SEEN, block.AGE], j] = np.float32(lent[STRUCTURE] * sureness)

    def restlessness(self, classes: Sequence[str]) -> Array:
        """ln(step) of the source's class of each name, beside its size and beside the others, (n, 2); NaN: not lent."""
        own = np.append(self._arrays["step"].astype(np.float64), [[np.nan, np.nan]], axis=0)
        return np.asarray(own[[self._class.get(name, -1) for name in classes]])

    def channels_lent(self, roster: Roster, e: int) -> Array | None:
        """float64 (12, 40): the histograms that an entity began with, in ticks; None if they are the factory's."""
        rows = float(self._arrays["entity_strength"][CHANNELS])
        if self._share_of(roster, e) < MAJORITY or rows <= 0:
            return None
        return self._arrays["channels"].astype(np.float64) * rows

    def seeded_in(self, roster: Roster) -> int:
        """Series of a shard that were seeded, read from their columns: right after a restore as well."""
        return int(np.count_nonzero(roster.rows.level.prior_rows[: len(roster.names)] != level.PRIOR_ROWS))

    def borrowed(self, roster: Roster, row: int) -> dict[str, float]:
        """The same of one series."""
        return self.borrowed_of(roster, [row])[0]

    def borrowed_of(self, roster: Roster, rows: Sequence[int]) -> list[dict[str, float]]:
        """Of each series the share n0 / (n0 + n) of each component that still comes from the seed; empty if cold."""
        link, told = roster.rows.link, list[dict[str, float]]()
        # Both go through all that an entity or a block has: once for each of them, not for each series.
        sureness, parts = dict[int, float](), dict[int, dict[str, Array]]()
        for row in rows:
            b, e = int(link.block[row]), int(link.entity[row])
            if b < 0 or not self._is_seeded(roster, row):
                told.append({})
                continue
            if e not in sureness:
                sureness[e] = self._sureness(roster, e)
            if b not in parts:
                parts[b] = roster.part(b)
            told.append(self._borrowed(roster, row, parts[b], sureness[e]))
        return told

    def _borrowed(self, roster: Roster, row: int, part: dict[str, Array], sureness: float) -> dict[str, float]:
        k, j = self._class[roster.classes[row]], int(roster.rows.link.slot[row])
        lent = self._arrays["strength"][k].astype(np.float64)
        visits = roster.rows.season.visits[:, row].astype(np.float64)
        has_shape = roster.rows.trial.state[row] in (trial.ON, trial.KEPT)
        scale = float(roster.rows.level.prior_rows[row])
        structure = lent[STRUCTURE] * sureness
        shares = {
            "scale": scale / (scale + float(roster.rows.level.count[row])) if scale > level.PRIOR_ROWS else 0.0,
            "season": float(np.mean(lent[SEASON] / np.maximum(lent[SEASON] + visits, 1e-9))) * has_shape,
            "structure": structure / max(float(part["vectors"][block.SEEN, j]), structure, 1.0),
            "tail": lent[TAIL] / max(float(roster.rows.shown.mass[row]), lent[TAIL], 1.0),
        }
        return {name: round(float(share), 4) for name, share in shares.items() if share > 0.0}

    def _check(self, count: int) -> None:
        a = self._arrays
        pairs = len(a["pairs"])
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(PER_CLASS, (count,)) | {
            "step": (count, 2), "shape": (count, season.SLOTS), "tail": (count, tail.BINS),
            "own": (count, block.MOST_LAGS + 1), "sigmas": (count, 3), "lagged": (pairs, block.MOST_LAGS + 1),
            "residual": (pairs,), "pairs": (pairs, 2), "strength": (count, len(STRENGTHS)),
            "channels": (entity.HISTOGRAMS, tail.BINS),
            "entity_strength": (len(ENTITY_STRENGTHS),),
        }  # fmt: skip
        wrong = [name for name, shape in shapes.items() if a[name].shape != shape]
        wrong += [name for name, dtype in (PER_CLASS | PER_PAIR | _REST).items() if a[name].dtype != dtype]
        wrong += [name for name in shapes if not _is_within(a[name], name)]
        wrong += [] if not pairs or 0 <= a["pairs"].min() <= a["pairs"].max() < count else ["pairs"]
        wrong += ["classes"] * (len(self._class) != count)
        if wrong:
            raise SnapshotError(f"the prior in this state does not fit together ({', '.join(wrong)}); use an older one")

    def _agree_on_kind(self, roster: Roster, row: int, k: int) -> bool:
        """A gauge borrows from a gauge; a series of unknown kind takes the source's word for it."""
        theirs, kinds = int(self._arrays["kind"][k]), roster.rows.recipe.kind
        if theirs == Kind.COUNTER and kinds[row] == Kind.UNKNOWN:
            kinds[row] = Kind.COUNTER
        return (theirs == Kind.COUNTER) == (int(kinds[row]) == Kind.COUNTER)

    def _seed_series(self, roster: Roster, row: int, k: int) -> None:
        a, rows, lent = self._arrays, roster.rows, self._arrays["strength"][k]
        if lent[SCALE] > 0:
            far = float(a["far"][k])
            ratio, step = float(a["ratio"][k]), float(np.exp(min(float(a["step"][k, 0]), MOST_STEP)))
            level.seed(rows.level, row, ratio=ratio, step=step, far=far, rows=float(lent[SCALE]))
        if lent[SEASON] > 0:
            # Shrunk towards flat as by n0 visits against one, and not counted as visits: from the second sample on a
            # slot follows its own series, so a wrong shape costs one sample a slot and not a day.
            shape = a["shape"][k] * (float(lent[SEASON]) / (float(lent[SEASON]) + 1.0))
            season.seed(rows.season, row, shape=shape, sigma=float(a["sigma"][k]), rows=float(lent[LEVEL]))
            trial.seed(rows.trial, row)
        if lent[TAIL] > 0 and a["tail"][k].sum() > 0:
            rows.shown.counts[row] = tail.merge(a["tail"][k], float(lent[TAIL]))
            rows.shown.mass[row] = lent[TAIL]

    def _seed_structure(self, roster: Roster, row: int, k: int) -> None:
        """The metric's own past and what it has to do with those metrics of its block that borrow as well."""
        a = self._arrays
        if a["strength"][k, STRUCTURE] <= 0:
            return
        part, j = self._place(roster, row)
        block.seed_metric(part, j, a["sigmas"][k], float(a["strength"][k, STRUCTURE]))
        block.seed(part, j, j, a["own"][k], float(a["own_residual"][k]))
        b = int(roster.rows.link.block[row])
        for i in range(j):
            other = self._class.get(roster.classes[int(roster.block.member[b, i])], -1)
            for x, y, p in ((i, j, self._pair.get((other, k))), (j, i, self._pair.get((k, other)))):
                if p is not None:
                    block.seed(part, x, y, a["lagged"][p], float(a["residual"][p]))

    def _share_of(self, roster: Roster, e: int) -> float:
        """Share of an entity's metrics that borrow the joint structure."""
        strength = self._arrays["strength"]
        lent = [row for row in self._lent_of(roster, e) if strength[self._of(roster, row), STRUCTURE] > 0]
        return len(lent) / max(int(roster.ents.open.members[e]), 1)

    def _lent_of(self, roster: Roster, e: int) -> list[int]:
        """The series of an entity that borrow something."""
        members = [int(row) for b in roster.blocks_of(e) for row in roster.block.member[b, : roster.block.width[b]]]
        return [row for row in members if self._is_seeded(roster, row)]

    def _is_seeded(self, roster: Roster, row: int) -> bool:
        k = self._of(roster, row)
        if k < 0 or not self._arrays["strength"][k].max() > 0:
            return False
        return bool((self._arrays["kind"][k] == Kind.COUNTER) == (roster.rows.recipe.kind[row] == Kind.COUNTER))

    def _of(self, roster: Roster, row: int) -> int:
        return self._class.get(roster.classes[row], -1)

    def _place(self, roster: Roster, row: int) -> tuple[dict[str, Array], int]:
        return roster.part(int(roster.rows.link.block[row])), int(roster.rows.link.slot[row])


def _origin(value: object) -> dict[str, str | None]:
    """Where a prior comes from; ValueError for anything else, which would go on into records and manifests."""
    told = value if isinstance(value, dict) else {"": ""}
    for name, text in told.items():
        if name not in ORIGIN or not (text is None or (isinstance(text, str) and len(text) <= MOST_TEXT)):
            raise ValueError(f"an origin that is more than the texts {' and '.join(ORIGIN)}")
    return {name: told.get(name) for name in ORIGIN}


def _is_within(array: Array, name: str) -> bool:
    low, high = BOUNDS.get(name, (-MOST_NUMBER, MOST_NUMBER))
    is_known = (array >= float(np.float32(low))) & (array <= high)
    return bool((is_known | np.isnan(array)).all() if name == MAY_BE_UNKNOWN else is_known.all())
