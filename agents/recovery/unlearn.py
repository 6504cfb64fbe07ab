"""Un-learning: the state of a shard as it would be had a window been marked before its first sample.

    state' = fold(older snapshot, log, with the windows marked first and every other order where it was applied),
             but for re-tunes of the same entity that answer what was seen since the window began

Owns the choice of the snapshot to begin from, which orders hold from which offset on, and the fold. Knows no clock and
no process: a topic is read by whoever calls, so that the same code serves a worker (agents/detector/unlearning.py) and
files (agents/offline/unlearn.py). What a window does is the engine's (engine/windows.py).

Not obvious, three things. (1) A snapshot of an earlier past, from before something else was un-learned, holds what was
taken back since: it may be begun from only if all windows of the present state are known there in time, or begin later
than it and can be marked. (2) Where an order was applied is told by its experiment record alone. One that the state
knows and no record tells of cannot be repeated, and then nothing exact can be said. (3) A re-tune says what the models
were when a drift was seen, so one that comes after an outage was learned would bring its scale back. It is left out,
and the drifts that the rebuilt past has seen are told instead, for the tuner to answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.recovery.held import DecoderLike
from engine import marking
from engine.errors import BadSample
from engine.prior import Prior
from engine.records import Record
from engine.seeding import KIND as SEED
from engine.series import stable_id
from engine.shard import Shard
from engine.windows import ASKED, IN_TIME, LATEST_MS, Window, has_begun

#: Drifts of the rebuilt past that are told; and kinds that say nothing of a model.
MOST_DRIFTS = 64
_NO_MODELS = frozenset({"absent", "returned", "flat", "gap"})


class Step(NamedTuple):
    """An order, and where it holds: applied before the record at offset `at` was folded. finding: what was answered."""

    at: int
    partition: int
    offset: int
    order: Mapping[str, Any]
    finding: str = ""


class Piece(NamedTuple):
    """Records of a log in order. times_ms: as the broker tells them, -1 where there is none."""

    values: Sequence[bytes | None]
    offsets: NDArray[np.int64]
    times_ms: NDArray[np.int64]


class Without(NamedTuple):
    """Re-tunes of the entity of a window that answer something at or after its beginning, applied before `until`."""

    window: Window
    until: int


class NotExact(Exception):  # noqa: N818 - an answer, said in one sentence
    """Why a state cannot be rebuilt bit for bit."""


def to_mark(base: Shard, present: Iterable[Window]) -> list[Window]:
    """The windows that have to be marked in an older state, so that it is one of the same past, and before its windows.

    Those that were known in time, and those that are asked for; of others what was learned stays learned.
    NotExact where that cannot be: a window began before the snapshot was taken, or was learned there.
    """
    wanted = list[Window]()
    for window in present:
        known = base.windows.get(window)
        if window.state not in (IN_TIME, ASKED) or (known is not None and known.state == IN_TIME):
            continue
        if not has_begun(base.roster, window):
            wanted.append(window._replace(state=IN_TIME))
        else:
            raise NotExact(f"{window.entity} had learned of the window when that snapshot was taken")
    return wanted


def steps_between(
    base: Mapping[str, Any], target: Mapping[str, Any], control: Iterable[tuple[int, int, Mapping[str, Any]]],
    experiments: Iterable[Mapping[str, Any]],
) -> list[Step]:  # fmt: skip
    """Where each order holds that was applied to a shard between two of its states, in that order.

    base, target: manifests; control: (partition, offset, order) of all orders on the topic, in order of each partition;
    experiments: records of the topic, of this shard and others. NotExact where one was applied and nobody tells where.
    """
    place = target["topic"], target["partition"]
    told: dict[tuple[str, str, str], tuple[int, str]] = {}
    for record in experiments:
        if (where := _applied_at(record, place)) is not None:
            for key in _keys(record):
                told.setdefault(key, (where, str(record.get("finding") or "")))
    found, names = list[Step](), set(target["applied"]) - set(base["applied"])
    first, last = ({int(k): v for k, v in one["control_offsets"].items()} for one in (base, target))
    seen = set[str]()
    for partition, offset, order in control:
        if not first.get(partition, 0) <= offset < last.get(partition, 0):
            continue
        name = str(order.get("id"))
        key = (SEED, str(partition), str(offset)) if order.get("kind") == SEED else ("", name, "")
        if (order.get("kind") != SEED and name in seen) or (of := told.get(key)) is None:
            continue
        seen.add(name)
        names.discard(stable_id("applied", name)[:16])
        found.append(Step(of[0], partition, offset, order, of[1]))
    if names:
        raise NotExact(f"{len(names)} orders were applied of which no record is left on the topics")
    if any(not base["next_offset"] <= one.at <= target["next_offset"] for one in found):
        raise NotExact("an order is told to have been applied outside of the log between the two snapshots")
    return sorted(found, key=lambda one: (one.at, one.partition, one.offset))


def is_of(record: Mapping[str, Any], place: tuple[str, int]) -> bool:
    """Is it a record of something that was done to this shard?"""
    return _applied_at(record, place) is not None


def _applied_at(record: Mapping[str, Any], place: tuple[str, int]) -> int | None:
    at = record.get("applied_at")
    if not isinstance(at, Mapping) or (at.get("topic"), at.get("partition")) != place:
        return None
    return int(at["offset"]) if type(at.get("offset")) is int else None


def _keys(record: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """How the order is called that a record tells of: a seed order by its place, for it may be applied twice."""
    order, at = record.get("order"), record.get("control")
    if not isinstance(order, Mapping):
        return
    if record.get("kind") == SEED and isinstance(at, Mapping):
        yield SEED, str(at.get("partition")), str(at.get("offset"))
    elif record.get("id") == order.get("id"):
        yield "", str(order.get("id")), ""


def check_settled(base: Mapping[str, Any], marked: Sequence[Window], experiments: Iterable[Mapping[str, Any]]) -> None:
    """NotExact if something was approximated since a snapshot that is not taken back exactly now."""
    place = base["topic"], base["partition"]
    now = {one.key for one in marked}
    for record in experiments:
        at = _applied_at(record, place)
        if record.get("kind") != marking.UNLEARN or record.get("finding") != marking.APPROXIMATE or at is None:
            continue
        of = record.get("window") or {}
        key = str(of.get("entity")), str(of.get("series") or ""), of.get("from_ms"), of.get("until_ms")
        if at > base["next_offset"] and key not in now:
            raise NotExact(
                "another window was taken back by approximation since that snapshot, which nobody can repeat"
            )


def without(
    asked: Iterable[Window], experiments: Iterable[Mapping[str, Any]], place: tuple[str, int], until: int
) -> list[Without]:  # fmt: skip
    """What is left out: for windows that are un-learned now, and for those that were before."""
    found = [Without(window, until) for window in asked]
    for record in experiments:
        at, of = _applied_at(record, place), record.get("window")
        is_exact = record.get("kind") == marking.UNLEARN and record.get("finding") == marking.EXACT
        if is_exact and at is not None and isinstance(of, Mapping):
            window = Window(of["entity"], of["series"], of["from_ms"], of["until_ms"], of["order"])
            found.append(Without(window, at))
    return found


def _is_left_out(step: Step, left_out: Sequence[Without], shard: Shard) -> bool:
    target, at_ms = step.order.get("target") or {}, step.order.get("at_ms")
    if step.order.get("kind") != "retune" or not isinstance(target, Mapping) or type(at_ms) is not int:
        return False
    row = shard.row_of(str(target.get("series")))
    entity = shard.roster.entities[shard.roster.rows.link.entity[row]] if row >= 0 else target.get("entity")
    return any(one.window.entity == entity and at_ms >= one.window.from_ms and step.at < one.until for one in left_out)


def rebuild(
    shard: Shard,
    decoder: DecoderLike,
    windows: Iterable[Window],
    steps: Iterable[Step],
    log: Iterable[Piece],
    *,
    until: int,
    left_out: Sequence[Without] = (),
    lent: Callable[[Step], Prior | str | None] = lambda _: None,
) -> list[Record]:
    """Mark windows in an older state and fold the log on to an offset, each order where it holds; in place.

    log: from the state's next offset on; nothing is read beyond `until`. NotExact where it ends before. Answers with
    the drifts that would have to be told, of the entities of which re-tunes are left out.
    """
    for window in windows:
        shard.windows.put(window)
    pieces, told = _Pieces(log), list[Record]()
    for step in steps:
        told += _fold_to(shard, decoder, pieces, step.at)
        if _is_left_out(step, left_out, shard):
            shard.control_offsets[step.partition] = step.offset + 1
            continue
        try:
            shard.apply(step.order, control_partition=step.partition, next_offset=step.offset + 1, lent=lent(step))
        except BadSample:
            # In this past it makes no sense; then it changes nothing, as when it comes from the topic.
            shard.control_offsets[step.partition] = step.offset + 1
    told += _fold_to(shard, decoder, pieces, until)
    begins = {one.window.entity: one.window.from_ms for one in left_out if one.until >= until}
    drifts = [one for one in told if one.value["at_ms"] >= begins.get(one.value["entity"], LATEST_MS)]
    newest = {(one.value["series"], one.value["kind"]): one for one in drifts}
    return list(newest.values())[-MOST_DRIFTS:]


class _Pieces:
    """A log that can be taken piece by piece up to an offset."""

    def __init__(self, log: Iterable[Piece]) -> None:
        self._log = iter(log)
        self._left: Piece | None = None

    def upto(self, end: int) -> Iterator[Piece]:
        """All records below `end` that were not taken yet."""
        while True:
            piece = self._left or next(self._log, None)
            self._left = None
            if piece is None:
                return
            n = int(np.searchsorted(piece.offsets, end))
            if n < len(piece.offsets):
                self._left = Piece(piece.values[n:], piece.offsets[n:], piece.times_ms[n:])
            if n:
                yield Piece(piece.values[:n], piece.offsets[:n], piece.times_ms[:n])
            if self._left is not None:
                return


def _fold_to(shard: Shard, decoder: DecoderLike, pieces: _Pieces, end: int) -> list[Record]:
    """Drifts of models that were seen on the way."""
    told = list[Record]()
    if shard.next_offset >= end:
        return told
    for piece in pieces.upto(end):
        fresh = int(np.searchsorted(piece.offsets, shard.next_offset))
        offsets = piece.offsets[fresh:]
        if len(offsets):
            values, next_offset = list(piece.values[fresh:]), int(offsets[-1]) + 1
            batch, _ = decoder.decode(values, offsets, piece.times_ms[fresh:], next_offset)
            records = shard.process(batch).records
            told += [one for one in records if one.topic == "drift" and one.value["kind"] not in _NO_MODELS]
    if shard.next_offset != end:
        raise NotExact(f"the log ends at offset {shard.next_offset}, before {end}")
    return told
