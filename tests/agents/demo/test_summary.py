"""What the demo says of its seed: the report of its own records, in two lines."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from agents.demo.scoreboard import Heard
from agents.demo.summary import transfer, transfer_lines
from agents.demo.words import of_record
from tests.engine.transfer.accounts import record, retune, worth


def story(*records: dict[str, Any]) -> Any:
    heard = [Heard("experiments", one, None) for one in records] + [Heard("alerts", {"state": "firing"}, None)]
    return cast("Any", SimpleNamespace(ears=SimpleNamespace(heard=lambda: heard)))


def test_two_lines_from_the_records_of_the_run() -> None:
    fleet = transfer(
        story(record("host=a", "passed", 24, worth()), record("host=b", "refused", 1), *retune("e", "s", 3))
    )
    first, second = transfer_lines(fleet)
    assert first == (
        "  seed    worth about 8 h of learning; of 4 series 3 forecast better than their cold twin, 1 as well, 0 worse"
    )
    assert second == (
        "          errors x 0.50; 1 refused, 0 taken back of 2; 2 pages that the cold version alone would have sent"
    )


def test_a_run_that_was_cut_short_says_so() -> None:
    assert transfer(story()) is None
    assert transfer_lines(None) == ["  seed    nothing was decided about it yet"]
    young = transfer(story(record("host=a", "adopted", 1, worth(0, 0, 0, gains=()))))
    assert transfer_lines(young) == ["  seed    nothing is measured yet; 0 refused, 0 taken back of 1"]


def test_the_event_log_tells_of_evictions_and_not_of_accounts() -> None:
    told = [
        of_record(Heard("experiments", record("host=a", finding, 1), None), 0)
        for finding in ("adopted", "passed", "settled", "standing", "refused", "returned")
    ]
    assert [event is not None for event in told] == [False] * 4 + [True] * 2
