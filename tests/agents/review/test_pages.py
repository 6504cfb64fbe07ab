"""The pages without a browser: each is served whole and as a part, escapes what it shows, and answers become labels."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

import orjson
import pytest

from agents.review import words
from agents.review.reader import Heard
from agents.review.site import STATIC
from benchmarks import review_data as made
from engine import feedback
from engine.series import stable_id
from tests.agents.review.conftest import Scene

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}{% raw %}\u202e"
QUESTION = made.escalation(1)["escalation"]


def filled(scene: Scene) -> None:
    scene.file(*made.story(questions=60, alerts=12))


PATHS = [
    "/", "/?status=asked", "/?status=folded", "/?status=answered", "/?status=expired", "/?page=2", f"/item/{QUESTION}",
    "/alerts", "/alerts?state=firing", f"/incident/{stable_id('incident', 0)}",
    f"/series?name={quote(made.series_of(1))}",
    f"/entity?name={quote(made.entity_of(1))}", "/search", "/search?q=cpu", "/search?q=nothing-like-it", "/fleet",
    "/fleet?show=young", "/drift", "/drift?kind=level", "/experiments", "/experiments?kind=retune&finding=kept",
    f"/experiment/{made.retune(0)['id']}", f"/compare?id={made.retune(0)['id']}&id={made.retune(1)['id']}",
    "/snapshots", "/help", "/login",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_each_page_is_there_with_and_without_records(scene: Scene, path: str) -> None:
    empty = scene.get(path)
    assert empty.status == (404 if re.match(r"/(item|incident|experiment/|compare|series|entity)", path) else 200)
    filled(scene)
    whole, part = scene.get(path), scene.get(path, **{"hx-request": "true"})
    assert (whole.status, part.status) == (200, 200)
    assert whole.text.count('id="live"') == part.text.count('id="live"') == 1
    assert "<nav" in whole.text
    assert 'class="top"' not in part.text, "a part brings no head"
    assert len(re.findall(r"<h1", whole.text)) == 1
    assert " style=" not in whole.text, "the policy forbids styles in the page"
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=", whole.text), "and scripts"


def test_the_part_of_a_page_is_what_the_page_shows(scene: Scene) -> None:
    filled(scene)
    whole, part = scene.get(f"/item/{QUESTION}").text, scene.get(f"/item/{QUESTION}", **{"hx-request": "true"}).text
    lives = [re.search(r"<article.*?</article>", text, re.DOTALL)[0] for text in (whole, part)]  # type: ignore[index]
    assert lives[0] == lives[1]


@pytest.mark.parametrize("path", PATHS)
def test_what_comes_off_a_topic_is_never_html(scene: Scene, path: str) -> None:
    who = {"series": f"cpu{HOSTILE}", "entity": f"host={HOSTILE}", "because": HOSTILE}
    context = {**made.context("s", made.START_MS), "series": HOSTILE}
    contributors = [{"series": HOSTILE, "share": HOSTILE, "value": HOSTILE, "expected": [], "lower": {}, "upper": None}]
    odd = {"components": [{"name": HOSTILE, "share": "x"}], "borrowed": {HOSTILE: HOSTILE, "level": 0.5}}
    bad = {**who, "contributors": contributors, "context": context, **odd}
    said = made.label(1, by=HOSTILE, reason=HOSTILE, series=who["series"], entity=who["entity"])
    effects = [{"what": HOSTILE, "series": HOSTILE, "before": HOSTILE, "after": 1}, HOSTILE, None]
    scene.file(
        ("escalations", made.escalation(1, **bad)), ("escalations", made.escalation(1, "asked", rule=HOSTILE)),
        ("escalations", made.escalation(0, "answered", by=HOSTILE, **who)), ("feedback", said),
        ("experiments", made.effect(said, effects=effects, **who)), ("alerts", made.alert(0, **bad)),
        ("alerts", made.alert(0, "resolved", **bad)), ("drift", made.drift(0, kind=HOSTILE, **who)),
        *(("experiments", made.retune(n, evidence={HOSTILE: HOSTILE}, **who, action=HOSTILE, component=HOSTILE,
                                      finding=HOSTILE)) for n in (0, 1)),
    )  # fmt: skip
    text = scene.get(f"{path}{'&' if '?' in path else '?'}q={quote(HOSTILE)}").text
    assert "<script>alert" not in text
    assert "<img" not in text
    assert "49" not in re.findall(r">\s*(\d+)\s*<", text)


def test_a_malformed_context_is_left_out(scene: Scene) -> None:
    for n, context in enumerate(
        [None, [], {}, {"t_ms": "x"}, {"t_ms": [1]}, {"t_ms": [3, 2], "value": [1, 2]}, {"t_ms": [1, 2]},
         {"t_ms": [1, 2], "value": ["a", None]}, {"t_ms": [10**18, 1, 2], "value": [1, 2]},
         {"t_ms": [1, 2, 3], "value": [1, 1e308, True], "lower": 7}]
    ):  # fmt: skip
        scene.file(("escalations", made.escalation(n, context=context)))
        assert scene.get(f"/item/{made.escalation(n)['escalation']}").status == 200


def answered(scene: Scene, answer: str, **form: str) -> tuple[int, str]:
    found = scene.post(
        "/answer", {"answer": answer, "kind": "question", "about": QUESTION, **form}, **{"hx-request": "true"}
    )
    return found.status, found.text


def sent(scene: Scene) -> list[dict[str, object]]:
    scene.now_s += 5
    scene.outbox.turn()
    return [orjson.loads(value) for _, _, value in scene.producer.sent]


@pytest.mark.parametrize("answer", list(feedback.ANSWERS))
def test_an_answer_is_a_label_that_the_engine_takes(scene: Scene, answer: str) -> None:
    question = made.escalation(1)
    scene.file(("escalations", question))
    status, text = answered(scene, answer, reason="a backup")
    assert status == 200
    assert "Undo" in text
    (said,) = sent(scene)
    order = feedback.order_for(said, question)
    assert (order["params"]["answer"], order["params"]["reason"]) == (answer, "a backup")
    assert (said["by"], said["entity"]) == ("ada", question["entity"])
    # Of what stood out, the five samples outside their band, is what an incident marks.
    marks = (said["from_ms"], said["until_ms"])
    began = question["context"]["t_ms"][-5]
    assert marks == ((began, question["opened_ms"]) if answer in words.MARKING else (None, None))


def test_the_answers_of_the_page_are_those_of_the_engine() -> None:
    assert set(words.ANSWERS) == set(feedback.ANSWERS)


def test_a_stretch_by_hand(scene: Scene) -> None:
    scene.file(("escalations", made.escalation(1)))
    assert answered(scene, "incident", **{"from": "soon"})[0] == 400
    assert answered(scene, "incident", **{"from": "2026-09-21 15:00:00", "until": "2026-09-21 14:00:00"})[0] == 400
    assert answered(scene, "incident", **{"from": "2026-01-01 15:00:00", "until": "2026-09-21 14:00:00"})[0] == 400
    assert answered(scene, "incident", **{"from": "2026-09-21 14:13:20", "until": "2026-09-21 14:14:20"})[0] == 200
    (said,) = sent(scene)
    assert (said["from_ms"], said["until_ms"]) == (1_790_000_000_000, 1_790_000_060_000)


def test_what_makes_no_answer_is_refused_in_a_sentence(scene: Scene) -> None:
    scene.file(("escalations", made.escalation(1)))
    assert answered(scene, "perhaps")[0] == 400
    assert answered(scene, "incident", about="unknown")[0] == 404
    assert answered(scene, "incident", reason="x" * 501)[0] == 400
    assert sent(scene) == []


def test_the_same_key_twice_is_one_answer(scene: Scene) -> None:
    scene.file(("escalations", made.escalation(1)))
    answered(scene, "false_alarm")
    assert "counts once" in answered(scene, "false_alarm")[1]
    assert len(sent(scene)) == 1
    assert "counts once" in answered(scene, "false_alarm")[1]
    assert len(sent(scene)) == 1


def test_another_key_before_it_leaves_replaces_it(scene: Scene) -> None:
    scene.file(("escalations", made.escalation(1)))
    answered(scene, "false_alarm")
    answered(scene, "incident")
    (said,) = sent(scene)
    assert said["answer"] == "incident"
    assert "overrides" not in said


def test_another_key_after_it_has_left_overrides_it(scene: Scene) -> None:
    scene.file(("escalations", made.escalation(1)))
    answered(scene, "false_alarm")
    (first,) = sent(scene)
    answered(scene, "incident")
    first, second = sent(scene)
    answered(scene, "false_alarm")
    _, _, third = sent(scene)
    assert (second["overrides"], third["overrides"]) == (first["id"], second["id"])
    assert len({first["id"], second["id"], third["id"]}) == 3


def test_undo_before_and_after(scene: Scene) -> None:
    scene.file(("escalations", made.escalation(1)))
    label = re.search(r'name="label" value="([0-9a-f]+)"', answered(scene, "false_alarm")[1])[1]  # type: ignore[index]
    undone = scene.post("/undo", {"label": label}, **{"hx-request": "true"})
    assert "before it left" in undone.text
    assert sent(scene) == []
    answered(scene, "false_alarm")
    (said,) = sent(scene)
    undone = scene.post("/undo", {"label": str(said["id"])}, **{"hx-request": "true"})
    assert "unsure" in undone.text
    back = sent(scene)[1]
    assert (back["answer"], back["overrides"], back["by"]) == ("unsure", said["id"], "ada")
    feedback.check(back)
    assert scene.post("/undo", {"label": "unknown"}).status == 404


def test_who_comes_second_must_say_that_he_overrules(scene: Scene) -> None:
    scene.file(("escalations", made.escalation(1)), ("escalations", made.escalation(1, "answered")))
    status, text = answered(scene, "incident")
    assert status == 409
    assert "grace has answered this meanwhile" in text
    first = made.escalation(1, "answered")["label"]
    assert answered(scene, "incident", overrides=first)[0] == 200
    assert sent(scene)[0]["overrides"] == first


def test_what_has_expired_is_answered_as_a_stretch_of_its_series(scene: Scene) -> None:
    scene.file(("escalations", made.escalation(1)), ("escalations", made.escalation(1, "expired")))
    assert answered(scene, "incident")[0] == 200
    (said,) = sent(scene)
    assert said["escalation"] is None
    order = feedback.order_for(said, None)
    assert order["target"] == {
        "topic": "metrics",
        "partition": 0,
        "series": made.series_of(1),
        "entity": made.entity_of(1),
    }
    assert said["from_ms"] is not None


def test_an_alert_can_be_answered(scene: Scene) -> None:
    scene.file(("alerts", made.alert(0)), ("alerts", made.alert(0, "resolved")))
    found = scene.post("/answer", {"answer": "false_alarm", "kind": "alert", "about": made.alert(0)["alert"]})
    assert found.status == 200
    (said,) = sent(scene)
    assert feedback.order_for(said, None)["target"]["topic"] == "metrics"
    # And as soon as its effect is known, the incident's page tells.
    scene.file(("feedback", said), ("experiments", made.effect(said)))
    assert "half as much again" in scene.get(f"/incident/{stable_id('incident', 0)}").text


def test_the_effect_of_an_answer_is_shown(scene: Scene) -> None:
    scene.file(("escalations", made.escalation(1)), ("feedback", made.label(1)))
    assert "No effect is recorded yet" in scene.get(f"/item/{QUESTION}").text
    scene.file(("escalations", made.escalation(1, "answered")), ("experiments", made.effect(made.label(1))))
    text = scene.get(f"/item/{QUESTION}").text
    assert "It takes half as much again to page here." in text
    assert "counts" in text


def test_a_broker_that_is_away_is_said_with_its_time(scene: Scene) -> None:
    filled(scene)
    scene.reader.heard = Heard(answers=False, since_s=1_790_000_000.0, why="Connection refused")
    text = scene.get("/").text
    assert "has not answered since" in text
    assert "2026-09-21 14:13:20" in text
    status, text = answered(scene, "incident")
    assert status == 200
    assert "kept here and sent when it is back" in text


def test_answers_are_limited_for_each_session(scene: Scene) -> None:
    scene.file(("escalations", made.escalation(1)))
    for _ in range(60):
        answered(scene, "incident")
    assert answered(scene, "incident")[0] == 429
    scene.now_s += 61
    assert answered(scene, "incident")[0] == 200


def test_a_name_may_be_chosen(scenes: Callable[..., Scene]) -> None:
    scene = scenes()
    scene.file(("escalations", made.escalation(1)))
    assert scene.post("/name", {"name": "  Grace Hopper ", "next": "//evil.example"}).headers["location"] == "/"
    answered(scene, "incident")
    assert sent(scene)[0]["by"] == "Grace Hopper"
    scene.post("/name", {"name": "\x00"})
    assert "Grace Hopper" in scene.get("/").text


def test_what_was_made_by_others_is_what_was_published() -> None:
    from hashlib import sha256

    told = dict(
        re.findall(r"^(\S+\.(?:js|css)) .* ([0-9a-f]{64})$", (STATIC / "VENDORED.txt").read_text(), re.MULTILINE)
    )
    assert set(told) == {path.name for path in STATIC.iterdir() if ".min." in path.name}
    for name, digest in told.items():
        assert sha256((STATIC / name).read_bytes()).hexdigest() == digest
        assert f"/static/{name}" in (STATIC.parent / "templates" / "base.html").read_text()


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)] if len(colour) == 7 else [1.0, 1.0, 1.0]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("which", [0, 1], ids=["light", "dark"])
def test_contrast_is_aa(which: int) -> None:
    text = (STATIC / "review.css").read_text()
    blocks = re.findall(r":root\{(.*?)\}", text, re.DOTALL)
    colours = dict(re.findall(r"--(\w+):(#[0-9a-f]{3,6})", blocks[which]))
    pairs = [("ink", "paper"), ("soft", "paper"), ("blue", "paper"), ("ink", "card"), ("soft", "card"),
             ("blue", "card"),
             ("ink", "hover"), ("soft", "hover"), ("onblue", "blue"), ("amber", "amberpaper"), ("red", "redpaper"),
             ("green", "greenpaper"), ("violet", "violetpaper"), ("blue", "bluepaper"), ("ink", "redpaper"),
             ("soft", "redpaper"), ("ink", "greypaper"), ("ink", "bluepaper"), ("soft", "bluepaper")]  # fmt: skip
    low = {}
    for front, back in pairs:
        light, dark = sorted((luminance(colours[front]), luminance(colours[back])), reverse=True)
        ratio = (light + 0.05) / (dark + 0.05)
        if ratio < 4.5:
            low[front, back] = round(ratio, 2)
    assert low == {}
