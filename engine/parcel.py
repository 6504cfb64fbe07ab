"""Parcel: a shard's state split by entities, and put together again. Works on exported states, knows no model.

Owns the renumbering: rows, entities and blocks are counted from zero in every state, so links between them change
when a part is taken out or two parts are joined; sources keep the numbers that the keeper has for them. An entity is
never torn, because its series share a joint model.

Not obvious: offsets and ledger stay with the part that keeps the log position. A split does not read the log.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import numpy as np

from engine.columns import Array
from engine.components.block import size
from engine.errors import ConfigError
from engine.snapshot import State, json_column, read_json_column

#: Arrays that hold numbers of rows, entities or blocks, and which of the three.
LINKS = {
    "series.link.entity": "entity",
    "series.link.block": "block",
    "entity.open.first_block": "block",
    "block.next": "block",
    "block.member": "series",
    "entity.life.about": "series",
}
#: What arrays of twins are called in a state (`engine.twins`).
TWIN = re.compile(r"twin\d+\.")
#: And what sources lend (`engine.prior`).
PRIOR = re.compile(r"prior\d+\.")
#: Windows, each with the name of its entity first (`engine.windows`).
WINDOWS = "text.windows"
_TEXTS = {"text.names": "series", "text.classes": "series", "text.entities": "entity"}
#: Trials of re-tunes and what is barred, each with the name of its entity (`engine.shadows`).
SHADOWS = "text.shadows"


def split(state: State, entities: Collection[str]) -> tuple[State, State]:
    """(the named entities, all others). The second keeps alert numbers and ledger; the first starts them afresh."""
    names = read_json_column(state.arrays["text.entities"])
    unknown = sorted(set(entities) - set(names))
    if unknown:
        raise ConfigError(f"entity {unknown[0]!r} is not in this state; it has {len(names)} others.")
    taken = {**state.manifest, "kind": "parcel", "alert_number": 0, "ledger": {}}
    manifests = (_taught(taken, entities, inside=True), _taught(state.manifest, entities, inside=False))
    parts: list[dict[str, Array]] = [{}, {}]
    for head, arrays in _apart(state.arrays).items():
        for part, inside in zip(parts, (True, False), strict=True):
            chosen = _chosen(arrays, entities, inside=inside)
            if not head or _count(chosen, "entity"):
                part.update({head + name: array for name, array in chosen.items()})
    # One of an entity that nobody has heard of yet stays.
    windows = read_json_column(state.arrays[WINDOWS]) if WINDOWS in state.arrays else []
    for part, inside in zip(parts, (True, False), strict=True):
        if mine := [one for one in windows if (one[0] in entities) == inside]:
            part[WINDOWS] = json_column(mine)
    return State(manifests[0], parts[0]), State(manifests[1], parts[1])


def _taught(manifest: Mapping[str, object], entities: Collection[str], *, inside: bool) -> dict[str, object]:
    """The manifest with what answers have taught of these entities, or of all others (`engine.lessons`)."""
    told, lessons = dict(manifest), manifest.get("lessons")
    if isinstance(lessons, Mapping):
        told["lessons"] = {name: one for name, one in lessons.items() if (name in entities) == inside}
    return told


def _apart(arrays: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    """Head of the name -> arrays: "" those of the shard itself, "twin0." and so on those of the twins (`twins`)."""
    found: dict[str, dict[str, Array]] = {"": {}}
    for name, array in arrays.items():
        head = name.split(".")[0] + "." if TWIN.match(name) else ""
        found.setdefault(head, {})[name[len(head) :]] = array
    return found


def _chosen(arrays: Mapping[str, Array], entities: Collection[str], *, inside: bool) -> dict[str, Array]:
    names = read_json_column(arrays["text.entities"])
    return _part(arrays, np.array([(name in entities) == inside for name in names], bool))


def merge(keeper: State, parcel: State) -> State:
    """The keeper with the parcel's entities added after its own.

    ConfigError if a series or an entity is in both, or if the two were made by versions with other arrays.
    """
    for what, texts in (("series", "text.names"), ("entity", "text.entities")):
        both = set(read_json_column(keeper.arrays[texts])) & set(read_json_column(parcel.arrays[texts]))
        if both:
            raise ConfigError(f"{what} {min(both)!r} is in both states; it lives in one shard only.")
    moved = _renumbered(keeper.arrays, parcel.arrays)
    own, theirs, arrays = _apart(keeper.arrays), _apart(moved), dict[str, Array]()
    for head in sorted({*own, *theirs}):
        parts = [one[head] for one in (own, theirs) if head in one]
        joined = _joined(*parts) if len(parts) == 2 else parts[0]
        arrays.update({head + name: array for name, array in joined.items()})
    if "look_ms" in parcel.arrays:
        arrays.setdefault("look_ms", parcel.arrays["look_ms"])
    manifest = dict(keeper.manifest)
    if lessons := {**parcel.manifest.get("lessons", {}), **keeper.manifest.get("lessons", {})}:
        manifest["lessons"] = dict(sorted(lessons.items()))
    return State(manifest, arrays)


def _renumbered(keeper: Mapping[str, Array], parcel: Mapping[str, Array]) -> dict[str, Array]:
    """The parcel's arrays with its sources numbered as the keeper has them.

    ConfigError if an entity of the parcel has borrowed, or may yet, from what the keeper does not know.
    """
    number = _numbers(_sources(parcel), _sources(keeper))
    source = parcel["entity.seed.source"]
    used = {*source[source >= 0].tolist(), *(_of_twin(name) for name in parcel if TWIN.match(name))}
    if not used <= set(number):
        raise ConfigError(
            "the parcel has borrowed from sources that the keeper does not have; seed both from the same."
        )
    moved = {
        TWIN.sub(f"twin{number[_of_twin(name)]}.", name) if TWIN.match(name) else name: array
        for name, array in parcel.items()
    }
    new = [number.get(int(k), int(k)) for k in source]
    return moved | {"entity.seed.source": np.array(new, source.dtype).reshape(source.shape)}


def _of_twin(name: str) -> int:
    return int(name.partition(".")[0].removeprefix("twin"))


def _sources(arrays: Mapping[str, Array]) -> dict[int, dict[str, Array]]:
    """Number -> what the source lends."""
    found: dict[int, dict[str, Array]] = {}
    for name, array in arrays.items():
        if PRIOR.match(name):
            head, _, rest = name.partition(".")
            found.setdefault(int(head.removeprefix("prior")), {})[rest] = array
    return found


def _numbers(theirs: Mapping[int, dict[str, Array]], own: Mapping[int, dict[str, Array]]) -> dict[int, int]:
    """The keeper's number of each of the parcel's sources that it knows, each given once."""
    numbers: dict[int, int] = {}
    for k, one in sorted(theirs.items()):
        like = (j for j, other in sorted(own.items()) if j not in numbers.values() and _same(one, other))
        if (found := next(like, None)) is not None:
            numbers[k] = found
    return numbers


def _same(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    return one.keys() == other.keys() and all(
        array.dtype == other[name].dtype
        and array.shape == other[name].shape
        and array.tobytes() == other[name].tobytes()
        for name, array in one.items()
    )


def _joined(own: Mapping[str, Array], theirs: Mapping[str, Array]) -> dict[str, Array]:
    _check_alike(own, theirs)
    counts = {group: _count(own, group) for group in ("series", "entity", "block")}
    arrays = dict(own)
    for name, array in theirs.items():
        if name == SHADOWS:
            mine = read_json_column(own[name]) if name in own else [[], []]
            arrays[name] = json_column([a + b for a, b in zip(mine, read_json_column(array), strict=True)])
        elif name == WINDOWS:
            mine = read_json_column(own[name]) if name in own else []
            arrays[name] = json_column(
                sorted(mine + read_json_column(array), key=lambda one: (one[0], one[1] or "", one[2:]))
            )
        elif name in _TEXTS:
            arrays[name] = json_column(read_json_column(own[name]) + read_json_column(array))
        elif name in LINKS:
            moved = np.where(array >= 0, array + counts[LINKS[name]], array).astype(array.dtype)
            arrays[name] = np.concatenate([own[name], moved])
        elif name.split(".")[0] in counts or name == "pool":
            arrays[name] = np.concatenate([own[name], array])
    return arrays


def _check_alike(own: Mapping[str, Array], theirs: Mapping[str, Array]) -> None:
    """ConfigError unless both have the same arrays a series, an entity and a block: they are put end to end."""
    for group in ("series", "entity", "block"):
        mine, others = ({name for name in arrays if name.split(".")[0] == group} for arrays in (own, theirs))
        if mine != others:
            raise ConfigError(
                f"the two states were made by different versions: {min(mine ^ others)} is in one of them only. Let one "
                "version restore and store both first."
            )


def _part(arrays: Mapping[str, Array], wanted: Array) -> dict[str, Array]:
    """The arrays of the entities for which `wanted` (bool, one an entity) is true."""
    rows = wanted[arrays["series.link.entity"]]
    blocks = np.zeros(_count(arrays, "block"), bool)
    placed = arrays["series.link.block"][rows]
    blocks[placed[placed >= 0]] = True
    kept = {"series": rows, "entity": wanted, "block": blocks}
    number = {group: np.append(np.cumsum(mask) - 1, -1) for group, mask in kept.items()}
    part = {}
    for name, array in arrays.items():
        group = name.split(".")[0]
        if name in _TEXTS:
            mask = kept[_TEXTS[name]]
            part[name] = json_column([text for text, keep in zip(read_json_column(array), mask, strict=True) if keep])
        elif name in LINKS:
            part[name] = number[LINKS[name]][array[kept[group]]].astype(array.dtype)
        elif group in kept:
            part[name] = array[kept[group]].copy()
        elif name == "pool":
            part[name] = _pool(array, arrays["block.capacity"], blocks)
        elif name == SHADOWS:
            part.update(_of_entities(array, set(read_json_column(part["text.entities"]))))
        elif name != WINDOWS:
            part[name] = array.copy()
    return part


def _of_entities(shadows: Array, entities: Collection[str]) -> dict[str, Array]:
    """The trials and bars of some entities; nothing where they have none."""
    trials, barred = read_json_column(shadows)
    kept = [[one for one in trials if one["entity"] in entities], [one for one in barred if one[2] in entities]]
    return {SHADOWS: json_column(kept)} if any(kept) else {}


def _pool(pool: Array, capacity: Array, wanted: Array) -> Array:
    size_of = {c: size(c) for c in np.unique(capacity).tolist()}
    sizes = np.array([size_of[c] for c in capacity.tolist()], np.int64)
    return np.asarray(pool[np.repeat(wanted, sizes)])


def _count(arrays: Mapping[str, Array], group: str) -> int:
    first = {"series": "series.link.entity", "entity": "entity.open.members", "block": "block.capacity"}[group]
    return len(arrays[first])
