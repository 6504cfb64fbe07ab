"""The drift benchmark: cases are what they say, and its figures are counted as it says."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import drift, drift_cases
from benchmarks.drift_cases import KINDS, case


@pytest.mark.parametrize("kind", KINDS)
def test_a_case_is_the_same_each_time_and_changes_at_its_moment_only(kind: str) -> None:
    for number in range(6):
        one, again = case(kind, number), case(kind, number)
        assert np.array_equal(one.values, again.values)
        assert one.step_s == drift_cases.STEPS_S[number % 3]
        assert 0 < one.at < one.until <= len(one.values)
        assert np.isfinite(one.values).all()
    deploy = case("deploy", 0)
    steps = np.abs(np.diff(deploy.values[:, 0]))
    assert steps[deploy.at - 1] > 3.0 * np.median(steps[: deploy.at - 1])


def made(kind: str, **changes: object) -> drift.Run:
    one = drift.Run(kind, 60, 100.0, ("level",), [("level", 11.0)], [("level", 20.0)], 0, 1, True, 0)
    return one._replace(**changes)


def test_shares_are_of_cases() -> None:
    found = drift.summary(
        [made("deploy"), made("deploy", kept=[("gain", 12.0), ("level", 29.0)], alerts=2, early=1),
         made("deploy", drifts=[], kept=[], alerts=0, is_absorbed=False), made("deploy", kept=[("level", 31.0)])]
    )  # fmt: skip
    assert found["seen"] == 0.75
    assert found["named"] == 0.5
    assert found["within_30"] == 0.5
    assert found["absorbed"] == 0.75
    assert (found["alerts_at_most_1"], found["alerted"]) == (0.75, 0.75)
    assert found["false_per_10k_h"] == 25.0


def test_a_deploy_is_folded_with_and_without_re_tuning() -> None:
    tuned, off = drift.run(("deploy", 2, True)), drift.run(("deploy", 2, False))
    assert tuned.kept
    assert not off.kept
    assert off.drifts
