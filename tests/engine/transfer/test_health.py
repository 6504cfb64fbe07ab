"""The gate of a source, number by number."""

from __future__ import annotations

import pytest

from engine.errors import ConfigError
from engine.transfer.health import check

GOOD = {
    "series": 10.0, "entities": 2.0, "age_samples": 5000.0, "entity_days": 10.0, "alert_records": 3.0,
    "drifting_share": 0.0, "missing_share": 0.0, "absent_share": 0.0,
}  # fmt: skip


def test_a_healthy_source_passes() -> None:
    check(GOOD)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("age_samples", 10.0),
        ("alert_records", 500.0),
        ("drifting_share", 0.5),
        ("missing_share", 0.9),
        ("absent_share", 0.4),
    ],
)
def test_each_number_can_refuse(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"no healthy source: {name} is {value:.4g}, wanted at"):
        check({**GOOD, name: value})
