"""States: what the newest states on the state topic know of series and entities, in the memory that a page can afford.

Owns when they are read and what is kept of them: names, the shape of the day, how far each is, what it has borrowed.
How states lie on the topic is recovery/state_topic.py's, what is in them is the engine's.

Not obvious: they are read only when somebody looks, in a thread of their own, at most once in REREAD_S, and only where
a newer one lies there; until then pages show the last one with its time. Reading one means restoring a whole shard and
throwing most of it away, so what is larger than LARGEST_BYTES is named, not read.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from agents.recovery.held import Place
from engine.errors import GraftError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from agents.recovery.state_topic import Kept, StateTopic
    from agents.settings import Settings
    from engine.shard import Shard

log = logging.getLogger(__name__)

REREAD_S = 30.0
LARGEST_BYTES = 512 << 20
MOST_SHARDS = 512
DAY_MS = 86_400_000
#: Slots of the shape of a day.
SLOTS = 96


class Upload(NamedTuple):
    """One state on the topic. why: why it is not read, "" if it is."""

    place: Place
    id: str
    next_offset: int
    size: int
    chunks: int
    generation: str
    why: str = ""


class Learned(NamedTuple):
    """What a state knows of a series. Levels in its unit. profile: 96 quarters of an hour, what is expected in each.

    borrowed: share of each component that still comes from a source.
    """

    series: str
    entity: str
    place: Place
    at_ms: int
    samples: float
    step_ms: float
    last_ms: int
    mean: float
    sd: float
    profile: tuple[float, ...]
    visited: tuple[bool, ...]
    half_band: float
    is_absent: bool
    gate: float
    borrowed: Mapping[str, float]


class EntityStanding(NamedTuple):
    """How far an entity is. state: of its alert; history_ms: of its median series; source: environment that it has
    adopted models from, "" if none; is_on_trial: a source is tried beside it."""

    entity: str
    place: Place
    state: str
    series: int
    absent: int
    history_ms: float
    samples: float
    is_on_trial: bool
    source: str
    borrowed: float


class ShardRead(NamedTuple):
    """All that is kept of a state."""

    upload: Upload
    counters: Mapping[str, float]
    clock_ms: int
    row_of: Mapping[str, int]
    names: Sequence[str]
    entities: Sequence[EntityStanding]
    columns: Mapping[str, NDArray[np.float64]]
    profile: NDArray[np.float32]
    visits: NDArray[np.bool_]
    entity_of: NDArray[np.int32]
    borrowed: Mapping[int, Mapping[str, float]]


class States:
    """`look()` asks for a reading and returns at once; the rest says what the last one has found."""

    def __init__(
        self,
        topic: Callable[[], StateTopic],
        places: Callable[[], Sequence[Place]],
        settings: Settings,
        *,
        changed: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.read_s = 0.0
        self.why = ""
        self.uploads: tuple[Upload, ...] = ()
        self._shards: dict[Place, ShardRead] = {}
        self._topic = topic
        self._places = places
        self._settings = settings
        self._changed = changed
        self._clock = clock
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._begun_s = 0.0

    @property
    def is_reading(self) -> bool:
        """Whether somebody reads just now."""
        return self._thread is not None and self._thread.is_alive()

    def look(self) -> None:
        """Read anew what has changed, unless that was done a moment ago."""
        with self._guard:
            if self.is_reading or self._clock() - self._begun_s < REREAD_S:
                return
            self._begun_s = self._clock()
            self._thread = threading.Thread(target=self.read, name="review-states", daemon=True)
            self._thread.start()

    def shards(self) -> list[ShardRead]:
        """What was read, by place."""
        return [self._shards[place] for place in sorted(self._shards)]

    def learned(self, series: str) -> Learned | None:
        """What is known of a series; of several shards that know it, the one that heard of it last."""
        found = [one for one in (_learned(shard, series) for shard in self._shards.values()) if one is not None]
        return max(found, key=lambda one: one.last_ms, default=None)

    def series_of(self, entity: str) -> list[str]:
        """The series of an entity."""
        return [
            shard.names[row]
            for shard in self.shards()
            for e, one in enumerate(shard.entities)
            if one.entity == entity
            for row in range(len(shard.names))
            if shard.entity_of[row] == e
        ]

    def matching(self, part: str, most: int) -> list[str]:
        """Names of series that hold `part`, as it is written or not."""
        wanted, found = part.casefold(), list[str]()
        for shard in self.shards():
            for name in shard.names:
                if wanted in name.casefold():
                    found.append(name)
                    if len(found) >= most:
                        return found
        return found

    def read(self) -> None:
        """Read all states that are new. Whatever happens is told in `why`."""
        try:
            self._read()
            self.why = ""
        except GraftError as error:
            self.why = str(error)
        except Exception as error:
            log.exception("The states could not be read")
            self.why = f"The states could not be read ({type(error).__name__}); the log has the reason."
        self._changed()

    def _read(self) -> None:
        topic, places = self._topic(), sorted(set(self._places()))[:MOST_SHARDS]
        found = topic.find(places)
        uploads = []
        for place in places:
            if not found[place]:
                continue
            kept = found[place][0]
            known = self._shards.get(place)
            if known is None or known.upload.generation != kept.manifest.generation:
                upload = self._read_one(topic, kept)
            else:
                upload = known.upload
            uploads.append(upload)
        self.uploads = tuple(uploads)
        self._shards = {place: shard for place, shard in self._shards.items() if found.get(place)}
        self.read_s = self._clock()

    def _read_one(self, topic: StateTopic, kept: Kept) -> Upload:
        from agents.recovery.shardfile import key_bytes
        from agents.settings import Input, engine_config
        from engine.shard import Shard
        from engine.snapshot import unpack

        told = kept.manifest
        place = Place(told.topic, told.partition)
        upload = Upload(place, told.id, told.next_offset, told.size, told.chunks, told.generation)
        if told.size > LARGEST_BYTES:
            return upload._replace(why=f"larger than the {LARGEST_BYTES >> 20} MiB that this page reads")
        try:
            state = unpack(topic.fetch(kept), key=key_bytes(self._settings.state.key))
            source = next((one for one in self._settings.inputs if one.topic == place.topic), Input(topic=place.topic))
            shard = Shard.restore(state, engine_config(self._settings, source))
            self._shards[place] = kept_of(shard, upload)
        except GraftError as error:
            return upload._replace(why=str(error))
        return upload


def kept_of(shard: Shard, upload: Upload) -> ShardRead:
    """What a page keeps of a shard."""
    import numpy as np

    from engine.components import level

    roster, n = shard.roster, shard.series_count
    rows = roster.rows
    scale: Any = level.scale
    columns = {
        "samples": rows.level.count[:n], "step_ms": rows.presence.step_ms[:n], "last_ms": rows.presence.last_ms[:n],
        "mean": rows.level.mean[:n], "sd": [float(scale.py_func(rows.level, row)) for row in range(n)],
        "level": rows.season.level[:n], "sigma": rows.season.sigma[:n], "band": rows.shown.band[:n],
        "absent": rows.presence.absent[:n], "gate": rows.shown.gate[:n],
    }  # fmt: skip
    entity_of = rows.link.entity[:n].astype(np.int32)
    borrowed = {row: shares for row, shares in enumerate(roster.borrowed_of(np.arange(n))) if shares}
    kept = {name: np.array(column, np.float64) for name, column in columns.items()}
    return ShardRead(
        upload=upload,
        counters={name: float(value) for name, value in shard.counters().items()},
        clock_ms=shard.clock_ms,
        row_of={name: row for row, name in enumerate(roster.names)},
        names=tuple(roster.names),
        entities=_entities(shard, upload.place, kept, entity_of, borrowed),
        columns=kept,
        profile=rows.season.profile[:, :n].astype(np.float32),
        visits=rows.season.visits[:, :n] > 0,
        entity_of=entity_of,
        borrowed=borrowed,
    )


def _entities(
    shard: Shard,
    place: Place,
    kept: Mapping[str, NDArray[np.float64]],
    entity_of: NDArray[np.int32],
    borrowed: Mapping[int, Mapping[str, float]],
) -> list[EntityStanding]:
    import numpy as np

    from engine.alerts import STATES

    roster = shard.roster
    order = np.argsort(entity_of, kind="stable")
    bounds = np.searchsorted(entity_of[order], np.arange(shard.entity_count + 1))
    on_trial = _on_trial(shard)
    sources = [str(prior.summary().get("environment") or "another environment") for prior in roster.priors]
    found = []
    for e, name in enumerate(roster.entities):
        of = order[bounds[e] : bounds[e + 1]]
        samples = float(np.median(kept["samples"][of])) if len(of) else 0.0
        history = float(np.median(kept["samples"][of] * kept["step_ms"][of])) if len(of) else 0.0
        shares = [sum(borrowed[row].values()) / len(borrowed[row]) for row in of.tolist() if row in borrowed]
        source = int(roster.ents.seed.source[e])
        found.append(
            EntityStanding(
                entity=name, place=place, state=STATES[int(roster.ents.life.state[e])], series=len(of),
                absent=int((kept["absent"][of] > 0).sum()), history_ms=history, samples=samples,
                is_on_trial=e in on_trial, source=sources[source] if 0 <= source < len(sources) else "",
                borrowed=sum(shares) / len(of) if len(of) else 0.0,
            )
        )  # fmt: skip
    return found


def _on_trial(shard: Shard) -> set[int]:
    """Entities with a second version beside them that is not believed."""
    own = {name: e for e, name in enumerate(shard.roster.entities)}
    with_twin = {own[name] for roster in shard.twins.rosters for name in roster.entities if name in own}
    return {e for e in with_twin if int(shard.roster.ents.seed.source[e]) < 0}


def _learned(shard: ShardRead, series: str) -> Learned | None:
    row = shard.row_of.get(series)
    if row is None:
        return None
    of = {name: float(column[row]) for name, column in shard.columns.items()}
    profile = tuple(of["mean"] + of["sd"] * (of["level"] + float(part)) for part in shard.profile[:, row])
    return Learned(
        series=series, entity=shard.entities[int(shard.entity_of[row])].entity, place=shard.upload.place,
        at_ms=shard.clock_ms, samples=of["samples"], step_ms=of["step_ms"], last_ms=int(of["last_ms"]),
        mean=of["mean"], sd=of["sd"], profile=profile, visited=tuple(bool(one) for one in shard.visits[:, row]),
        half_band=of["band"], is_absent=of["absent"] > 0, gate=of["gate"], borrowed=shard.borrowed.get(row, {}),
    )  # fmt: skip
