"""The card of a source snapshot for people, and what `graft snapshot` asks of a source beyond what it asks of a state.

Owns how a card reads. Knows nothing of how it was made (`engine/transfer/card`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agents.cli.out import Out
from engine.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from engine.snapshot import State

#: Classes, steps of a lineage and labels that are shown; --json has all.
MOST_ROWS, MOST_STEPS, MOST_LABELS = 200, 20, 12


def has_card(state: State) -> bool:
    """Is it a source with all that a card needs to be shown? What is not is shown as any other snapshot."""
    from engine.errors import GraftError
    from engine.transfer import form

    try:
        form.check(state)
    except GraftError:
        return False
    return True


def check_source(path: Path, state: State) -> None:
    """Nothing for what is no source; else ConfigError naming the file whose form, card or vectors do not hold."""
    if state.manifest.get("kind") == "source":
        from engine.errors import GraftError
        from engine.transfer import card

        try:
            card.check(state)
        except GraftError as error:
            raise ConfigError(f"{path}: {error}") from None


def weights_of(text: str | None, files: int) -> list[float] | None:
    """The numbers of --weight, one a file.

    >>> weights_of("2,1", 2)
    [2.0, 1.0]
    """
    if text is None:
        return None
    try:
        weights = [float(one) for one in text.split(",")]
    except ValueError:
        raise ConfigError(f"--weight is {text!r}; wanted {files} numbers, such as 2,1.") from None
    if len(weights) != files:
        raise ConfigError(f"--weight has {len(weights)} numbers for {files} files; wanted one each.")
    return weights


def say_card(source: State, out: Out) -> None:
    """Origin, health, labels, lineage, validation, and a table of classes."""
    if out.json:
        return
    card, health = source.manifest["card"], source.manifest["health"]
    origin = card["origin"]
    for name in ("environment", "owner", "licence"):
        _line(out, name, origin.get(name) or "not said")
    _line(out, "engine", f"{source.manifest['engine']}, recipe {card['recipe']['hash']}")
    _line(out, "health", _health(health))
    _line(out, "labels", _labels(card["labels"]))
    for at, step in enumerate(card["lineage"][:MOST_STEPS]):
        _line(out, "" if at else "lineage", _step(step))
    if len(card["lineage"]) > MOST_STEPS:
        _line(out, "", f"... and {len(card['lineage']) - MOST_STEPS} more; --json has all")
    for at, line in enumerate(_validation(card["validation"])):
        _line(out, "" if at else "validation", line)
    out.say()
    _say_classes(source, out)


def _line(out: Out, name: str, text: str) -> None:
    out.say(f"  {name:<12} {_shown(text)}".rstrip())


def _shown(text: str | None) -> str | None:
    """Nothing that a terminal would obey: a card is whatever somebody wrote."""
    return None if text is None else "".join(one if one.isprintable() else "?" for one in text)


def _health(health: dict[str, float]) -> str:
    return (
        f"{health['series']:g} series of {health['entities']:g} entities, {health['age_samples']:g} samples old; "
        f"{health['alert_records']:g} alert records in {health['entity_days']:.4g} entity-days; "
        f"drifting {health['drifting_share']:.1%}, missing {health['missing_share']:.1%}, "
        f"absent {health['absent_share']:.1%}"
    )


def _labels(labels: dict[str, Any]) -> str:
    keys = [f"{one['name']} ({one['distinct']} values)" for one in labels["keys"][:MOST_LABELS]]
    more = [f"{len(labels['keys']) - MOST_LABELS} more"] if len(labels["keys"]) > MOST_LABELS else []
    made = f"; an entity is made of {', '.join(labels['entity'])}" if labels["entity"] else ""
    return (", ".join(keys + more) or "none") + made


def _step(step: dict[str, Any]) -> str:
    parents = ", ".join(step["parents"][:MOST_LABELS])
    if step["made"] == "cut":
        where = f"{step['topic']}-{step['partition']} at offset {step['next_offset']}"
        return f"cut from {where}: state {parents}, engine {step['engine']}, configuration {step['config']}"
    weights = f" with weights {', '.join(f'{one:g}' for one in step['weights'])}" if step["weights"] else ""
    apart = f"; steps differ in {', '.join(step['steps_differ'])}" if step["steps_differ"] else ""
    return f"merged of {parents}{weights}{apart}"


def _validation(table: dict[str, Any]) -> list[str]:
    """In words, the farthest entity first: an outlier among them is no good teacher."""
    told = [table["because"]] if table["because"] else []
    known = sorted((one for one in table["left_out"] if one["distance"] is not None), key=lambda one: -one["distance"])
    if known:
        middle = known[len(known) // 2]["distance"]
        told.append(
            f"{len(known)} of {table['entities']} entities left out in turn: {middle:.2f} spreads from the rest, "
            f"the farthest {known[0]['distance']:.2f} (entity {known[0]['entity']}); 1 is still alike"
        )
    if table["classes"]:
        told.append("error with what the others lend over error without, by component, is in the table; below 1 helps")
    return told


def _say_classes(source: State, out: Out) -> None:
    from engine.prior import STRENGTHS
    from engine.snapshot import read_json_column
    from engine.transfer.fingerprint import LAG1, SEEN_SHARE

    a, card = source.arrays, source.manifest["card"]
    names = read_json_column(a["classes"])
    at = {name: k for k, name in enumerate(names)}
    judged = {one["class"]: one for one in card["validation"]["classes"]}
    rows = []
    for one in card["metrics"][:MOST_ROWS]:
        if one["name"] not in at:
            continue
        k, found = at[one["name"]], judged.get(one["name"], {})
        is_seen = float((a["visits"][k] > 0).mean()) >= SEEN_SHARE
        errors = [found.get("error_ratio", {}).get(name) for name in STRENGTHS]
        about = (_shown(one["name"]), one["series"], one["step_ms"] / 1000, _shown(one["kind"]), _shown(one["unit"]))
        rows.append(
            (*about, float(a["ratio"][k]), float(a["features"][k, LAG1]), is_seen, found.get("distance"), *errors)
        )
    head = ("class", "series", "step s", "kind", "unit", "ratio", "lag 1", "day", "apart", *STRENGTHS)
    out.table(rows, head)
    if len(names) > len(rows):
        out.say(f"... and {len(names) - len(rows)} more classes")
