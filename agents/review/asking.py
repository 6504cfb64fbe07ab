"""Asking: the queue, one question, and what people answer. Handlers; what they ask of the file is questions.py's."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from agents.review import answers, questions
from agents.review.outbox import FullError
from agents.review.session import Session
from agents.review.site import Site, local, whole
from agents.review.store import BusyError
from agents.review.words import answer_name, stretch, why_unsure

#: Answers that one session may give in a minute; a person gives a few.
ANSWERS_A_MINUTE = 60


class Asking:
    """Handlers of the pages that ask."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._given: dict[str, list[float]] = {}

    def queue(self, request: Request) -> Response:
        """Open questions, those that people were asked about first."""
        status = request.query_params.get("status", "open")
        if status not in questions.STATUSES:
            status = "open"
        with self._site.store.reading() as db:
            found = questions.queue(db, status=status, page=whole(request.query_params.get("page", "1")))
        return self._site.page(request, "queue.html", queue=found, status=status, statuses=questions.STATUSES)

    def item(self, request: Request) -> Response:
        """One question with all that is known about it."""
        name = request.path_params["name"]
        with self._site.store.reading() as db:
            of = questions.question(db, name)
            if of is None:
                return self._site.missing(
                    request, "This question is not here. It may be older than what the page keeps."
                )
            given = questions.labels_of(db, name)
            if of["status"] == "expired" and of["series"]:
                given += questions.labels_about(db, of["series"], of["opened_ms"])
            shown: dict[str, Any] = {
                "of": of, "labels": given, "effects": questions.effects(db, given, name),
                "similar": questions.similar(db, of), "under": questions.folded_into(db, name),
                "said": questions.said_here(db, [name]).get(name),
                "stands": questions.question(db, of["into_id"]) if of["into_id"] else None,
            }  # fmt: skip
        marked = stretch(of)
        return self._site.page(request, "item.html", **shown, marked=marked, why=why_unsure(of["opened"]))

    def answer(self, request: Request) -> Response:
        """A person's answer, from a form."""
        site, form, session = self._site, request.scope["form"], _session(request)
        back = local(form.get("next", "/"))
        if not self._may(session):
            return site.said(request, f"More than {ANSWERS_A_MINUTE} answers a minute; wait a little.", status=429)
        try:
            with site.store.reading() as db:
                before = answers.mine(db, form.get("about", ""), session.name)
            if before is not None and before["state"] == "held" and before["answer"] != form.get("answer"):
                # Thought better of it before it left: then only the second one leaves.
                site.outbox.undo(before["label"], session.name)
            with site.store.reading() as db:
                found = answers.answer_of(
                    db, form, person=session.name, environment=site.settings.environment,
                    now_ms=int(site.clock() * 1000),
                )  # fmt: skip
            held = site.outbox.put(found.record, about=found.about)
        except answers.RefusedAnswerError as error:
            return site.said(request, str(error), status=error.status, back=back)
        except (BusyError, FullError) as error:
            return site.said(request, f"The answer was not taken: {error}", status=503, back=back)
        told = f"{answer_name(found.record['answer'])}: {found.record['series']}."
        if not held.is_new:
            told = f"{told} You had said so before; it counts once."
        elif not site.reader.heard.answers:
            told = f"{told} The broker is away: the answer is kept here and sent when it is back."
        return site.said(request, told, label=held.label, back=back)

    def undo(self, request: Request) -> Response:
        """Take an answer back: before it has left, it never was; afterwards another label overrides it."""
        site, form, session = self._site, request.scope["form"], _session(request)
        back, label = local(form.get("next", "/")), form.get("label", "")
        try:
            if site.outbox.undo(label, session.name):
                return site.said(request, "Taken back before it left; nobody else has seen it.", back=back)
            with site.store.reading() as db:
                row = db.execute(
                    "SELECT about, state, record FROM answers WHERE label = ? AND person = ?", (label, session.name)
                ).fetchone()
            if row is None or row["state"] in ("undone", "failed"):
                return site.said(request, "There is nothing of yours to take back.", status=404, back=back)
            record = answers.taken_back(orjson.loads(row["record"]), now_ms=int(site.clock() * 1000))
            site.outbox.put(record, about=row["about"], undo_s=0.0)
        except (BusyError, FullError) as error:
            return site.said(request, f"It was not taken back: {error}", status=503, back=back)
        return site.said(request, "It had left already; `unsure` is sent after it, which overrides it.", back=back)

    def _may(self, session: Session) -> bool:
        now_s = self._site.clock()
        if len(self._given) > 1000:
            self._given.clear()
        times = [at_s for at_s in self._given.get(session.number, []) if now_s - at_s < 60]
        self._given[session.number] = [*times, now_s]
        return len(times) < ANSWERS_A_MINUTE


def _session(request: Request) -> Session:
    found: Session = request.scope["session"]
    return found
