"""Roster: who is in a shard. Names, entities, blocks, and the columns that grow with them.

Owns the way from a series to its row, its entity and its place in a joint block, and the canonical form of all state
for snapshots. Rows are given in order of first sight in the log, so the same log gives the same rows.

Not obvious: the pool of joint state has holes where blocks have moved (see `components/block`). `export` writes each
block packed, in order, so a state that was restored and one that grew in place export the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from engine import state as layout
from engine.columns import Array, put, take
from engine.components import block as blocks
from engine.components import entity as entity_component
from engine.components import guard, joint
from engine.components.factory import FACTORY_ROWS, factory
from engine.config import EngineConfig
from engine.errors import BadSample, SnapshotError
from engine.links import Counts, check_links
from engine.prior import Prior
from engine.series import Kind, Series
from engine.snapshot import json_column, read_json_column

FIRST_ROWS, FIRST_ENTITIES, FIRST_POOL = 64, 16, 1 << 15


class Roster:
    """Names and columns of one shard, or of its twins. priors: what sources lend.

    lends: the first of them lends to every new series at once; else only that which an entity has come to believe.
    """

    def __init__(self, config: EngineConfig, priors: Sequence[Prior] = (), *, lends: bool = False) -> None:
        self.config = config
        self.priors = tuple(priors)
        self.lends = lends
        self.names: list[str] = []
        self.entities: list[str] = []
        self.classes: list[str] = []
        self.rows = layout.fresh_rows(FIRST_ROWS)
        self.ents = layout.fresh_entities(FIRST_ENTITIES)
        self.block = blocks.empty_blocks(FIRST_ENTITIES)
        self.block_count = 0
        self.pool = np.zeros(FIRST_POOL, np.float32)
        self.pool_used = 0
        self.clock = np.zeros(layout.CLOCKS, np.int64)
        self.clock[[layout.CLOCK, layout.AHEAD_MS, layout.VOTER, layout.VOTED_MS]] = -1
        self._row: dict[str, int] = {}
        self._class_names: dict[str, str] = {}
        self._placed = 0
        self._entity: dict[str, int] = {}
        self._factory = factory()

    def row_of(self, text: str) -> int:
        """Row of a series, -1 if unknown."""
        return self._row.get(text, -1)

    def entity_of(self, text: str) -> int:
        """Row of an entity, -1 if unknown."""
        return self._entity.get(text, -1)

    def admit(self, series: Series) -> int:
        """Row of a series; a new one is given the next row."""
        text = series.text
        row = self._row.get(text)
        if row is not None:
            return row
        if len(self.names) >= self.config.max_series:
            raise BadSample(
                "cardinality",
                f"series {text[:200]} would be number {len(self.names) + 1} of this shard; limits.max_series is "
                f"{self.config.max_series}. Raise it, or drop the label that multiplies series.",
            )
        kind = series.kind
        if kind is Kind.UNKNOWN and not self.config.counters_from_shape:
            kind = Kind.GAUGE
        return self._admit(text, series.name, int(kind), series.entity(self.config.entity_labels))

    def _admit(self, text: str, name: str, kind: int, entity: str) -> int:
        row = len(self.names)
        self._make_room(row + 1, 0)
        self.names.append(text)
        # One text a class, not one a series.
        self.classes.append(self._class_names.setdefault(name, name))
        self._row[text] = row
        self.rows.recipe.kind[row] = kind
        share = layout.SERIES_ROWS / FACTORY_ROWS
        self.rows.shown.counts[row] = self._factory[entity_component.SEVERE] * share
        self.rows.link.entity[row] = self._admit_entity(entity)
        return row

    def admit_all_like(self, other: Roster, rows: Array) -> list[int]:
        """Rows of the same series as in another roster; new ones are given the next rows."""
        entity_of, kinds = other.rows.link.entity[rows].tolist(), other.rows.recipe.kind[rows].tolist()
        self._make_room(len(self.names) + len(rows), len(self.entities) + len(set(entity_of)))
        found = list[int]()
        for row, e, kind in zip(rows.tolist(), entity_of, kinds, strict=True):
            known = self._row.get(other.names[row])
            new = (other.names[row], other.classes[row], kind, other.entities[e])
            found.append(self._admit(*new) if known is None else known)
        return found

    def _make_room(self, rows: int, entities: int) -> None:
        if rows > len(self.rows.link.entity):
            self.rows = layout.grow_rows(self.rows, max(rows, _longer(len(self.names))))
        if entities > len(self.ents.open.members):
            self.ents = layout.grow_entities(self.ents, max(entities, _longer(len(self.entities))))

    def place(self, rows: Sequence[int]) -> None:
        """Give series their places in the joint state, and what the prior lends them. Called at their first samples.

        Not at admission: a decoder admits all series of a batch before the batch is folded, and the joint state must
        not depend on where the batch ends.
        """
        entity_of = self.rows.link.entity[list(rows)].tolist()
        together = Counter(entity_of)
        for row, e in zip(rows, entity_of, strict=True):
            self._place(row, e, together[e])
            together[e] -= 1
        self._placed += len(entity_of)
        if self.priors:
            self._lend(np.array(rows, np.int64), np.array(entity_of, np.int64))

    def _lend(self, rows: Array, entity_of: Array) -> None:
        """What the priors lend to fresh series and their entities."""
        seed = self.ents.seed.source
        source = seed[entity_of]
        if self.lends:
            source[source == guard.NEVER] = 0
        for k in set(source[source >= 0].tolist()):
            of = np.flatnonzero(source == k)
            seed[entity_of[of[self.priors[k].lend(self, rows[of])]]] = k
        es = np.unique(entity_of)
        for k in set(seed[es][seed[es] >= 0].tolist()):
            self.priors[k].lend_to_entities(self, es[seed[es] == k])

    def is_all_placed(self) -> bool:
        """Has every series that was admitted been seen in the log?"""
        return self._placed == len(self.names)

    def _admit_entity(self, text: str) -> int:
        entity = self._entity.get(text)
        if entity is not None:
            return entity
        entity = len(self.entities)
        self._make_room(0, entity + 1)
        self.entities.append(text)
        self._entity[text] = entity
        entity_component.begin(self.ents.entity, entity, self._factory)
        return entity

    def _place(self, row: int, entity: int, together: int) -> None:
        """The last block of its entity, made larger or followed by a new one when full.

        together: how many of the entity come now, with this one; a new block is made large enough for them at once.
        """
        last = next(reversed(self.blocks_of(entity)), -1)
        if last < 0 or self.block.width[last] == blocks.WIDEST:
            last = self._new_block(entity, last, blocks.capacity_for(together))
        slot = int(self.block.width[last])
        if slot == self.block.capacity[last]:
            self._enlarge(last)
        self.block.width[last] = slot + 1
        self.block.member[last, slot] = row
        # A newcomer is not solved for at once, from a handful of its samples.
        self.block.solve_at[last] = joint.not_before(self.block.solve_at[last], self.block.ticks[last])
        link = self.rows.link
        link.block[row], link.slot[row] = last, slot
        self.ents.open.members[entity] += 1

    def blocks_of(self, entity: int) -> list[int]:
        """The blocks of an entity, in order."""
        found, b = [], int(self.ents.open.first_block[entity])
        while b >= 0:
            found.append(b)
            b = int(self.block.next[b])
        return found

    def part(self, b: int) -> dict[str, Array]:
        """The sections of a block by name, views of the pool."""
        return blocks.sections(self.pool, int(self.block.start[b]), int(self.block.capacity[b]))

    def _new_block(self, entity: int, after: int, capacity: int) -> int:
        b = self.block_count
        if b == len(self.block.start):
            self.block = layout.grow_blocks(self.block, _longer(b))
        self.block_count = b + 1
        self.block.capacity[b] = capacity
        self.block.start[b] = self._room(capacity)
        self.pool[self.pool_used - _size(capacity) : self.pool_used] = _fresh_block(capacity)
        if after < 0:
            self.ents.open.first_block[entity] = b
        else:
            self.block.next[after] = b
        return b

    def _enlarge(self, b: int) -> None:
        old_capacity, kept = int(self.block.capacity[b]), self._packed(b).copy()
        capacity = blocks.CAPACITIES[blocks.CAPACITIES.index(old_capacity) + 1]
        if int(self.block.start[b]) + len(kept) == self.pool_used:
            # The newest block gives its place back: an entity's first metrics arrive one after the other.
            self.pool_used -= len(kept)
        start = self._room(capacity)
        self.pool[start : self.pool_used] = blocks.grown(kept, old_capacity, capacity)
        self.block.start[b], self.block.capacity[b] = start, capacity

    def _room(self, capacity: int) -> int:
        start, need = self.pool_used, _size(capacity)
        if start + need > len(self.pool):
            room = np.zeros(_longer(start + need) - len(self.pool), np.float32)
            self.pool = np.concatenate([self.pool, room])
        self.pool_used = start + need
        return start

    def export(self) -> dict[str, Array]:
        """All arrays of the state, packed; see the module's docstring."""
        n, m = len(self.names), len(self.entities)
        arrays: dict[str, Array] = {"clock": self.clock.copy()}
        for group, columns, table, count in (
            ("series", self.rows, layout.SERIES, n),
            ("entity", self.ents, layout.ENTITY, m),
        ):
            rows = np.arange(count)
            for (name, (_, spec)), part in zip(table.items(), columns, strict=True):
                for field, array in take(part, spec, rows).items():
                    arrays[f"{group}.{name}.{field}"] = array
        for field, array in zip(self.block._fields, self.block, strict=True):
            if field != "start":
                arrays[f"block.{field}"] = array[: self.block_count].copy()
        arrays["pool"] = np.concatenate([np.empty(0, np.float32), *(self._packed(b) for b in range(self.block_count))])
        for name, texts in (("names", self.names), ("classes", self.classes), ("entities", self.entities)):
            arrays[f"text.{name}"] = json_column(texts)
        for k, prior in enumerate(self.priors):
            arrays.update({f"prior{k}.{name}": array for name, array in prior.arrays().items()})
        return arrays

    def _packed(self, b: int) -> Array:
        start = int(self.block.start[b])
        return self.pool[start : start + _size(int(self.block.capacity[b]))]

    @staticmethod
    def restore(
        arrays: Mapping[str, Array], config: EngineConfig, *, priors: Sequence[Prior] = (), lends: bool = False
    ) -> Roster:
        """The roster that `export` described. priors: of a twin, whose arrays do not have them."""
        known = list(priors)
        while f"prior{len(known)}.classes" in arrays:
            head = f"prior{len(known)}."
            known.append(Prior({name[len(head) :]: each for name, each in arrays.items() if name.startswith(head)}))
        roster = Roster(config, known, lends=lends)
        try:
            roster._load(arrays)
        except (KeyError, ValueError, IndexError) as error:
            raise SnapshotError(f"the state does not fit together ({error}); use an older snapshot") from error
        return roster

    def _load(self, arrays: Mapping[str, Array]) -> None:
        self.names, self.classes, self.entities = (
            read_json_column(arrays[f"text.{name}"]) for name in ("names", "classes", "entities")
        )
        n, m = len(self.names), len(self.entities)
        for name in self.classes:
            self._class_names.setdefault(name, name)
        self.classes = [self._class_names[name] for name in self.classes]
        if not all(isinstance(text, str) for texts in (self.names, self.classes, self.entities) for text in texts):
            raise ValueError("names that are no texts")
        if not (len(self.classes) == n == len(set(self.names)) and m == len(set(self.entities))):
            raise ValueError(f"{n} names, {len(self.classes)} classes and {m} entities, or some of them twice")
        if arrays["clock"].shape != self.clock.shape:
            raise ValueError(f"a clock of {arrays['clock'].shape}")
        self.clock[:] = arrays["clock"]
        self.rows = layout.fresh_rows(max(n, FIRST_ROWS))
        self.ents = layout.fresh_entities(max(m, FIRST_ENTITIES))
        for group, columns, table, count in (
            ("series", self.rows, layout.SERIES, n),
            ("entity", self.ents, layout.ENTITY, m),
        ):
            for (name, (_, spec)), part in zip(table.items(), columns, strict=True):
                put(part, spec, np.arange(count), {field: arrays[f"{group}.{name}.{field}"] for field in spec})
        self.count_anew()
        self._load_blocks(arrays)
        check_links(self.rows, self.ents, self.block, Counts(n, m, self.block_count, len(self.priors)))

    def count_anew(self) -> None:
        """Number all names, after whoever has changed the columns and lists together."""
        self._row = {text: row for row, text in enumerate(self.names)}
        self._entity = {text: row for row, text in enumerate(self.entities)}
        self._placed = int((self.rows.link.block[: len(self.names)] >= 0).sum())

    def _load_blocks(self, arrays: Mapping[str, Array]) -> None:
        self.block_count = len(arrays["block.capacity"])
        self.block = blocks.empty_blocks(max(self.block_count, FIRST_ENTITIES))
        for field, array in zip(self.block._fields, self.block, strict=True):
            if field != "start":
                given = arrays[f"block.{field}"]
                if given.dtype != array.dtype or given.shape != (self.block_count, *array.shape[1:]):
                    raise ValueError(f"block.{field} is {given.dtype} {given.shape}")
                array[: self.block_count] = given
        strange = set(self.block.capacity[: self.block_count].tolist()) - set(blocks.CAPACITIES)
        if strange:
            raise ValueError(f"a block of capacity {min(strange)}")
        sizes = [_size(capacity) for capacity in self.block.capacity[: self.block_count].tolist()]
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.block.start[: self.block_count] = starts[:-1]
        self.pool_used = int(starts[-1])
        self.pool = np.zeros(max(self.pool_used, FIRST_POOL), np.float32)
        if arrays["pool"].shape != (self.pool_used,) or arrays["pool"].dtype != np.float32:
            raise ValueError(f"a pool of {arrays['pool'].shape}; its blocks need {self.pool_used}")
        self.pool[: self.pool_used] = arrays["pool"]

    def borrowed(self, row: int) -> dict[str, float]:
        """Share of each component of a series that still comes from a seed, 0..1; empty when it started cold."""
        source = int(self.ents.seed.source[self.rows.link.entity[row]]) if row >= 0 else guard.NEVER
        return self.priors[source].borrowed(self, row) if source >= 0 else {}

    def borrowed_of(self, rows: Sequence[int] | Array) -> list[dict[str, float]]:
        """The same of several series; of -1 it is empty."""
        of = np.asarray(rows, np.int64)
        source = np.where(of >= 0, self.ents.seed.source[self.rows.link.entity[of]], guard.NEVER)
        told: list[dict[str, float]] = [{} for _ in of]
        for k in set(source[source >= 0].tolist()):
            at = np.flatnonzero(source == k)
            for n, shares in zip(at.tolist(), self.priors[k].borrowed_of(self, of[at]), strict=True):
                told[n] = shares
        return told

    def members_of(self, e: int) -> Array:
        """Rows of the series of an entity that have a place, in the order in which they were given it."""
        parts = [self.block.member[b, : self.block.width[b]] for b in self.blocks_of(e)]
        return np.concatenate(parts or [np.empty(0, np.int32)])

    def members_of_all(self, es: Array) -> tuple[Array, Array]:
        """The same of many entities, one after the other: (which of `es` it is, row)."""
        if len(es) == 1:
            rows = self.members_of(int(es[0]))
            return np.zeros(len(rows), np.int64), rows
        which, of = self.blocks_of_all(es)
        is_used = np.arange(blocks.WIDEST) < self.block.width[of][:, None]
        return np.repeat(which, self.block.width[of]), self.block.member[of][is_used]

    def blocks_of_all(self, es: Array) -> tuple[Array, Array]:
        """The blocks of many entities, one after the other, those of each in order: (which of `es` it is, block)."""
        of = self.ents.open.first_block[es]
        which, of = np.flatnonzero(of >= 0), of[of >= 0]
        found = [(which, of)]
        while (is_followed := self.block.next[of] >= 0).any():
            which, of = which[is_followed], self.block.next[of[is_followed]]
            found.append((which, of))
        if len(found) == 1:
            return found[0]
        which, of = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.argsort(which, kind="stable")
        return which[order], of[order]

    def nbytes(self) -> int:
        """Bytes of the columns in use (room for growth left out)."""
        n, m = len(self.names), len(self.entities)
        series = sum(array.nbytes // len(self.rows.link.entity) for part in self.rows for array in part)
        entity = sum(array.nbytes // len(self.ents.open.members) for part in self.ents for array in part)
        block = sum(array.nbytes // len(self.block.start) for array in self.block)
        return series * n + entity * m + block * self.block_count + 4 * self.pool_used

    def seeded_count(self) -> int:
        """Series that have borrowed."""
        return self.priors[0].seeded_in(self) if self.priors else 0

    def seed_summary(self) -> dict[str, Any] | None:
        """What was lent, for the manifest; None when the shard started cold."""
        return self.priors[0].summary() | {"sources": len(self.priors)} if self.priors else None


_size = cache(blocks.size)


@cache
def _fresh_block(capacity: int) -> Array:
    """A block that has seen nothing."""
    fresh = np.zeros(_size(capacity), np.float32)
    blocks.wake(fresh, 0, capacity)
    return fresh


def _longer(rows: int) -> int:
    """Room to grow to: an eighth more. Doubling would leave half of a large shard's memory unused."""
    return rows + max(rows // 8, FIRST_ROWS)
