"""Seeding: what sources lend to a shard that runs already, added and withdrawn by orders of kind `seed`.

Owns what such an order must say, when it is refused, and the experiment record that answers each of them, whatever has
come of it. What a source lends (`engine.prior`) is brought along by whoever has read the order; how it is tried beside
an entity is `engine.twins`. Only entities that begin after the barrier are tried with it: one that has begun has no
twin of the same age, and would be compared with a version that knows less.

Not obvious: a seed order is judged by the state and not remembered by its id. The same one has to work again after a
withdrawal, or after it was refused; and where nothing is to be done, that is an answer as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from engine import records
from engine.errors import BadSample
from engine.orders import ID_CHARACTERS
from engine.prior import Prior
from engine.records import Record
from engine.series import stable_id
from engine.snapshot import DIGEST
from engine.twins import Finding

if TYPE_CHECKING:
    from engine.shard import Shard

KIND: Final = "seed"
ADD, WITHDRAW = "add", "withdraw"
#: What has come of an order.
APPLIED, UNCHANGED, REFUSED = "applied", "unchanged", "refused"
#: Sources of one shard. Each entity is folded once more for each of them in its first hour.
MOST_SOURCES: Final = 8


class Place(NamedTuple):
    """Where an order lies in the control topic."""

    partition: int
    offset: int


def obey(shard: Shard, order: Mapping[str, Any], lent: Prior | str | None, at: Place) -> list[Record]:
    """Carry out a seed order; its record, and one of each trial that it ended. BadSample (`order`) if it is none.

    lent: the prior that the order names; a text tells why it could not be had; None: the order needs none.
    """
    params = order.get("params")
    if not isinstance(params, Mapping) or len(str(order["id"])) > ID_CHARACTERS:
        raise BadSample("order", f"a seed order needs params and an id of at most {ID_CHARACTERS} characters.")
    action, digest = params.get("action"), params.get("digest")
    if action not in (ADD, WITHDRAW) or not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise BadSample("order", f"a seed order needs action {ADD} or {WITHDRAW} and a digest of 16 hex digits.")
    before, ended = sources_of(shard), list[Finding]()
    if not shard.config.guard_seeds:
        finding, because = REFUSED, "this shard believes its only seed at once (guard_seeds is off)."
    elif action == ADD:
        finding, because = _add(shard, digest, lent)
    else:
        finding, because, ended = _withdraw(shard, digest)
    told = (records.of_finding(shard, one, shard.next_offset - 1) for one in ended)
    return [_record(shard, order, at, finding, because, before), *told]


def sources_of(shard: Shard) -> list[dict[str, Any]]:
    """The sources of a shard by number, as plain data; adopted: entities that believe it, trying: that have a twin."""
    told, source = [], shard.roster.ents.seed.source[: shard.entity_count]
    for k, prior in enumerate(shard.roster.priors):
        summary = prior.summary()
        told.append({
            "number": k,
            "digest": prior.digest,
            "environment": summary.get("environment"),
            "source": summary.get("source"),
            "classes": summary["classes"],
            "withdrawn": k in shard.twins.withdrawn,
            "adopted": int(np.count_nonzero(source == k)),
            "trying": len(shard.twins.rosters[k].entities) if k < len(shard.twins.rosters) else 0,
        })  # fmt: skip
    return told


def _add(shard: Shard, digest: str, lent: Prior | str | None) -> tuple[str, str]:
    k = _number_of(shard, digest)
    if k is not None and k not in shard.twins.withdrawn:
        return UNCHANGED, f"source {k} lends this already."
    if k is not None:
        shard.twins.withdrawn.discard(k)
        return APPLIED, f"source {k} lends again, to entities that begin from here on."
    if not isinstance(lent, Prior):
        return REFUSED, lent or "what is to be lent did not come with the order."
    if lent.digest != digest:
        return REFUSED, f"what came has the digest {lent.digest}, the order names {digest}."
    k = _free(shard)
    if k >= MOST_SOURCES:
        return (
            REFUSED,
            f"this shard has {MOST_SOURCES} sources, the most there may be; withdraw one that is not in use.",
        )
    shard.twins.lend(shard.roster, k, lent)
    return APPLIED, f"source {k} lends to entities that begin from here on; those that have begun stay as they are."


def _withdraw(shard: Shard, digest: str) -> tuple[str, str, list[Finding]]:
    nothing = UNCHANGED, "nothing of this digest is lent here.", list[Finding]()
    k = _number_of(shard, digest)
    if k is None:
        return nothing
    was_withdrawn = k in shard.twins.withdrawn
    # A parcel from elsewhere may have brought trials of it along since.
    ended, found = shard.twins.withdraw(shard.roster, k, shard.clock_ms)
    if was_withdrawn and not ended:
        return nothing
    kept = int(np.count_nonzero(shard.roster.ents.seed.source[: shard.entity_count] == k))
    because = f"source {k} lends no more: {ended} trials end, {kept} entities keep what they have adopted."
    return APPLIED, because, found


def _number_of(shard: Shard, digest: str) -> int | None:
    return next((k for k, prior in enumerate(shard.roster.priors) if prior.digest == digest), None)


def _free(shard: Shard) -> int:
    """The number of a withdrawn source that nobody uses any more; else the next one."""
    source = shard.roster.ents.seed.source[: shard.entity_count]
    unused = (
        k for k in sorted(shard.twins.withdrawn) if not (source == k).any() and not shard.twins.rosters[k].entities
    )
    return next(unused, len(shard.roster.priors))


def _record(
    shard: Shard, order: Mapping[str, Any], at: Place, finding: str, because: str, before: list[dict[str, Any]]
) -> Record:
    name = stable_id("seed", order["id"], shard.topic, shard.partition, *at)
    told = {
        "kind": KIND,
        "finding": finding,
        "because": because,
        "order": dict(order),
        "control": {"partition": at.partition, "offset": at.offset},
        "before": {"sources": before},
        "after": {"sources": sources_of(shard)},
        "applied_at": {"topic": shard.topic, "partition": shard.partition, "offset": shard.next_offset},
    }
    return records.experiment(shard, name, None, None, told, shard.next_offset - 1)
