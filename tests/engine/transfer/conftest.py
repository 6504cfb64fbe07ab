"""What is lent in most tests of trials: by a town of the same kind, and by one of another."""

from __future__ import annotations

import pytest

from engine.prior import Prior
from engine.transfer import read_prior
from tests.engine.transfer.towns import HOSTILE, Town, source


@pytest.fixture(scope="module")
def alike() -> Prior:
    return read_prior(source(Town(seed=1)))


@pytest.fixture(scope="module")
def hostile() -> Prior:
    return read_prior(source(HOSTILE))
