"""The name of a worker: the same after a restart, never that of another."""

from __future__ import annotations

import os
from pathlib import Path

from agents import instance


def test_a_name_stays_and_is_one_workers(tmp_path: Path) -> None:
    one, two = instance.claim(tmp_path), instance.claim(tmp_path)
    assert (one.slot, two.slot) == (0, 1)
    assert one.name.rpartition("-")[0] == two.name.rpartition("-")[0]
    os.close(one.lock)
    assert instance.claim(tmp_path).name == one.name
    os.close(two.lock)


def test_folders_that_a_crash_has_left_without_a_word_get_one_each(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / instance.FOLDER).mkdir(parents=True)
        (tmp_path / name / instance.FOLDER / "id").touch()
    assert instance.claim(tmp_path / "a").name != instance.claim(tmp_path / "b").name
