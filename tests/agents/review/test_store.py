"""The store: one writer, readers of one moment, bounds by count and age, one page a file."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.review import history, questions
from agents.review.store import BusyError, Kept, Store, trim
from benchmarks import review_data as made
from engine.errors import OutsideError


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store(tmp_path / "review.db", clock=lambda: 10.0)
    yield found
    found.close()


def test_a_job_that_fails_leaves_nothing(store: Store) -> None:
    def half(db: object) -> None:
        db.execute("INSERT INTO meta VALUES ('a', 'b')")  # type: ignore[attr-defined]
        raise KeyError("broken")

    with pytest.raises(KeyError):
        store.write(half)
    with store.reading() as db:
        assert db.execute("SELECT count(*) FROM meta").fetchone()[0] == 0


def test_what_is_read_inside_is_of_one_moment(store: Store) -> None:
    made.fill(store, iter([("drift", made.drift(0))]), seen_s=1.0)
    with store.reading() as db:
        before = history.totals(db)
        writer = threading.Thread(
            target=lambda: made.fill(store, iter([("drift", made.drift(1)), ("drift", made.drift(2))]), seen_s=1.0)
        )
        writer.start()
        writer.join()
        assert history.totals(db) == before
    with store.reading() as db:
        assert history.totals(db)["drifts"] == 3


def test_many_threads_write_and_read(store: Store) -> None:
    def work(number: int) -> None:
        for n in range(20):
            made.fill(store, iter([("drift", made.drift(100 * number + n))]), seen_s=1.0)
            with store.reading() as db:
                history.drifts(db, kind="", page=1)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.reading() as db:
        assert history.totals(db)["drifts"] == 120


def test_each_change_is_a_new_version(store: Store) -> None:
    before = store.version
    made.fill(store, iter([("drift", made.drift(0))]), seen_s=1.0)
    assert store.version > before


def test_what_is_too_much_goes_the_oldest_and_the_closed_first(store: Store) -> None:
    records = [("escalations", made.escalation(n)) for n in range(10)]
    records += [("escalations", made.escalation(n, "answered")) for n in (7, 8)]
    records += [("escalations", made.escalation(3, "asked"))]
    made.fill(store, iter([*records, *(("alerts", made.alert(n)) for n in range(9))]), seen_s=1.0)
    store.write(lambda db: trim(db, Kept(questions=3, alerts=4), 2.0))
    with store.reading() as db:
        left = {row["id"]: row["status"] for row in questions.queue(db, status="open", page=1).listed.rows}
        assert len(left) == 3
        assert left[made.escalation(3)["escalation"]] == "asked"
        assert history.totals(db)["alerts"] == 4
        # Of the alerts the newest four are left: two incidents, one of them without its first alerts.
        assert [row["alerts"] for row in history.incidents(db, state="", page=1).rows] == [3, 3]


def test_what_is_too_old_goes_by_when_it_came_and_not_by_what_it_says(store: Store) -> None:
    far = made.drift(1, at_ms=90_000_000_000_000)
    made.fill(store, iter([("drift", far)]), seen_s=0.0)
    made.fill(store, iter([("drift", made.drift(2))]), seen_s=10 * 86_400.0)
    store.write(lambda db: trim(db, Kept(days=5), 11 * 86_400.0))
    with store.reading() as db:
        assert [row["id"] for row in history.drifts(db, kind="", page=1).rows] == [made.drift(2)["id"]]


def test_the_file_is_its_owners_alone(store: Store) -> None:
    for path in (store.path, store.path.with_name("review.db.lock")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_pages_on_one_file_are_refused(store: Store) -> None:
    with pytest.raises(OutsideError, match="Another review page holds"):
        Store(store.path)


def test_a_file_that_is_none_or_of_another_format_is_named(tmp_path: Path) -> None:
    (tmp_path / "none.db").write_bytes(b"x" * 5000)
    with pytest.raises(OutsideError, match=r"none\.db cannot be opened"):
        Store(tmp_path / "none.db")
    store = Store(tmp_path / "later.db")
    store.write(lambda db: None)
    store._db.execute("PRAGMA user_version = 9")
    store.close()
    with pytest.raises(OutsideError, match="has format 9"):
        Store(tmp_path / "later.db")


def test_the_secret_outlives_a_restart(tmp_path: Path) -> None:
    secrets = []
    for _ in range(2):
        store = Store(tmp_path / "review.db")
        secrets.append(store.secret())
        store.close()
    assert secrets[0] == secrets[1]
    assert len(secrets[0]) == 32


def test_a_writer_that_is_held_up_is_said(store: Store) -> None:
    go = threading.Event()
    slow = threading.Thread(target=lambda: store.write(lambda _: go.wait(10)))
    slow.start()
    try:
        with pytest.raises(BusyError, match="was not written within"):
            store.write(lambda _: None, timeout_s=0.05)
    finally:
        go.set()
        slow.join()


def test_what_was_said_not_to_be_written_is_not_written_later(store: Store) -> None:
    go = threading.Event()
    slow = threading.Thread(target=lambda: store.write(lambda _: go.wait(10)))
    slow.start()
    with pytest.raises(BusyError):
        store.write(lambda db: db.execute("INSERT INTO meta VALUES ('late', 'x')"), timeout_s=0.05)
    go.set()
    slow.join()
    assert store.write(lambda db: db.execute("SELECT count(*) FROM meta").fetchone()[0]) == 0
