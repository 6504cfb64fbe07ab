"""Holdings: the shards in this worker's hands, and what happens to one when it comes or goes.

Owns the table of held shards. Called by assignment.py inside rebalances, between two batches, so a shard is
never in the middle of anything here.

Not obvious: a shard that is *lost* is dropped without a word. Its next owner has begun from an older snapshot and says
the same things again; whatever we wrote now could only be older or equal, and would cost time to sort out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from agents.recovery.durability import Durability
from agents.recovery.held import DecoderLike, Held, Place, ShardLike
from agents.recovery.positions import LogEnds, LogName, Positions, Remote, Start, first_offset, unsaved
from agents.recovery.state_topic import Kept, StateTopic
from agents.recovery.state_upload import Uploader
from engine.errors import OutsideError, SnapshotError


@dataclass(slots=True, kw_only=True)
class Holdings:
    """Takes, gives back and loses shards (the keeper of assignment.py).

    new_shard, new_decoder: make the parts of one shard. ends: asks the broker. taken: told after each change, with all
    that is held, so that the control consumer can follow. states, uploads: the state topic, where it is in use.
    """

    positions: Positions
    durability: Durability
    new_shard: Callable[[Place], ShardLike]
    new_decoder: Callable[[Place, ShardLike], DecoderLike]
    ends: Callable[[Place], LogEnds]
    log_name: Callable[[Place], LogName]
    taken: Callable[[Sequence[Held]], None]
    warn: Callable[[str], None]
    start: Start = "earliest"
    states: StateTopic | None = None
    uploads: Uploader | None = None
    by_place: dict[Place, Held] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Held]:
        return iter(tuple(self.by_place.values()))

    def __len__(self) -> int:
        return len(self.by_place)

    def take(self, places: Sequence[Place]) -> dict[Place, int]:
        """Load shards, or start them; answers where to read from."""
        unread: list[OutsideError] = []
        kept = self._kept(places, unread)
        for place in places:
            self.by_place[place] = self._taken(place, self.ends(place), kept.get(place, []), unread)
        self.taken(tuple(self))
        return {place: self.by_place[place].shard.next_offset for place in places}

    def give_back(self, places: Sequence[Place]) -> None:
        """Make shards durable, then forget them. When the broker is behind, the older snapshot has to do."""
        leaving = [self.by_place[place] for place in places if place in self.by_place]
        for held in self.durability.checkpoint_each(unsaved(leaving)):
            self.warn(f"{held.place} is given back unsaved, as the broker is behind; its next owner reads more again.")
        if self.uploads is not None:
            self.uploads.finish(leaving)
        self.lose(places)

    def lose(self, places: Sequence[Place]) -> None:
        """Forget shards and write nothing."""
        for place in places:
            self.by_place.pop(place, None)
        if self.uploads is not None:
            self.uploads.forget(places)

    def _kept(self, places: Sequence[Place], unread: list[OutsideError]) -> Mapping[Place, list[Kept]]:
        """What the state topic has of these; what went wrong is added to unread, and then the disk has to do."""
        if self.states is None:
            return {}
        try:
            return self.states.find(places)
        except OutsideError as error:
            unread.append(error)
            self.warn(f"{error} Going on with what is on disk.")
            return {}

    def _remote(self, one: Kept, unread: list[OutsideError]) -> Remote:
        states = self.states

        def fetch() -> bytes:
            assert states is not None, "it was found there"
            try:
                return states.fetch(one)
            except OutsideError as error:
                unread.append(error)
                raise SnapshotError(str(error)) from error

        return Remote(str(one), one.manifest.next_offset, fetch)

    def _taken(self, place: Place, ends: LogEnds, kept: Sequence[Kept], unread: list[OutsideError]) -> Held:
        remote = [self._remote(one, unread) for one in kept]
        loaded = self.positions.load(place, self.log_name(place), ends, remote)
        if loaded is None and unread:
            # A topic that cannot be read is not an empty one: what was learned would be thrown away, and written over.
            raise OutsideError(
                f"No state of {place} is on disk, and {unread[0]} Stopping; the next start tries again. Set "
                "state.upload_interval_s = 0 to begin without it."
            )
        shard = loaded.shard if loaded else self.new_shard(place)
        held = Held(place=place, shard=shard, decoder=self.new_decoder(place, shard), replay_until=ends.high)
        held.uploaded_at_s = self.positions.clock()
        if kept:
            held.upload_slot = kept[0].manifest.slot
        if loaded:
            held.owed.extend(loaded.owed)
            held.saved_offset, held.state_bytes = shard.next_offset, loaded.state_bytes
            held.saved_at_s = self.positions.clock()
            self.durability.outputs.send(held.owed)
        else:
            shard.next_offset = first_offset(ends, self.start)
            # The choice of start, and the seed, are part of what the state is the fold of: anchored before any record.
            self.durability.save(held)
        return held
