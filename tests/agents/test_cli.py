"""Laws of the command line: quick help, one sentence an error, exit status by kind, and a pure `--json`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agents.cli.main import COMMANDS, main
from agents.cli.out import Out

#: What makes a command slow to start; none of it may be loaded for help.
HEAVY = ("numpy", "numba", "confluent_kafka", "faust", "aiohttp", "orjson", "msgspec", "river", "rich", "engine.shard")


@pytest.fixture
def series(tmp_path: Path) -> Path:
    path = tmp_path / "web.csv"
    path.write_text("timestamp,value\n" + "".join(f"{at * 60},{at % 7}\n" for at in range(300)))
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "graft.toml"
    path.write_text(
        f"[kafka]\nbootstrap = '127.0.0.1:1'\n[[inputs]]\ntopic = 'metrics'\n[state]\ndir = '{tmp_path}/state'\n"
        "[[sinks]]\nkind = 'console'\n"
    )
    return path


def run(*arguments: object) -> int:
    return main([str(one) for one in arguments])


@pytest.mark.parametrize(
    "arguments", [["--help"], ["replay", "--help"], ["run", "--help"], ["snapshot", "--help"], ["demo", "--help"]]
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom agents.cli.main import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "example" in done.stdout


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run(command, "--help")
    assert end.value.code == 0
    assert f"graft {command}" in capsys.readouterr().out.partition("example")[2]


def test_no_command_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    assert "graft replay" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("graft ")


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["replya"], 2, "invalid choice: 'replya'"),
        (["replay"], 2, "required: INPUT, --out"),
        (["replay", "/nowhere.csv", "--out", "/tmp/never"], 2, "/nowhere.csv does not exist"),
        (["run", "-c", "/nowhere.toml"], 2, "/nowhere.toml cannot be read"),
        (["run", "--only", "both"], 2, "invalid choice: 'both'"),
        (["snapshot", "show", "/nowhere.snap"], 2, "/nowhere.snap"),
        (["label", "--answer", "incident"], 2, "about nothing"),
        (["label", "--answer", "incident", "--series", "x", "--from", "yesterday"], 2, "'yesterday' is no time"),
    ],
)
def test_an_error_is_one_sentence(
    arguments: list[str], status: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == status
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("graft: ")
    assert sentence in shown.err
    assert len(shown.err.splitlines()) == 1
    assert "Traceback" not in shown.err


def test_debug_shows_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("replay", "/nowhere.csv", "--out", "/tmp/never", "--debug") == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_defect_says_that_it_is_one(
    series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("agents.offline.replay.run", broken)
    assert run("replay", series, "--out", tmp_path / "out") == 70
    assert "defect of Graft: ZeroDivisionError: by zero" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_the_outside(
    series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert run("replay", series, "--out", tmp_path / "file") == 3
    assert "cannot be written" in capsys.readouterr().err


def test_json_is_one_object_and_nothing_else(series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("replay", series, "--out", tmp_path / "out", "--state-out", tmp_path / "w.state", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["samples"] == 300
    assert told == json.loads((tmp_path / "out/summary.json").read_text())
    for arguments in (["show"], ["verify"], ["diff", tmp_path / "w.state"]):
        assert run("snapshot", *arguments, tmp_path / "w.state", "--json") == 0
        assert isinstance(json.loads(capsys.readouterr().out), dict)


def test_snapshots_that_differ_or_are_damaged_are_findings(
    series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "a.state", tmp_path / "b.state"
    run("replay", series, "--out", tmp_path / "out", "--state-out", first)
    series.write_text(series.read_text() + "99999,3\n")
    run("replay", series, "--out", tmp_path / "out", "--state-out", second)
    assert run("snapshot", "diff", first, second) == 1
    assert "manifest.next_offset: 300 -> 301" in capsys.readouterr().out
    data = bytearray(second.read_bytes())
    data[-1] ^= 1
    second.write_bytes(data)
    assert run("snapshot", "verify", first, second) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("ok ")
    assert told[1].startswith("BAD ")


def test_a_signed_state_wants_its_key(
    series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "s.state"
    monkeypatch.setenv("GRAFT__STATE__KEY", "${env:KEY}")
    monkeypatch.setenv("KEY", "canary")
    assert run("replay", series, "--out", tmp_path / "out", "--state-out", state) == 0
    assert run("snapshot", "verify", state) == 0
    assert "signed" in capsys.readouterr().out
    monkeypatch.setenv("KEY", "another")
    assert run("snapshot", "verify", state) == 1
    assert "canary" not in "".join(capsys.readouterr())


def test_check_finds_what_would_not_work(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", "-c", config, "--offline") == 0
    told = capsys.readouterr().out
    assert "kafka.bootstrap" in told
    assert "graft.toml:2" in told
    assert run("check", "-c", config, "--timeout", 0.5, "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert {one["name"]: one["ok"] for one in told["checks"]} == {
        "inputs": True, "state": True, "seed": True, "sinks": True, "kafka": False
    }  # fmt: skip
    assert told["settings"]["kafka.bootstrap"] == {"value": "127.0.0.1:1", "origin": "graft.toml:2"}


def test_check_tells_of_an_absent_broker_in_one_sentence(config: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert run("check", "-c", config, "--timeout", 1.5) == 1
    assert caplog.records == []


def test_check_on_a_broker(config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from agents.embedded import EmbeddedBroker

    with EmbeddedBroker({"metrics": 3}) as broker:
        monkeypatch.setenv("GRAFT__KAFKA__BOOTSTRAP", broker.bootstrap)
        assert run("check", "-c", config) == 0
        assert "metrics (3 partitions)" in capsys.readouterr().out
        monkeypatch.setenv("GRAFT__INPUTS__0__TOPIC", "metrisc")
        assert run("check", "-c", config) == 1
        assert "no topic metrisc" in capsys.readouterr().out


def test_a_test_alert_goes_to_the_console(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("alert", "test", "-c", config) == 0
    assert run("alert", "test", "-c", config, "--sink", "pager") == 2
    assert "no sink 'pager'; the configuration has console" in capsys.readouterr().err


def test_parked_alerts_are_listed_and_sent_again(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from agents.notify import outbox_file
    from agents.notify.outbox import Incoming, Outbox
    from agents.sinks.delivery import Event

    monkeypatch.setenv("GRAFT__STATE__DIR", str(tmp_path / "state"))
    assert run("alert", "parked", "-c", config) == 3
    assert "holds no outbox" in capsys.readouterr().err
    path = outbox_file.path_of(tmp_path / "state", 0)
    path.parent.mkdir(parents=True)
    box = Outbox(path, destinations=["console", "gone"])
    box.own([("graft.alerts", 0)], settled={}, now_s=0.0)
    record = {"id": "a", "incident": "i", "state": "firing", "started_ms": 1}
    box.accept([Incoming("graft.alerts", 0, 0, record)], {("graft.alerts", 0): 1}, now_s=0.0)
    for name in ("console", "gone"):
        (due,) = box.due(name, now_s=1.0, limit=1)
        box.mark(due.seq, Event.REJECTED, due_s=0.0, now_s=1.0, detail="HTTP 400 bad key")
    assert run("alert", "parked", "-c", config, "--json") == 1
    assert json.loads(capsys.readouterr().out) == {"parked": [{
        "sink": "console", "incident": "i", "id": "a", "state": "firing", "since": "1970-01-01T00:00:01.000Z",
        "detail": "HTTP 400 bad key",
    }]}  # fmt: skip
    assert run("alert", "parked", "-c", config) == 1
    assert "HTTP 400 bad key" in capsys.readouterr().out
    assert run("alert", "resend", "-c", config, "--sink", "pager") == 2
    assert run("alert", "resend", "-c", config, "--sink", "console", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"requeued": {"console": 1}}
    assert [one.notice.id for one in box.due("console", now_s=1e12, limit=9)] == ["a"], "beside a running worker"
    assert run("alert", "resend", "-c", config) == 1
    assert run("alert", "parked", "-c", config) == 0
    assert capsys.readouterr().out == "nothing was parked\nnothing is parked\n"
    box.close()


def test_ctrl_c_ends_a_replay_with_a_summary(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("timestamp,value\n" + "".join(f"{at * 60},{at % 7}.5\n" for at in range(1_500_000)))
    arguments = [sys.executable, "-m", "agents.cli", "replay", str(path), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    scores = tmp_path / "out/scores.csv"
    end = time.monotonic() + 60
    while not (scores.exists() and scores.stat().st_size > 1000):
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    shown, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "stopped early" in said
    assert "samples of 1 series" in shown
    assert "Traceback" not in said
    assert json.loads((tmp_path / "out/summary.json").read_text())["interrupted"]


def test_a_reader_that_leaves_early_is_no_error() -> None:
    arguments = [sys.executable, "-m", "agents.cli", "--help"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(arguments, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_tables_align(capsys: pytest.CaptureFixture[str]) -> None:
    Out().table([("a", 1200), ("bcd", 7)], ("name", "rows"))
    assert capsys.readouterr().out == "name   rows\na     1,200\nbcd       7\n"


def test_a_label_changes_a_state_file(series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "w.state"
    run("replay", series, "--out", tmp_path / "out", "--state-out", state)
    before = state.read_bytes()
    capsys.readouterr()
    assert run("label", "--state", state, "--series", "value", "--answer", "false_alarm", "--json") == 0
    (changes,) = json.loads(capsys.readouterr().out)["applied"]["web"]
    assert changes["after"]["page_gate"] > changes["before"]["page_gate"]
    assert state.read_bytes() != before
    after = state.read_bytes()
    assert run("label", "--state", state, "--series", "nothing", "--answer", "incident") == 2
    assert "knows nothing of nothing" in capsys.readouterr().err
    assert state.read_bytes() == after
    assert run("replay", series, "--out", tmp_path / "out", "--state-in", state) == 0


def test_a_label_goes_to_the_feedback_topic(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from confluent_kafka import Consumer, TopicPartition

    from agents.embedded import EmbeddedBroker
    from engine.feedback import order_for

    with EmbeddedBroker({"graft.feedback": 1}) as broker:
        monkeypatch.setenv("GRAFT__KAFKA__BOOTSTRAP", broker.bootstrap)
        asked = ("label", "--series", "cpu", "--answer", "expected", "--from", "2026-01-01", "--json")
        assert run(*asked) == 2
        assert "--target TOPIC:PARTITION" in capsys.readouterr().err
        assert run(*asked, "--target", "metrics:3", "--by", "ann") == 0
        label = json.loads(capsys.readouterr().out)["label"]
        consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "t", "auto.offset.reset": "earliest"})
        consumer.assign([TopicPartition("graft.feedback", 0, 0)])
        (message,) = consumer.consume(1, 20)
        consumer.close()
    assert json.loads(message.value()) == label
    assert message.key() == b"cpu"
    assert label["from_ms"] == 1767225600000
    assert label["target"] == {"topic": "metrics", "partition": 3}
    assert order_for(label, None)["because"].startswith("ann answered expected")


def test_a_label_is_signed_with_a_key_that_is_named_and_never_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from agents import label, signing
    from agents.secret import Secret

    sent = []
    monkeypatch.setattr(label, "send", lambda one, _settings: sent.append(one) or "graft.feedback")
    (tmp_path / "ann.key").write_text("hunter2\n")
    asked = ("label", "--escalation", "e1", "--answer", "incident", "--by", "ann", "--json")
    for reference in (f"${{file:{tmp_path}/ann.key}}", "${env:ANN_KEY}"):
        monkeypatch.setenv("ANN_KEY", "hunter2")
        assert run(*asked, "--override", "l1", "--sign-key", reference) == 0
        assert "hunter2" not in capsys.readouterr().out
        assert sent[-1]["overrides"] == "l1"
        assert signing.is_signed(sent[-1], Secret("hunter2"))
    assert run(*asked) == 0
    assert "signature" not in sent[-1]
    assert sent[-1]["id"] != sent[0]["id"], "an override is another label"
    capsys.readouterr()
    for bad in (("--sign-key", "hunter2"), ("--sign-key", "${env:NOBODY}")):
        assert run(*asked, *bad) == 2
        assert "hunter2" not in capsys.readouterr().err
    assert run("label", "--series", "cpu", "--target", "m:0", "--answer", "incident", "--override", "l1") == 2


def test_a_label_that_reaches_no_broker_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRAFT__KAFKA__BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setattr("agents.label.FLUSH_S", 0.5)
    assert run("label", "--escalation", "abc", "--answer", "expected") == 3
    shown = capsys.readouterr()
    assert "The label was not written to graft.feedback at 127.0.0.1:1" in shown.err
    assert len(shown.err.splitlines()) == 1


def test_a_state_becomes_a_source_that_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    def write(folder: str, rows: int) -> Path:
        day = 8 * np.sin(2 * np.pi * np.arange(rows) / 288)
        made = np.random.default_rng(rows).normal(size=(rows, 2)) + day[:, None] + 50
        path = tmp_path / folder / "web.csv"
        path.parent.mkdir()
        lines = (f"{1_767_225_600 + 300 * at},{cpu:.5g},{disk:.5g}\n" for at, (cpu, disk) in enumerate(made))
        path.write_text("timestamp,cpu,disk\n" + "".join(lines))
        return path

    old, young, snapshot = tmp_path / "old.state", tmp_path / "young.state", tmp_path / "eu.snap"
    run("replay", write("old", 3000), "--out", tmp_path / "out", "--scores", "none", "--state-out", old)
    target = write("young", 600)
    run("replay", target, "--out", tmp_path / "out", "--scores", "none", "--state-out", young)
    capsys.readouterr()
    assert run("snapshot", "create", "--from", young, "--out", snapshot) == 2
    assert "no healthy source" in capsys.readouterr().err
    assert run("snapshot", "create", "--from", old, "--out", snapshot) == 0
    assert run("snapshot", "show", snapshot, "--json") == 0
    assert '"kind": "source"' in capsys.readouterr().out
    assert run("plan", snapshot, "--target", young, "--json") == 0
    assert json.loads(capsys.readouterr().out)["seeded"] == 2
    assert run("plan", snapshot, "--target", young) == 0
    assert "2 classes would be seeded" in capsys.readouterr().out
    assert run("replay", target, "--out", tmp_path / "out", "--snapshot", snapshot, "--json") == 0
    assert json.loads(capsys.readouterr().out)["seeded"] == 2
    assert run("replay", target, "--out", tmp_path / "out", "--snapshot", old) == 2
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1


def test_a_seed_that_is_no_source_is_a_finding(
    config: Path, series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "s.state"
    run("replay", series, "--out", tmp_path / "out", "--state-out", state)
    config.write_text(config.read_text() + f"[seed]\nsnapshot = '{state}'\n")
    capsys.readouterr()
    assert run("check", "-c", config, "--offline") == 1
    assert "is a checkpoint; cut a source" in capsys.readouterr().out
