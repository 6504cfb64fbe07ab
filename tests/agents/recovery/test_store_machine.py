"""Any history of saves, deaths, damage and restarts, against a model of a few lines: a restart finds what it should."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from agents.failpoint import arm
from agents.recovery.store import StateStore
from engine.snapshot import pack

KEEP = 3
#: Where the worker dies during a save, and whether the new snapshot is there afterwards.
DEATHS = {"snapshot-half": False, "snapshot-written": False, "snapshot-synced": False, "snapshot-renamed": True}


class _Death(BaseException):
    """Stands for SIGKILL inside one process; test_store_faults.py has the real one."""


def _die() -> None:
    raise _Death


class Histories(RuleBasedStateMachine):
    """model: offset -> whether its file is whole. refused: what the last restart could not use."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.model: dict[int, bool] = {}
        self.refused: set[int] = set()
        self.position = 0

    @initialize()
    def open(self) -> None:
        self.store = StateStore(self.folder.name, keep=KEEP, days=0)

    @rule(step=st.integers(0, 3))
    def save(self, step: int) -> None:
        self._advance(step)
        self.store.save("metrics", 0, self.position, self._data())
        self.model = {at: whole for at, whole in self.model.items() if at == self.position or at not in self.refused}
        self.model[self.position] = True
        self.refused = set()
        upto = sorted((at for at in self.model if at <= self.position), reverse=True)
        for at in upto[KEEP:]:
            del self.model[at]

    @rule(step=st.integers(0, 3), where=st.sampled_from(sorted(DEATHS)))
    def die_in_a_save(self, step: int, where: str) -> None:
        self._advance(step)
        with arm(where, _die):
            try:
                self.store.save("metrics", 0, self.position, self._data())
            except _Death:
                pass
            else:
                raise AssertionError("it did not die")
        if DEATHS[where]:
            self.model[self.position] = True
        self.restart()

    @precondition(lambda self: any(self.model.values()))
    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        at = data.draw(st.sampled_from(sorted(at for at, whole in self.model.items() if whole)))
        path = next(one.path for one in self.store.list() if one.next_offset == at)
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)
        self.model[at] = False

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = StateStore(self.folder.name, keep=KEEP, days=0)
        state, path, skipped = self.store.load_newest("metrics", 0)
        whole = [at for at, good in self.model.items() if good]
        self.position = max(whole, default=0)
        self.refused = {at for at in self.model if at > self.position or not whole}
        assert {int(one.name[:20]) for one, _ in skipped} == self.refused
        assert (state is None) == (path is None) == (not whole)
        if state is not None:
            assert state.manifest["next_offset"] == self.position
            assert (state.arrays["x"] == self.position).all()

    def teardown(self) -> None:
        self.store.close()
        assert list(Path(self.folder.name).rglob("*.tmp")) == []
        self.folder.cleanup()

    def _advance(self, step: int) -> None:
        self.position += step

    def _data(self) -> bytes:
        manifest = {"kind": "checkpoint", "next_offset": self.position}
        return pack(manifest, {"x": np.full(20, self.position, np.int64)})


Histories.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestHistories = Histories.TestCase
