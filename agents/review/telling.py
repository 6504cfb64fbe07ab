"""Telling: the pages that only show: alerts, series, entities, search, fleet, experiments, snapshots. Handlers."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from agents.progress import read_all
from agents.review import fleet, history, questions
from agents.review.site import Site, whole
from agents.review.words import stretch

#: Rows of a comparison.
COMPARED = 300
#: Names that a search looks for at least.
SHORTEST = 2


class Telling:
    """Handlers of the pages that show."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def alerts(self, request: Request) -> Response:
        """Incidents, newest first."""
        state = request.query_params.get("state", "")
        state = state if state in ("firing", "resolved") else ""
        with self._site.store.reading() as db:
            found = history.incidents(db, state=state, page=_page(request))
        return self._site.page(request, "alerts.html", listed=found, state=state)

    def incident(self, request: Request) -> Response:
        """An incident with the life of its alerts."""
        name = request.path_params["name"]
        with self._site.store.reading() as db:
            found = history.incident(db, name)
            if found is None and (of := history.incident_of(db, name)) is not None:
                return RedirectResponse(f"/incident/{of}", 303)
            if found is None:
                return self._site.missing(request, "This incident is not here. It may be older than what is kept.")
            incident, alerts = found
            for one in alerts:
                given = list(questions.labels_about(db, one["series"] or "", one["started_ms"]))
                one["labels"] = [row for row in given if _is_about(row, one)]
                one["effects"] = questions.effects(db, one["labels"], None) if one["labels"] else []
                one["marked"] = stretch(one)
            said = questions.said_here(db, [one["id"] for one in alerts])
        return self._site.page(request, "incident.html", of=incident, alerts=alerts, said=said)

    def series(self, request: Request) -> Response:
        """A series: its band, what was asked and told, drift, re-tunes, what it has borrowed."""
        name = request.query_params.get("name", "")
        self._site.states.look()
        learned = self._site.states.learned(name)
        with self._site.store.reading() as db:
            shown = _about(db, "series", name)
            contexts = history.contexts_of(db, name)
        if learned is None and not any(shown.values()):
            return self._site.missing(request, "Nothing is known of this series here.")
        return self._site.page(
            request, "series.html", name=name, learned=learned, contexts=contexts, day=fleet.day_of(learned),
            states=self._site.states, **shown,
        )  # fmt: skip

    def entity(self, request: Request) -> Response:
        """An entity: how far it is and why, its series, and its history."""
        name = request.query_params.get("name", "")
        self._site.states.look()
        with self._site.store.reading() as db:
            shown = _about(db, "entity", name)
            decided = history.decisions(db, [name]).get(name)
        standing = next(
            (one for shard in self._site.states.shards() for one in shard.entities if one.entity == name), None
        )
        if standing is None and not any(shown.values()):
            return self._site.missing(request, "Nothing is known of this entity here.")
        line = fleet.line_of(standing, decided) if standing is not None else None
        return self._site.page(
            request, "entity.html", name=name, line=line, decided=decided,
            members=self._site.states.series_of(name)[:200], states=self._site.states, **shown,
        )  # fmt: skip

    def search(self, request: Request) -> Response:
        """Series and entities by a part of their names."""
        part = request.query_params.get("q", "").strip()[:200]
        self._site.states.look()
        found: dict[str, Any] = {"series": [], "entity": []}
        if len(part) >= SHORTEST:
            with self._site.store.reading() as db:
                found = history.names(db, part)
        known = {row["name"] for row in found["series"]}
        more = self._site.states.matching(part, 200) if len(part) >= SHORTEST else []
        quiet = [name for name in more if name not in known][: history.FOUND]
        return self._site.page(request, "search.html", part=part, found=found, quiet=quiet, shortest=SHORTEST)

    def fleet(self, request: Request) -> Response:
        """Which entities are still young, on trial or unsure, and why."""
        wanted = request.query_params.get("show", "unsettled")
        wanted = wanted if wanted in fleet.KINDS else "unsettled"
        self._site.states.look()
        with self._site.store.reading() as db:
            found = fleet.fleet_of(self._site.states.shards(), db, wanted=wanted, page=_page(request))
        workers = [one for one in read_all(Path(self._site.settings.state.dir)) if not one.ended]
        return self._site.page(
            request, "fleet.html", fleet=found, wanted=wanted, kinds=fleet.KINDS, states=self._site.states,
            workers=workers,
        )  # fmt: skip

    def experiments(self, request: Request) -> Response:
        """Re-tunes, labels and all else that was done or decided."""
        names = ("kind", "finding", "component", "action", "series", "entity")
        wanted = {name: request.query_params.get(name, "")[:500] for name in names}
        with self._site.store.reading() as db:
            found, choices = history.experiments(db, wanted, _page(request)), history.choices(db)
        return self._site.page(request, "experiments.html", listed=found, wanted=wanted, choices=choices)

    def experiment(self, request: Request) -> Response:
        """One of them."""
        with self._site.store.reading() as db:
            of = history.experiment(db, request.path_params["name"])
            order = history.order(db, request.path_params["name"])
        if of is None:
            return self._site.missing(request, "This experiment is not here. It may be older than what is kept.")
        changes = _compared(of["record"].get("before"), of["record"].get("after"))
        return self._site.page(request, "experiment.html", of=of, order=order, changes=changes)

    def compare(self, request: Request) -> Response:
        """Two experiments side by side."""
        pair = request.query_params.getlist("id")[:2]
        pair = pair or [request.query_params.get(name, "") for name in ("a", "b")]
        with self._site.store.reading() as db:
            found = [history.experiment(db, name) for name in pair]
        if len(found) < 2 or None in found:
            return self._site.missing(request, "Choose two experiments from the list to compare them.")
        first, second = found
        rows = _compared(first["record"], second["record"]) if first and second else []
        return self._site.page(request, "compare.html", first=first, second=second, rows=rows)

    def drift(self, request: Request) -> Response:
        """What has moved, newest first."""
        kind = request.query_params.get("kind", "")[:100]
        with self._site.store.reading() as db:
            found = history.drifts(db, kind=kind, page=_page(request))
            kinds = [row[0] for row in db.execute(_KINDS)]
        return self._site.page(request, "drift.html", listed=found, kind=kind, kinds=kinds)

    def snapshots(self, request: Request) -> Response:
        """What the state topic holds, and what this page holds."""
        self._site.states.look()
        with self._site.store.reading() as db:
            totals, refused = history.totals(db), history.refused(db)
        return self._site.page(
            request, "snapshots.html", states=self._site.states, totals=totals, refused=refused,
            counters=dict(self._site.reader.counters), file=str(self._site.store.path),
        )  # fmt: skip

    def help(self, request: Request) -> Response:
        """Keys, and what words mean."""
        return self._site.page(request, "help.html")


_KINDS = "SELECT DISTINCT kind FROM (SELECT kind FROM drifts ORDER BY at_ms DESC LIMIT 5000) WHERE kind IS NOT NULL"


def _page(request: Request) -> int:
    return whole(request.query_params.get("page", "1"))


def _about(db: Any, column: str, name: str) -> dict[str, Any]:
    """All that the file has about a series or an entity."""
    return {
        "asked": questions.of_name(db, column, name), "alerts": history.alerts_of(db, column, name),
        "drifts": history.drifts_of(db, column, name), "experiments": history.experiments_of(db, column, name),
    }  # fmt: skip


def _is_about(label: Any, alert: Mapping[str, Any]) -> bool:
    """Does the stretch of a label lie on that of an alert?"""
    began = label["from_ms"] if label["from_ms"] is not None else label["at_ms"]
    return alert["ended_ms"] is None or began <= alert["ended_ms"] or label["from_ms"] is None


def flat(value: object, prefix: str = "") -> dict[str, object]:
    """Nested data by dotted names, at most COMPARED of them.

    >>> flat({"a": {"b": 1}, "c": [2]})
    {'a.b': 1, 'c.0': 2}
    """
    if isinstance(value, Mapping):
        inner = [
            flat(one, f"{prefix}.{name}" if prefix else str(name)) for name, one in islice(value.items(), COMPARED)
        ]
    elif isinstance(value, list):
        inner = [flat(one, f"{prefix}.{at}") for at, one in enumerate(value[:20])]
    else:
        return {prefix: value}
    return dict(islice(((name, one) for part in inner for name, one in part.items()), COMPARED))


def _compared(first: object, second: object) -> list[tuple[str, object, object, bool]]:
    """Name, both values and whether they differ; what differs first."""
    a, b = flat(first or {}), flat(second or {})
    rows = [(name, a.get(name), b.get(name), a.get(name) != b.get(name)) for name in dict.fromkeys([*a, *b])]
    return sorted(rows, key=lambda row: not row[3])
