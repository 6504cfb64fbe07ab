"""A secret does not get out by accident."""

from __future__ import annotations

import copy
import logging
import pickle
import traceback
from typing import Any

import msgspec
import orjson
import pytest

from agents.secret import MASK, Secret, dec_hook, enc_hook, mask

CANARY = "canary-4711"


class Holder(msgspec.Struct, frozen=True):
    key: Secret


def shown(what: Any) -> str:
    try:
        return str(what())
    except Exception:  # noqa: BLE001 - a traceback is one of the places that are searched
        return traceback.format_exc()


@pytest.mark.parametrize(
    "way",
    [
        repr, str, lambda s: f"{s}", lambda s: f"{s:>20}", lambda s: f"{s} {s!r}",
        lambda s: f"x{s}", lambda s: "x" + s, lambda s: orjson.dumps({"s": s}), lambda s: repr([s, {"k": s}]),
        pickle.dumps, copy.deepcopy, lambda s: repr(Holder(s)), lambda s: s.missing,
        vars, lambda s: msgspec.json.encode(Holder(s), enc_hook=enc_hook), int,
        lambda s: logging.LogRecord("n", 20, "p", 1, "key %s", (s,), None).getMessage(), lambda s: {"key": s},
    ],
)  # fmt: skip
def test_no_way_shows_it(way: Any) -> None:
    assert CANARY not in shown(lambda: way(Secret(CANARY)))


def test_equal_secrets_are_equal() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
    assert (bool(Secret("")), bool(Secret("a"))) == (False, True)


def test_hooks() -> None:
    holder = msgspec.convert({"key": CANARY}, Holder, dec_hook=dec_hook)
    assert holder.key.reveal() == CANARY
    assert msgspec.convert({"key": holder.key}, Holder, dec_hook=dec_hook) == holder
    assert msgspec.to_builtins(holder, enc_hook=enc_hook) == {"key": MASK}
    with pytest.raises(msgspec.ValidationError, match=r"at `\$\.key`"):
        msgspec.convert({"key": 5}, Holder, dec_hook=dec_hook)


def test_mask_takes_the_longest_first() -> None:
    assert mask("abc ab", (Secret("ab"), Secret("abc"), Secret(""))) == "*** ***"
