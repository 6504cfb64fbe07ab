"""Twins: of each entity that may borrow a second version, until it is settled which of the two is to be believed.

Owns the other versions, when they are looked at, and what follows. An entity begins cold; beside it, in a roster for
each source, it begins with what that source lends. The same kernels fold both. Only the shard's own version is scored,
told of and alerted on; of the other nothing leaves but its forecasts (`components/guard`). After an hour the most alike
of the sources takes the place of the cold version, if it is alike enough, and the cold one becomes the twin. It comes
back if the likeness fades. After a day the twin is given up, and its memory with it; earlier, if it is not believed
and shown to forecast worse (`engine/evidence.py`).

Not obvious, three things. (1) What is believed (`engine/choosing.py`) goes by likeness, not by success:
of real services, those whose lent forecasts are shown to be worse are paged for better with what was lent. (2) A twin
sees the samples that the shard has accepted, after it, under its clock: it cannot know of other samples, times or
absences. (3) A stretch of the log ends after the first sample that is late enough for a look, and the look is taken if
the shard's clock is as late; so cuts of batches do not matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from engine import choosing
from engine import state as layout
from engine.account import accounts
from engine.batch import Batch
from engine.choosing import Decisions
from engine.columns import Array
from engine.components import guard
from engine.components.habit import HOUR_MS
from engine.components.worth import SEEDED
from engine.config import EngineConfig
from engine.errors import SnapshotError
from engine.evidence import PROOF, against
from engine.exchange import swap
from engine.fold import LEARNED, MISSING, SCORED_ONLY
from engine.keeping import keep
from engine.pairs import Pairs
from engine.prior import Prior
from engine.roster import Roster
from engine.state import Context, Marks, TickMarks, fresh_marks, fresh_ticks
from engine.trials import Trials

if TYPE_CHECKING:
    from engine.events import Events

#: Event time between two looks, and until all is settled. The first decision is after an hour.
LOOK_MS, SETTLED_MS = 900_000, 86_400_000


class Finding(NamedTuple):
    """What a look has led to. what: adopted | refused | returned | passed; e: the entity; the rest are its reasons.

    Or settled: the day is over for a twin that is not believed, or it was shown to forecast worse; or standing: asked
    in between. Both decide nothing. proof: e-value against the version that has borrowed, see `engine.evidence`; worth:
    what the trial has come to, see `engine.account`.
    """

    what: str
    e: int
    source: int
    unlike: float
    loud: float
    age_ms: int = 0
    proof: float = 1.0
    worth: dict[str, Any] | None = None


class Twins:
    """The other versions, a roster a source. look_ms: event time of the next look, -1: at once."""

    def __init__(self, config: EngineConfig, priors: Sequence[Prior] = ()) -> None:
        self.config = config
        self.rosters = [Roster(config, [prior], lends=True) for prior in priors]
        self.look_ms = -1
        #: Numbers of sources that lend to nobody new.
        self.withdrawn: set[int] = set()
        self._pairs = [Pairs() for _ in priors]
        self._trials: dict[int, Trials] = {}

    def __len__(self) -> int:
        return sum(len(roster.entities) for roster in self.rosters)

    def place(self, own: Roster, new: Sequence[int]) -> None:
        """Give the new series of fresh entities, and of those that have a twin, one. Before `own.place(new)`."""
        rows = np.array(new, np.int64)
        entity_of, seed = own.rows.link.entity[rows], own.ents.seed.source
        is_fresh = (own.ents.open.first_block[entity_of] < 0) & (seed[entity_of] == guard.NEVER)
        for k, (roster, pairs) in enumerate(zip(self.rosters, self._pairs, strict=True)):
            pairs.fit(own)
            has_twin = pairs.twin[entity_of] >= 0
            at = rows[has_twin | is_fresh if k not in self.withdrawn else has_twin]
            if len(at):
                twins = roster.admit_all_like(own, at)
                roster.place(twins)
                pairs.add(own, at, roster, np.array(twins, np.int32))
                own.rows.guard.other[at] = guard.FIRST

    def lend(self, own: Roster, k: int, prior: Prior) -> None:
        """Let entities that begin from now on try what a source lends. k: its number, the next or one that is free."""
        self.rosters[k : k + 1] = [Roster(self.config, [prior], lends=True)]
        self._pairs[k : k + 1] = [Pairs()]
        own.priors = (*own.priors[:k], prior, *own.priors[k + 1 :])
        self.withdrawn.discard(k)

    def withdraw(self, own: Roster, k: int, now_ms: int) -> tuple[int, list[Finding]]:
        """Give up the trials of source k, and begin none; who has adopted it keeps it.

        How many trials ended, and what those came to of which something was measured. now_ms: the shard's clock.
        """
        self.withdrawn.add(k)
        self._fit(own)
        es, seed = self._pairs[k].owners(), own.ents.seed
        es = es[seed.source[es] != k]
        found = self._standing(own, k, es, now_ms)
        self._give_up(k, es)
        alone = es[np.all([pairs.twin[es] < 0 for pairs in self._pairs], axis=0)]
        self._without_twin(own, alone)
        seed.since_ms[alone[seed.source[alone] == guard.NEVER]] = -1
        if not len(self):
            self.look_ms = -1
        return len(es), [one._replace(what="settled") for one in found]

    def stop(self, batch: Batch, begin: int, until: int) -> int:
        """Where the stretch from `begin` on ends: at `until`, or after the first sample late enough for a look."""
        if not len(self):
            return until
        due = np.flatnonzero(batch.ts_ms[begin:until] >= self.look_ms)
        return begin + int(due[0]) + 1 if len(due) else until

    def fold(
        self, own: Roster, batch: Batch, begin: int, end: int, marked: Array | None, marks: Marks, ticks: TickMarks,
        kernel: Any, events: Events, context: Context,
    ) -> None:  # fmt: skip
        """Fold what the shard has accepted of a stretch of the log, and mix the forecasts into `marks`, in place.

        marked: which samples of the batch are not learned, None: all are. ticks: those that the shard has closed in the
        stretch. kernel: see `engine/marked.py`.
        """
        accepted = np.isin(marks.outcome[begin:end], (LEARNED, SCORED_ONLY, MISSING))
        self._fit(own)
        off, band = (np.full(end - begin, np.nan, np.float32) for _ in range(2))
        kind = np.zeros(end - begin, np.uint8)
        unlearned = np.zeros(end - begin, bool) if marked is None else marked[begin:end]
        for k in reversed(range(len(self.rosters))):
            if not self.rosters[k].names:
                continue
            twins = self._pairs[k].row[batch.row[begin:end]]
            at = np.flatnonzero(accepted & (twins >= 0))
            told, closed = self._fold(
                k, batch, begin + at, twins[at], unlearned[at] if unlearned[at].any() else None, kernel, events, context
            )
            trial, is_bet = self._trial(k), ~unlearned[at]
            bets = told if is_bet.all() else Marks(*(column[is_bet] for column in told))
            trial.enter(
                own, k, self.look_ms - LOOK_MS, batch.row, begin + at[is_bet], twins[at[is_bet]], marks, bets
            )  # fmt: skip
            trial.page(own, self._pairs[k], k, ticks, closed)
            off[at], band[at], kind[at] = told.off, told.band, told.kind
        expected, own_off, own_band = (column[begin:end] for column in (marks.expected, marks.off, marks.band))
        guard.mix_forecasts(
            batch.row[begin:end], 0, end - begin, own.rows.guard, marks.kind[begin:end], kind, off, band, expected,
            own_off, own_band, unlearned,
        )  # fmt: skip

    def _fold(
        self, k: int, batch: Batch, at: Array, row: Array, marked: Array | None, kernel: Any, events: Events,
        context: Context,
    ) -> tuple[Marks, TickMarks]:  # fmt: skip
        roster, ts_ms, value = self.rosters[k], batch.ts_ms[at], batch.value[at]
        marks, ticks, cursor = fresh_marks(len(at)), fresh_ticks(2 * len(at) + 4), np.zeros(layout.CURSORS, np.int64)
        context = context._replace(cursor=cursor, series_count=len(roster.names), is_large=False, is_twin=True)
        columns = (roster.rows, roster.ents, roster.block, roster.pool)
        done = 0
        while done < len(at):
            # Nobody is told what a twin finds.
            cursor[layout.EVENTS] = 0
            done = int(kernel(row, ts_ms, value, done, *columns, marks, ticks, events, context, marked))
        closed = TickMarks(*(column[: cursor[layout.TICKS]] for column in ticks))
        return marks, closed._replace(at=at[closed.at])

    def look(self, own: Roster, now_ms: int) -> list[Finding]:
        """Decide what is to be believed; now_ms: the shard's clock. Nothing before it has come to `look_ms`."""
        if not len(self) or now_ms < self.look_ms:
            return []
        self.look_ms = (now_ms // LOOK_MS + 1) * LOOK_MS
        for k, roster in enumerate(self.rosters):
            if roster.names:
                self._trial(k).settle(roster)
        es, seed = self._on_trial(own), own.ents.seed
        is_new = seed.since_ms[es] < 0
        self._begin(own, es[is_new], now_ms)
        es = es[~is_new]
        age_ms = now_ms - seed.since_ms[es]
        proof = self._proof(es)
        is_lost = (seed.source[es] == guard.REFUSED) & (proof.max(axis=0, initial=1.0) >= PROOF)
        decided = self._decide(own, es, age_ms)
        self._obey(own, es, decided)
        is_over = ((age_ms >= SETTLED_MS) | is_lost) & (decided.what != choosing.ADOPTED)
        borrowed = np.array([pairs.has_borrowed(self.rosters[k], es) for k, pairs in enumerate(self._pairs)])
        findings = self._measured(own, _told(es, age_ms, decided, is_over, borrowed, proof))
        is_cold = (seed.source[es] == guard.NEVER) & ~borrowed.any(axis=0)
        self._without_twin(own, es[is_cold | is_over])
        seed.source[es[is_over & ~is_cold & (seed.source[es] == guard.NEVER)]] = guard.REFUSED
        seed.since_ms[es[is_cold]] = -1
        for k in range(len(self.rosters)):
            is_left = (decided.what != choosing.NOTHING) & (decided.source != k)
            self._give_up(k, es[is_cold | is_over | is_left])
        if not len(self):
            self.look_ms = -1
        return findings

    def _on_trial(self, own: Roster) -> Array:
        """The entities with a twin, those of the first source first."""
        self._fit(own)
        es = np.concatenate([pairs.owners() for pairs in self._pairs])
        return es[np.sort(np.unique(es, return_index=True)[1])]

    def _begin(self, own: Roster, es: Array, now_ms: int) -> None:
        """The trials of entities that have had a sample begin."""
        # When it was given its place depends on where batches end; its first sample does not.
        first = own.block.member[own.ents.open.first_block[es], 0]
        own.ents.seed.since_ms[es[own.rows.presence.last_ms[first] >= 0]] = now_ms

    def _proof(self, es: Array) -> Array:
        """(sources, m): e-values against the versions that have borrowed, as of the last look; 1: there is none."""
        proof = np.ones((len(self.rosters), len(es)))
        for k, pairs in enumerate(self._pairs):
            has_twin = np.flatnonzero(pairs.twin[es] >= 0)
            if len(has_twin):
                proof[k, has_twin] = against(self._trial(k).evidence, SEEDED)[pairs.twin[es[has_twin]]]
        return proof

    def _decide(self, own: Roster, es: Array, age_ms: Array) -> Decisions:
        decided = Decisions.none(len(es))
        due = np.flatnonzero((age_ms >= HOUR_MS) & (own.ents.seed.source[es] != guard.REFUSED))
        if len(due):
            found = choosing.decide(own, self.rosters, self._pairs, es[due], age_ms[due], SETTLED_MS)
            for column, part in zip(decided, found, strict=True):
                column[due] = part
        return decided

    def _obey(self, own: Roster, es: Array, decided: Decisions) -> None:
        """Who adopts and who returns changes places with the twin."""
        is_adopted, is_returned = (decided.what == what for what in (choosing.ADOPTED, choosing.RETURNED))
        for k, (roster, pairs) in enumerate(zip(self.rosters, self._pairs, strict=True)):
            changed = es[(is_adopted | is_returned) & (decided.source == k)]
            if len(changed):
                swap(own, changed, roster, pairs)
        own.ents.seed.source[es[is_adopted]] = decided.source[is_adopted]
        own.ents.seed.source[es[is_returned | (decided.what == choosing.REFUSED)]] = guard.REFUSED

    def standing(self, own: Roster, now_ms: int) -> list[Finding]:
        """What each trial that goes on has come to so far. Decides and changes nothing."""
        self._fit(own)
        return [one for k, pairs in enumerate(self._pairs) for one in self._standing(own, k, pairs.owners(), now_ms)]

    def _standing(self, own: Roster, k: int, es: Array, now_ms: int) -> list[Finding]:
        """Before its first look, or where nothing is lent, there is nothing to tell of a trial."""
        seed = own.ents.seed
        has_borrowed = (seed.source[es] == k) | self._pairs[k].has_borrowed(self.rosters[k], es)
        es = es[(seed.since_ms[es] >= 0) & has_borrowed]
        ages, proofs = (now_ms - seed.since_ms[es]).tolist(), self._proof(es)[k].tolist()
        found = [
            Finding("standing", e, k, np.nan, np.nan, age_ms, proof)
            for e, age_ms, proof in zip(es.tolist(), ages, proofs, strict=True)
        ]
        return self._measured(own, found)

    def _measured(self, own: Roster, found: list[Finding]) -> list[Finding]:
        """The same findings with what each trial has come to."""
        worths: dict[int, dict[str, Any]] = {}
        for k in {one.source for one in found}:
            at = [n for n, one in enumerate(found) if one.source == k]
            worths.update(zip(at, self._worths(own, k, [found[n] for n in at]), strict=True))
        return [one._replace(worth=worths[n]) for n, one in enumerate(found)]

    def _worths(self, own: Roster, k: int, found: list[Finding]) -> list[dict[str, Any]]:
        roster, pairs, trial = self.rosters[k], self._pairs[k], self._trial(k)
        es = np.array([one.e for one in found])
        of, mine = own.members_of_all(es)
        has_twin = pairs.row[mine] >= 0
        of, mine = of[has_twin], mine[has_twin]
        theirs, is_seeded = pairs.row[mine], own.ents.seed.source[es[of]] == k
        borrowed = [
            one or other
            for one, other in zip(
                own.borrowed_of(np.where(is_seeded, mine, -1)), roster.borrowed_of(np.where(is_seeded, -1, theirs)),
                strict=True,
            )
        ]  # fmt: skip
        classes = [own.classes[row] for row in mine.tolist()]
        hours = [one.age_ms / HOUR_MS for one in found]
        return accounts(
            trial.forecasts, theirs, of, classes, borrowed, trial.pages, pairs.twin[es], hours=hours
        )  # fmt: skip

    def _without_twin(self, own: Roster, es: Array) -> None:
        own.rows.guard.other[own.members_of_all(es)[1]] = 0.0

    def _fit(self, own: Roster) -> None:
        for pairs in self._pairs:
            pairs.fit(own)

    def _give_up(self, k: int, es: Array) -> None:
        """The twins in roster k of entities of the shard, as far as they have one there."""
        pairs, roster = self._pairs[k], self.rosters[k]
        given_up = pairs.twin[es]
        given_up = given_up[given_up >= 0]
        if not len(given_up):
            return
        is_kept = np.ones(len(roster.entities), bool)
        is_kept[given_up] = False
        trial = self._trial(k)
        pairs.keep(is_kept[roster.rows.link.entity[: len(roster.names)]], is_kept)
        trial.keep(*keep(roster, is_kept))

    def _trial(self, k: int) -> Trials:
        """The account of the twins of source k, with room for all of them."""
        trial = self._trials.setdefault(k, Trials())
        trial.grow(self.rosters[k])
        return trial

    def _export(self, k: int) -> dict[str, Array]:
        return self.rosters[k].export() | self._trial(k).export(self.rosters[k])

    def export(self) -> dict[str, Array]:
        """Arrays of the state; none where all is settled."""
        arrays = {"withdrawn": np.array(sorted(self.withdrawn), np.int16)} if self.withdrawn else {}
        if not len(self):
            return arrays
        arrays["look_ms"] = np.array([self.look_ms], np.int64)
        for k in range(len(self.rosters)):
            own = {name: array for name, array in self._export(k).items() if not name.startswith("prior")}
            arrays.update({f"twin{k}.{name}": array for name, array in own.items()})
        return arrays

    @staticmethod
    def restore(arrays: Mapping[str, Array], config: EngineConfig, own: Roster) -> Twins:
        """What `export` gave. The priors are the shard's."""
        twins = Twins(config, own.priors if config.guard_seeds else ())
        for k, prior in enumerate(own.priors if config.guard_seeds else ()):
            head = f"twin{k}."
            state = {name[len(head) :]: array for name, array in arrays.items() if name.startswith(head)}
            if state:
                twins.rosters[k] = Roster.restore(state, config, priors=[prior], lends=True)
                twins._trials[k] = Trials.restore(state, twins.rosters[k])
        twins.withdrawn = set(arrays["withdrawn"].tolist()) if "withdrawn" in arrays else set()
        if not twins.withdrawn <= set(range(len(own.priors))):
            raise SnapshotError("a source that is not there was withdrawn in this state; use an older snapshot")
        # A part of a state may have lost all of its trials to the other one, and has no next look then.
        twins.look_ms = int(arrays["look_ms"][0]) if len(twins) and "look_ms" in arrays else -1
        twins._pairs = [Pairs.of(own, roster) for roster in twins.rosters]
        return twins

    def nbytes(self) -> int:
        """Bytes of the columns in use."""
        return sum(roster.nbytes() for roster in self.rosters) + sum(trial.nbytes() for trial in self._trials.values())


def _told(
    es: Array, age_ms: Array, decided: Decisions, is_over: Array, borrowed: Array, proof: Array
) -> list[Finding]:  # fmt: skip
    """What was decided; where a trial ends without a decision, that alone, of each source that had lent: settled."""
    found = list[Finding]()
    for at in np.flatnonzero((decided.what != choosing.NOTHING) | is_over).tolist():
        e, age, what = int(es[at]), int(age_ms[at]), str(decided.what[at])
        if what:
            unlike, loud = float(decided.unlike[at]), float(decided.loud[at])
            k = int(decided.source[at])
            found.append(Finding(what, e, k, unlike, loud, age, float(proof[k, at])))
        else:
            of = np.flatnonzero(borrowed[:, at]).tolist()
            found += [Finding("settled", e, k, np.nan, np.nan, age, float(proof[k, at])) for k in of]
    return found
