"""A rebuild of one shard without what some windows have taught it, as a process of its own beside the detector.

    python -m agents.detector.unlearning -c graft.toml --topic metrics --partition 0

Owns where its parts come from: snapshots of the folder, which it only reads, the log and the orders from the broker;
and the one file that it leaves, DIR/unlearn/TOPIC-PARTITION.snap, which the detector takes over (unlearner.py). What is
chosen and folded is agents/recovery/unlearn.py.

The file is the rebuilt state (`exact`); or, where snapshots or log do not reach back before the window, what the entity
had learned in the newest snapshot before it (`approximate`); or the reason why neither can be had (`refused`).

Not obvious: while it folds, the detector goes on. So it goes after the newest snapshot until little is left, and the
detector reads only that again. It has the lowest priority and ends with the process that has started it; whenever it is
killed, what it leaves is whole or not there.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from agents import child
from agents import settings as config
from agents.clients import CLIENT_LOG, consumer_config
from agents.detector.assembly import Parts
from agents.detector.unlearner import result_file
from agents.failpoint import failpoint
from agents.recovery import unlearn
from agents.recovery.durable import make_folder, read_bounded, write_durably
from agents.recovery.held import Place
from agents.recovery.past import Past
from agents.recovery.store import Stored, stored
from agents.recovery.unlearn import NotExact, Step
from agents.supervisor import OUTSIDE
from agents.topics import Topics
from engine import marking, snapshot
from engine.errors import BadSample, ConfigError, GraftError
from engine.parcel import split
from engine.prior import Prior
from engine.shard import Shard
from engine.snapshot import MAX_BYTES, State
from engine.windows import Window, has_begun

#: Records that are left for the detector to read again, and how often the newest snapshot is gone after.
NEAR_RECORDS, ROUNDS = 20_000, 6
#: More than this is not folded again: at a hundred thousand a second half an hour.
MOST_RECORDS: Final = 200_000_000
_PR_SET_PDEATHSIG = 1


class Base(NamedTuple):
    """Where a rebuild may begin. name: for people; shell: what the worker had added to the manifest; marked_at: where
    the windows were marked in it already, and the name of that snapshot, if it is the result of a former rebuild."""

    name: str
    state: State
    shell: Mapping[str, Any]
    marked_at: tuple[int, str] | None = None


class Rebuild:
    """One rebuild. parts: make shards and decoders; past: reads topics; control, experiments: topics; config_hash: of
    the configuration that is read here."""

    def __init__(
        self, place: Place, folder: Path, *, key: bytes | None, parts: Parts, past: Past, control: str,
        experiments: str, config_hash: str,
    ) -> None:  # fmt: skip
        self._place = place
        self._folder = folder
        self._key = key
        self._parts = parts
        self._past = past
        self._topics = control, experiments
        self._config_hash = config_hash

    def run(self) -> Path:
        """Do it; the file that says what has come of it."""
        target = self._newest()
        if target.shell.get("config_hash") != self._config_hash:
            raise ConfigError("the configuration is another than that of the worker; restart it")
        windows = Shard.restore(target.state, self._config()).windows
        asked = windows.asked()
        if not asked:
            raise ConfigError(f"nobody asks that anything of {self._place} be un-learned")
        try:
            return self._exactly(target, list(windows), asked)
        except NotExact as error:
            return self._otherwise(asked[0], str(error))

    def _exactly(self, target: Base, windows: list[Window], asked: list[Window]) -> Path:
        experiments = self._experiments()
        base, shard, marked = self._base(target, windows, experiments)
        decoder: Any = self._parts.new_decoder(self._place, shard)
        before, lent = base.state.manifest, _priors(target.state, self._config())
        drifts = dict[tuple[str, str], dict[str, Any]]()
        for _ in range(ROUNDS):
            steps = unlearn.steps_between(before, target.state.manifest, self._orders(), experiments)
            until = target.state.manifest["next_offset"]
            log = self._past.pieces(self._place, shard.next_offset, until)
            left_out = unlearn.without(asked, experiments, self._place, until + 1)
            told = unlearn.rebuild(shard, decoder, marked, steps, log, until=until, left_out=left_out, lent=lent)
            drifts |= {(one.value["series"], one.value["kind"]): one.value for one in told}
            shard.control_offsets = {int(k): v for k, v in target.state.manifest["control_offsets"].items()}
            newer = self._newest()
            if newer.state.manifest["next_offset"] - until < NEAR_RECORDS:
                break
            before, target, marked, experiments = target.state.manifest, newer, [], self._experiments()
        failpoint("unlearn-half")
        began, name = base.marked_at or (base.state.manifest["next_offset"], base.name)
        answer = {
            "finding": marking.EXACT,
            "because": "the log was folded again from a snapshot before the window, with the window marked.",
            "windows": [list(one) for one in asked],
            "from_offset": began,
            "snapshot": name,
            "drifts": plain(list(drifts.values())[-unlearn.MOST_DRIFTS :]),
        }
        shell = {**target.shell, "next_offset": shard.next_offset, "owed": []}
        return self._write(shard.export(), {"unlearn": answer, "shell": shell})

    def _otherwise(self, window: Window, because: str) -> Path:
        """What an older snapshot has of the entity of the window; or nothing."""
        told: dict[str, Any] = {"because": because, "windows": [list(window)], "snapshot": None, "from_offset": None}
        for base in self._bases(self._newest()):
            shard = Shard.restore(base.state, self._config())
            if shard.roster.entity_of(window.entity) >= 0 and not has_begun(shard.roster, window):
                told |= {"finding": marking.APPROXIMATE, "snapshot": base.name, "from_offset": shard.next_offset}
                return self._write(split(base.state, {window.entity})[0], {"unlearn": told})
        told |= {"finding": marking.REFUSED, "because": f"{because}; and no snapshot from before the window is left"}
        return self._write(State({}, {}), {"unlearn": told})

    def _write(self, state: State, more: Mapping[str, Any]) -> Path:
        path = result_file(self._folder, self._place)
        make_folder(path.parent)
        write_durably(
            path, snapshot.pack({**state.manifest, "kind": "checkpoint", **more}, state.arrays, key=self._key)
        )
        failpoint("unlearn-written")
        return path

    def _base(
        self, target: Base, windows: list[Window], experiments: Sequence[Mapping[str, Any]]
    ) -> tuple[Base, Shard, list[Window]]:
        """The newest state to begin from, restored, and what is to be marked in it."""
        low, why = self._past.ends(self._place.topic)[self._place.partition].low, "no older snapshot is left"
        for base in self._bases(target):
            try:
                self._check_reach(base, target, low)
                shard = Shard.restore(base.state, self._config())
                marked = unlearn.to_mark(shard, windows)
                unlearn.check_settled(base.state.manifest, marked, experiments)
            except (NotExact, GraftError) as error:
                why = f"{base.name}: {error}"
                continue
            return base, shard, marked
        if low == 0 and sum(target.state.manifest["ledger"].values()) == target.state.manifest["next_offset"]:
            fresh: Any = self._parts.new_shard(self._place)
            fresh.next_offset = 0
            base = Base("the beginning of the log", fresh.export(), target.shell)
            self._check_reach(base, target, low)
            return base, fresh, unlearn.to_mark(fresh, windows)
        raise NotExact(why)

    def _check_reach(self, base: Base, target: Base, low: int) -> None:
        """NotExact unless the log has all that lies between two states, and both are of one configuration and log."""
        first, last = (one.state.manifest for one in (base, target))
        if first["next_offset"] < low:
            raise NotExact(f"the log begins at offset {low}, and the snapshot is at {first['next_offset']}")
        if first["ledger"].get("gap", 0) != last["ledger"].get("gap", 0):
            raise NotExact("records were lost since that snapshot")
        if last["next_offset"] - first["next_offset"] > MOST_RECORDS:
            raise NotExact(f"more than {MOST_RECORDS} records lie between")
        for control, ends in self._past.ends(self._topics[0]).items():
            if int(first["control_offsets"].get(str(control), 0)) < ends.low:
                raise NotExact(f"orders before offset {ends.low} of {self._topics[0]}[{control}] are gone")

    def _bases(self, target: Base) -> Iterator[Base]:
        """Older states of the same log under the same configuration, newest first; a former result before all."""
        older = [one.path for one in self._stored() if one.path.name != target.name]
        for path in (result_file(self._folder, self._place), *older):
            try:
                base = self._read(path)
            except GraftError:
                continue
            same = ("config_hash", "cluster_id", "topic_id", "topic", "partition")
            is_before = base.state.manifest.get("next_offset", -1) <= target.state.manifest["next_offset"]
            if is_before and base.shell and all(base.shell.get(name) == target.shell.get(name) for name in same):
                yield base

    def _newest(self) -> Base:
        for one in self._stored():
            try:
                return self._read(one.path)
            except GraftError:
                continue
        raise ConfigError(f"{self._folder} holds no snapshot of {self._place}")

    def _stored(self) -> list[Stored]:
        return [one for one in stored(self._folder) if (one.topic, one.partition) == self._place]

    def _read(self, path: Path) -> Base:
        manifest, arrays = snapshot.unpack(read_bounded(path, max_bytes=MAX_BYTES), key=self._key)
        shell = manifest.pop("shell", {})
        told = manifest.pop("unlearn", None)
        marked_at = (int(told["from_offset"]), str(told["snapshot"])) if told and shell else None
        return Base(path.name, State(manifest, arrays), shell, marked_at)

    def _config(self) -> Any:
        return self._parts.config_of(self._place.topic)

    def _orders(self) -> list[tuple[int, int, Mapping[str, Any]]]:
        found = [(int(one.partition() or 0), int(one.offset() or 0), _object(one)) for one in self._all(0)]
        return sorted((one for one in found if one[2]), key=lambda one: one[:2])

    def _experiments(self) -> list[Mapping[str, Any]]:
        found = (_object(one) for one in self._all(1))
        return [one for one in found if unlearn.is_of(one, self._place)]

    def _all(self, which: int) -> Iterator[Any]:
        return self._past.all_of(self._topics[which])


def plain(value: Any) -> Any:
    """As JSON has it."""
    return orjson.loads(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY))


def _object(message: Any) -> Mapping[str, Any]:
    try:
        found = orjson.loads(message.value() or b"")
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _priors(state: State, settings: Any) -> Any:
    """What seed orders lent, by digest: the newest state has all of it."""
    priors = {prior.digest: prior for prior in Shard.restore(state, settings).roster.priors}

    def lent(step: Step) -> Prior | str | None:
        if step.finding == marking.REFUSED:
            return "it was refused."
        return priors.get(str((step.order.get("params") or {}).get("digest")))

    return lent


def end_with(parent: int) -> None:
    """Be killed when the process that has started this one ends, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        child.end(OUTSIDE)


def run(settings: config.Settings, place: Place, parts: Parts | None = None) -> Path:
    """One rebuild with the parts of a worker."""
    from confluent_kafka import Consumer

    properties, insecure = config.kafka_properties(settings), settings.kafka.insecure
    reader = consumer_config(properties, group=f"{settings.kafka.group}-unlearn", insecure=insecure)
    past = Past(lambda: Consumer({**reader, "enable.partition.eof": True}, logger=CLIENT_LOG))
    names = Topics.of(settings.topics.prefix)
    key = settings.state.key.reveal().encode() if settings.state.key else None
    return Rebuild(
        place, Path(settings.state.dir), key=key, parts=parts or Parts(settings), past=past, control=names.control,
        experiments=names.experiments, config_hash=config.config_hash(settings),
    ).run()  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """The process; its exit status."""
    parser: argparse.ArgumentParser = child.parser("python -m agents.detector.unlearning", "Rebuilds one shard.")
    parser.add_argument("--topic", required=True)
    parser.add_argument("--partition", required=True, type=int)
    parser.add_argument("--parent", required=True, type=int)
    options = parser.parse_args(arguments)

    def work(settings: config.Settings) -> None:
        end_with(options.parent)
        os.nice(19)
        try:
            run(settings, Place(options.topic, options.partition))
        except BadSample as error:
            raise ConfigError(str(error)) from error

    return child.run(options, work)


if __name__ == "__main__":
    child.program(main)
