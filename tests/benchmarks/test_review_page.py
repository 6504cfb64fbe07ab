"""The page's benchmark at a size that takes seconds: it measures every page, and its baseline in the same run."""

from __future__ import annotations

import json

import pytest

from benchmarks import review_page
from benchmarks.browser import chromium


@pytest.mark.slow
def test_it_prints_one_object_with_each_page_and_the_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    review_page.main(["--questions", "30", "--alerts", "30", "--repeats", "2", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert set(found["server"]) == set(review_page.paths(30, 30))
    assert all(of["median_ms"] > 0 for of in found["server"].values())
    for painted in (found["paint"], found["paint_in_a_new_tab"]):
        if chromium() is None:
            assert painted is None
        else:
            assert set(painted) == {"baseline", *review_page.PAINTED}
