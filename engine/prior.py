"""Prior: what a source environment lends to series that a shard sees for the first time.

Owns the lendable part of a distilled snapshot, by metric class of the target, with the strength of each component in
pseudo-samples, and the act of seeding a row with it. A level is never lent: it is the target's own from the first
sample on. Matching, planning and reporting are in `transfer/`, which also makes the arrays that this file reads.

Not obvious: the prior is part of the state. A shard that is restored after a crash must lend the same things to
series that appear later, or the state would no longer be the fold of its log. Hence a prior is never changed, one
may serve many shards, and what was lent is read from the columns of the roster, not counted here.

Not obvious either: hundreds of series may begin at one moment, so all is done for many rows at once; a component's
`seed` consists of assignments and takes an array of rows as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache, cached_property
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
#: An enumeration is slow to look up.
COUNTER, UNKNOWN = int(Kind.COUNTER), int(Kind.UNKNOWN)


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

    def lend(self, roster: Roster, rows: Array) -> Array:
        """Seed the fresh rows whose metric class is known and means the same; which those are, bool. Others stay cold.

        All rows of a call have got their places before.
        """
        k = self._numbers(roster, rows)
        # A gauge borrows from a gauge; a series of unknown kind takes the source's word for it.
        kinds = roster.rows.recipe.kind
        kinds[rows[self._lends[k] & self._counts[k] & (kinds[rows] == UNKNOWN)]] = COUNTER
        is_lent = self._is_seeded(roster, rows)
        self._seed_series(roster, rows[is_lent], k[is_lent])
        self._seed_structure(roster, rows[is_lent], k[is_lent])
        return is_lent

    def lend_to_entities(self, roster: Roster, es: Array) -> None:
        """What entities borrow as a whole, set anew whenever series of one have come, while it has closed no tick."""
        es = es[roster.ents.open.number[es] == 0]
        which, rows = self._lent_of(roster, es)
        sureness, share = _sureness(which, len(es)), self._share(roster, es, which, rows)
        is_lent = share > 0.0
        self._weaken(roster, rows[is_lent[which]], sureness[which[is_lent[which]]])
        strength = self._arrays["entity_strength"].astype(np.float64)
        if strength[TICKS] > 0:
            owner, of = roster.blocks_of_all(es)
            owner, of = owner[is_lent[owner]], of[is_lent[owner]]
            roster.block.ticks[of] = np.floor(strength[TICKS] * share[owner] * sureness[owner])
            # The joint model is solved at the end of the first tick, from what was lent.
            roster.block.solve_at[of] = roster.block.ticks[of] + 1.0
        is_whole = is_lent & (share >= MAJORITY) & (strength[CHANNELS] > 0)
        self._seed_histograms(roster, es[is_whole], es[is_lent & ~is_whole])

    def _seed_histograms(self, roster: Roster, lent: Array, own: Array) -> None:
        columns, strength = roster.ents.entity, self._arrays["entity_strength"]
        if len(lent):
            entity.seed(columns, _many(lent), shares=self._arrays["channels"], rows=float(strength[CHANNELS]))
            columns.ticks[lent] = strength[AGE]
        if len(own):
            # Of the first that came most borrowed, of all no longer: which came together depends on cuts of batches.
            entity.begin(columns, _many(own), factory())
            columns.ticks[own] = 0.0

    def _weaken(self, roster: Roster, rows: Array, sureness: Array) -> None:
        """Scale and structure weigh less where few metrics are alike. While an entity is fresh."""
        lent = self._arrays["strength"][self._numbers(roster, rows)]
        scale = np.maximum(lent[:, SCALE].astype(np.float64) * sureness, level.PRIOR_ROWS + 1.0)
        has_scale, has_structure = lent[:, SCALE] > 0, np.flatnonzero(lent[:, STRUCTURE] > 0)
        roster.rows.level.prior_rows[rows[has_scale]] = scale[has_scale]
        structure = lent[:, STRUCTURE] * sureness.astype(np.float32)
        for at, start, index in _by_capacity(roster, rows[has_structure]):
            of = has_structure[at]
            for vector in (block.SEEN, block.AGE):
                roster.pool[start + index["vectors"][vector, roster.rows.link.slot[rows[of]]]] = structure[of]

    def restlessness(self, roster: Roster, rows: Array) -> Array:
        """ln(step) of the source's class of each row, beside its size and beside the others, (n, 2); NaN: not lent."""
        return np.asarray(self._steps[self._numbers(roster, rows)])

    @cached_property
    def channels_lent(self) -> Array:
        """float64 (12, 40): the histograms that an entity of which `lends_channels` is true began with, in ticks."""
        arrays = self._arrays
        return np.asarray(arrays["channels"].astype(np.float64) * float(arrays["entity_strength"][CHANNELS]))

    def lends_channels(self, roster: Roster, es: Array) -> Array:
        """Which entities began with those, bool; others with the factory's."""
        if not self._arrays["entity_strength"][CHANNELS] > 0:
            return np.zeros(len(es), bool)
        return np.asarray(self._share(roster, es, *self._lent_of(roster, es)) >= MAJORITY)

    def seeded_in(self, roster: Roster) -> int:
        """Series of a shard that were seeded, read from their columns: right after a restore as well.

        By the lent step, which stays when the scale has thawed.
        """
        return int(np.count_nonzero(roster.rows.level.prior_step[: len(roster.names)]))

    def borrowed(self, roster: Roster, row: int) -> dict[str, float]:
        """The same of one series."""
        return self.borrowed_of(roster, np.array([row]))[0]

    def borrowed_of(self, roster: Roster, rows: Array) -> list[dict[str, float]]:
        """Of each series the share n0 / (n0 + n) of each component that still comes from the seed; empty if cold."""
        told: list[dict[str, float]] = [{} for _ in rows]
        has_borrowed = np.flatnonzero((roster.rows.link.block[rows] >= 0) & self._is_seeded(roster, rows))
        shares = self._shares(roster, rows[has_borrowed])
        for at, one in zip(has_borrowed.tolist(), zip(*shares.values(), strict=True), strict=True):
            told[at] = {name: round(share, 4) for name, share in zip(shares, one, strict=True) if share > 0.0}
        return told

    def _shares(self, roster: Roster, rows: Array) -> dict[str, list[float]]:
        """Of rows that have borrowed; 0: nothing, or nothing any more."""
        columns, lent = roster.rows, self._arrays["strength"][self._numbers(roster, rows)].astype(np.float64)
        entity_of = columns.link.entity[rows].tolist()
        number = {e: n for n, e in enumerate(dict.fromkeys(entity_of))}
        sureness = _sureness(self._lent_of(roster, np.array(list(number), np.int64))[0], len(number))
        structure = lent[:, STRUCTURE] * sureness[[number[e] for e in entity_of]]
        seen = np.empty(len(rows))
        for at, start, index in _by_capacity(roster, rows):
            seen[at] = roster.pool[start + index["vectors"][block.SEEN, columns.link.slot[rows[at]]]]
        state = columns.trial.state[rows]
        has_shape = np.flatnonzero((state == trial.ON) | (state == trial.KEPT))
        shape = np.zeros(len(rows))
        if len(has_shape):
            lent_shape = lent[has_shape, SEASON, None]
            visits = columns.season.visits[:, rows[has_shape]].T.astype(np.float64, order="C")
            shape[has_shape] = np.mean(lent_shape / np.maximum(lent_shape + visits, 1e-9), axis=1)
        scale, mass = columns.level.prior_rows[rows].astype(np.float64), columns.shown.mass[rows].astype(np.float64)
        told = {
            "scale": scale / (scale + columns.level.count[rows]) * (scale > level.PRIOR_ROWS),
            "season": shape,
            "structure": structure / np.maximum(np.maximum(seen, structure), 1.0),
            "tail": lent[:, TAIL] / np.maximum(np.maximum(mass, lent[:, TAIL]), 1.0),
        }
        return {name: shares.tolist() for name, shares in told.items()}

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

    def _seed_series(self, roster: Roster, rows: Array, k: Array) -> None:
        a, columns, lent = self._arrays, roster.rows, self._arrays["strength"][k].astype(np.float64)
        at = lent[:, SCALE] > 0
        of, step = k[at], np.exp(np.minimum(a["step"][k[at], 0].astype(np.float64), MOST_STEP))
        level.seed(
            columns.level, _many(rows[at]), ratio=_many(a["ratio"][of]), step=_many(step), far=_many(a["far"][of]),
            rows=_many(lent[at, SCALE]),
        )  # fmt: skip
        at = lent[:, SEASON] > 0
        # Shrunk towards flat as by n0 visits against one, and not counted as visits: from the second sample on a
        # slot follows its own series, so a wrong shape costs one sample a slot and not a day.
        shrunk = (lent[at, SEASON] / (lent[at, SEASON] + 1.0)).astype(np.float32)
        season.seed(
            columns.season, _many(rows[at]), shape=(a["shape"][k[at]] * shrunk[:, None]).T,
            sigma=_many(a["sigma"][k[at]]), rows=_many(lent[at, LEVEL]),
        )  # fmt: skip
        trial.seed(columns.trial, _many(rows[at]))
        at = (lent[:, TAIL] > 0) & (self._tails[k].sum(axis=1) > 0)
        columns.shown.counts[rows[at]], columns.shown.mass[rows[at]] = self._tails[k[at]], lent[at, TAIL]

    def _seed_structure(self, roster: Roster, rows: Array, k: Array) -> None:
        """The metrics' own past and what they have to do with those metrics of their block that borrow as well."""
        a, link = self._arrays, roster.rows.link
        is_lent = a["strength"][k, STRUCTURE] > 0
        rows, k = rows[is_lent], k[is_lent]
        for at, start, index in _by_capacity(roster, rows):
            mine, slot, pool = k[at], link.slot[rows[at]], roster.pool
            block.seed_metrics(pool, start, index, slot, a["sigmas"][mine], a["strength"][mine, STRUCTURE])
            block.seed(pool, start, index, (slot, slot), a["own"][mine], a["own_residual"][mine])
            new, other_slot = np.nonzero(np.arange(block.WIDEST) < slot[:, None])
            others = self._numbers(roster, roster.block.member[link.block[rows[at[new]]], other_slot])
            for one, two, places in (
                (others, mine[new], (other_slot, slot[new])),
                (mine[new], others, (slot[new], other_slot)),
            ):
                pair = self._pair_of(one, two)
                known = np.flatnonzero(pair >= 0)
                into, of = (places[0][known], places[1][known]), pair[known]
                block.seed(pool, start[new[known]], index, into, a["lagged"][of], a["residual"][of])

    @cached_property
    def _pairs(self) -> tuple[Array, Array]:
        """Pairs of classes as one number each, sorted, and where each is in the arrays."""
        pairs = self._arrays["pairs"].astype(np.int64)
        keys = pairs[:, 0] * len(self._class) + pairs[:, 1]
        order = np.argsort(keys, kind="stable")
        return keys[order], order

    def _pair_of(self, one: Array, two: Array) -> Array:
        """Which pair two classes are, -1: none."""
        keys, order = self._pairs
        if not len(keys):
            return np.full(len(one), -1)
        wanted = one * len(self._class) + two
        at = np.searchsorted(keys, wanted, side="right") - 1
        return np.where((one >= 0) & (two >= 0) & (keys[at] == wanted), order[at], -1)

    def _share(self, roster: Roster, es: Array, which: Array, rows: Array) -> Array:
        """Share of each entity's metrics that borrow the joint structure. which, rows: from `_lent_of`."""
        has_structure = self._arrays["strength"][self._numbers(roster, rows), STRUCTURE] > 0
        lent = np.bincount(which[has_structure], minlength=len(es))
        return np.asarray(lent / np.maximum(roster.ents.open.members[es], 1))

    def _lent_of(self, roster: Roster, es: Array) -> tuple[Array, Array]:
        """The series of entities that borrow something: (which of `es` it belongs to, row)."""
        which, rows = roster.members_of_all(es)
        is_seeded = self._is_seeded(roster, rows)
        return which[is_seeded], rows[is_seeded]

    def _is_seeded(self, roster: Roster, rows: Array) -> Array:
        k = self._numbers(roster, rows)
        return np.asarray(self._lends[k] & (self._counts[k] == (roster.rows.recipe.kind[rows] == COUNTER)))

    def _numbers(self, roster: Roster, rows: Array) -> Array:
        """The number of each row's metric class, -1 if it is not known. It leads to the last entry, of no class."""
        return np.array([self._class.get(roster.classes[row], -1) for row in rows.tolist()], np.int64)

    @cached_property
    def _lends(self) -> Array:
        """Is anything lent to a class?"""
        return np.append(self._arrays["strength"].max(axis=1) > 0, False)

    @cached_property
    def _counts(self) -> Array:
        """Is a class one of counters?"""
        return np.append(self._arrays["kind"] == COUNTER, False)

    @cached_property
    def _steps(self) -> Array:
        return np.append(self._arrays["step"].astype(np.float64), [[np.nan, np.nan]], axis=0)

    @cached_property
    def _tails(self) -> Array:
        """The histograms that series of a class begin with."""
        lent = zip(self._arrays["tail"], self._arrays["strength"][:, TAIL].tolist(), strict=True)
        merged = [tail.merge(counts, rows) for counts, rows in lent]
        return np.array(merged, np.float32).reshape(-1, tail.BINS)


def _sureness(which: Array, entities: int) -> Array:
    """How far a likeness of so many metrics is more than chance: one metric is like many. which: from `_lent_of`."""
    lent = np.bincount(which, minlength=entities)
    return np.asarray(lent / (lent + FEW))


def _by_capacity(roster: Roster, rows: Array) -> Iterator[tuple[Array, Array, dict[str, Array]]]:
    """(which rows are in blocks of one capacity, where in the pool these begin, see `_index`), for each capacity."""
    of = roster.rows.link.block[rows]
    capacity = roster.block.capacity[of]
    for size in set(capacity.tolist()):
        at = np.flatnonzero(capacity == size)
        yield at, roster.block.start[of[at]], _index(size)


@cache
def _index(capacity: int) -> dict[str, Array]:
    """The sections of a block, holding the place of each number counted from the start of the block."""
    return block.sections(np.arange(block.size(capacity)), 0, capacity)


def _many(rows: Array) -> Any:
    """For what is declared for one row and works for many."""
    return rows


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
