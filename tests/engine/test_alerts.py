"""Life of an alert: every pair of state and signal has an answer, and the answers are the ones meant."""

from __future__ import annotations

import itertools

import pytest

from engine import alerts as life
from engine.columns import allocate_one
from engine.verdict import ALERT, QUIET
from tests.engine.components.feed import plain

EXPECTED = {
    ("idle", "calm"): ("idle", "nothing"),
    ("idle", "warm"): ("idle", "nothing"),
    ("idle", "doubt"): ("pending", "ask"),
    ("idle", "page"): ("firing", "fire"),
    ("idle", "expiry"): ("idle", "nothing"),
    ("pending", "calm"): ("pending", "nothing"),
    ("pending", "warm"): ("pending", "nothing"),
    ("pending", "doubt"): ("pending", "nothing"),
    ("pending", "page"): ("firing", "fire"),
    ("pending", "expiry"): ("idle", "expire"),
    ("firing", "calm"): ("resolving", "nothing"),
    ("firing", "warm"): ("firing", "nothing"),
    ("firing", "doubt"): ("firing", "nothing"),
    ("firing", "page"): ("firing", "nothing"),
    ("firing", "expiry"): ("idle", "resolve"),
    ("resolving", "calm"): ("resolving", "nothing"),
    ("resolving", "warm"): ("firing", "nothing"),
    ("resolving", "doubt"): ("firing", "nothing"),
    ("resolving", "page"): ("firing", "nothing"),
    ("resolving", "expiry"): ("idle", "resolve"),
}


@pytest.mark.parametrize(("state", "signal"), list(itertools.product(life.STATES, life.SIGNALS)))
def test_each_pair_of_state_and_signal(state: str, signal: str) -> None:
    after, action = life.NEXT[life.STATES.index(state), life.SIGNALS.index(signal)]
    assert (life.STATES[after], life.ACTIONS[action]) == EXPECTED[state, signal]


def test_whoever_was_paged_hears_of_the_end() -> None:
    """From any state in which an alert was fired, the way back to idle goes through a resolve."""
    for state, signal in itertools.product(range(4), range(5)):
        after, action = life.NEXT[state, signal]
        if state in (life.FIRING, life.RESOLVING) and after == life.IDLE:
            assert action == life.RESOLVE
        if state == life.PENDING and after == life.IDLE:
            assert action == life.EXPIRE


advance = plain(life.advance)


def told(columns: life.Life, ticks: list[tuple[float, int]]) -> list[str]:
    """What follows on (severity, decision) of one tick after the other."""
    found = []
    for k, (severity, decision) in enumerate(ticks):
        action = advance(columns, life.NEXT, 0, 60_000 * k, 60_000.0, severity, decision)
        found.append(life.ACTIONS[action])
    return found


@pytest.mark.parametrize("calm_before", [0, 100])
def test_an_alert_resolves_after_so_many_calm_ticks_of_its_own(calm_before: int) -> None:
    """Also where the page comes before the severity: calm from before it does not count."""
    columns = allocate_one(life.Life, life.COLUMNS, 1)
    actions = told(columns, [(0.3, QUIET)] * calm_before + [(1.0, ALERT)] + [(0.5, QUIET)] * 10)
    fired = actions.index("fire")
    assert fired == calm_before
    assert actions.index("resolve") - fired == life.CALM_TICKS
