"""Transfer: what one environment has learned, as a start for another. distil -> match -> plan -> lend.

health       may this environment be a source at all
fingerprint  what a series is like, whatever its unit and level
distil       a checkpoint becomes a source snapshot: no raw sample, no level
form         which arrays a source has
card         what people must know of it: origin, schema, labels, lineage; with `golden` vectors, `edges`, `unit`
left_out     would the other entities have helped this one, and how many samples is that worth; what is `learned`
merge        several sources become one
words        what a source has otherwise than another, in words
match        nearest class, distance, zone
plan         the whole decision as data, before anything happens
planned      a plan that was written down, read back and not believed before it is checked
strength     pseudo-samples by zone, and how they thaw
lend         a source and a plan become the prior that a shard seeds with (`engine.prior`)
"""

from __future__ import annotations

from engine.transfer.distil import distil
from engine.transfer.lend import read_prior
from engine.transfer.merge import merge
from engine.transfer.plan import Entry, Plan, plan
from engine.transfer.planned import read_plan

__all__ = ["Entry", "Plan", "distil", "merge", "plan", "read_plan", "read_prior"]
