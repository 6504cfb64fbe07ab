"""Laws of the configuration: typed, strict, every refusal names the key, no secret is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents import settings as under_test
from agents.configfile import leaves
from agents.secret import Secret
from engine.errors import ConfigError

SMALLEST = """
[kafka]
bootstrap = "localhost:9092"

[[inputs]]
topic = "metrics"        # format = "auto"

[[sinks]]
kind = "alertmanager"
url = "http://localhost:9093"
"""

FULL = """
environment = "eu"
[kafka]
bootstrap = "localhost:9092"
group = "graft"
properties = { "security.protocol" = "SASL_SSL", "sasl.password" = "${env:PASSWORD}" }
[[inputs]]
topic = "metrics"
format = "telegraf-influx"
entity_labels = ["host"]
[state]
dir = "/var/lib/graft"
snapshot_interval_s = 30
[seed]
snapshot = "eu.snap"
[topics]
prefix = "graft."
[alerting]
false_pages_per_entity_day = 0.1
[review]
questions_per_hour = 4
[[sinks]]
kind = "webhook"
url = "http://127.0.0.1:9900/${env:PATH_TOKEN}"
allow_private = true
[web]
listen = "127.0.0.1:8080"
token = "${env:TOKEN}"
"""
ENV = {"PASSWORD": "canary-one", "PATH_TOKEN": "canary-two", "TOKEN": "canary-three"}


@pytest.fixture
def write(tmp_path: Path):
    def make(text: str) -> Path:
        path = tmp_path / "graft.toml"
        path.write_text(text)
        return path

    return make


def test_the_smallest_useful_file(write) -> None:
    settings = under_test.load(write(SMALLEST), env={})
    assert settings.inputs[0].topic == "metrics"
    assert settings.inputs[0].format == "auto"
    assert settings.kafka.group == "graft"


def test_every_fixed_key_is_known(write) -> None:
    loaded = under_test.read(write(FULL), env=ENV)
    settings = loaded.settings
    assert (settings.environment, settings.seed.snapshot, settings.state.dir) == ("eu", "eu.snap", "/var/lib/graft")
    assert settings.web.token == Secret("canary-three")
    assert under_test.kafka_properties(settings)["sasl.password"] == "canary-one"
    shown = {line.key: line for line in loaded.effective()}
    assert shown["state.snapshot_interval_s"].origin == "graft.toml:13"
    assert shown["limits.max_series"].origin == "default"
    assert shown["sinks.0.kind"].value == "webhook"


def test_no_secret_is_shown_anywhere(write) -> None:
    loaded = under_test.read(write(FULL), env=ENV)
    everything = repr(loaded) + str(loaded.settings) + repr(loaded.effective())
    assert "canary" not in everything
    assert sorted(one.reveal()[-3:] for one in under_test.secrets_of(loaded.settings)) == ["one", "ree", "two"]


def test_keys_of_people_come_by_reference_and_are_never_shown(write) -> None:
    text = '[review]\nteam_label = "team"\nask_about_pages = false\n[review.keys]\nann = "${env:ANN}"\n'
    loaded = under_test.read(write(text), env={"ANN": "canary-ann"})
    assert loaded.settings.review.keys["ann"].reveal() == "canary-ann"
    assert "canary" not in str(loaded.effective())
    assert [one.reveal() for one in under_test.secrets_of(loaded.settings)] == ["canary-ann"]
    for bad in (text.replace("${env:ANN}", "written out"), text.replace("${env:ANN}", "${env:EMPTY}")):
        with pytest.raises(ConfigError, match="keys"):
            under_test.read(write(bad), env={"EMPTY": ""})


def test_no_token_in_the_path_of_a_sink_is_shown(write) -> None:
    text = """
    [[sinks]]
    kind = "webhook"
    url = "https://hooks.example/services/T0/canary?token=canary"
    [[sinks]]
    kind = "alertmanager"
    urls = ["http://a:9093", "http://b:9093/canary"]
    """
    shown = {line.key: line.value for line in under_test.read(write(text), env={}).effective()}
    assert shown["sinks.0.url"] == "https://hooks.example/***"
    assert (shown["sinks.1.url"], shown["sinks.1.urls"]) == ("", ["http://a:9093", "http://b:9093/***"])


def test_defaults_alone_are_a_configuration() -> None:
    settings = under_test.load(None, env={})
    with pytest.raises(ConfigError, match="no input"):
        under_test.require_inputs(settings)


def test_environment_wins_and_says_so(write) -> None:
    env = {
        "GRAFT__KAFKA__GROUP": "7",
        "GRAFT__INPUTS__0__ENTITY_LABELS": '["pod"]',
        "GRAFT__INPUTS__1__TOPIC": "more",
        "GRAFT__KAFKA__PROPERTIES__CLIENT_ID": "me",
        "GRAFT__WEB__TOKEN": "${env:T}",
        "T": "canary",
    }
    loaded = under_test.read(write(SMALLEST), env=env)
    shown = {line.key: line for line in loaded.effective()}
    assert loaded.settings.kafka.group == "7"
    assert loaded.settings.inputs[0].entity_labels == ("pod",)
    assert loaded.settings.inputs[1].topic == "more"
    assert loaded.settings.kafka.properties == {"client.id": "me"}
    assert shown["kafka.group"].origin == "env GRAFT__KAFKA__GROUP"
    assert shown["web.token"].value == "***"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("[kafka]\nbootstap = 'x'", "unknown key kafka.bootstap; did you mean kafka.bootstrap"),
        ("[kafkas]\n", "did you mean kafka"),
        ("[[inputs]]\ntopic = 'm'\nform = 'x'", "did you mean inputs.0.format"),
        ("[[inputs]]\n", "inputs.0: object missing required field topic"),
        ("[[inputs]]\ntopic = 'm'\nformat = 'otlp'", "inputs.0.format is 'otlp'"),
        ("[[inputs]]\ntopic = 'a b'", "inputs.0.topic is 'a b'"),
        ("[[inputs]]\ntopic = 'm'\n[[inputs]]\ntopic = 'm'", "topic m twice"),
        ("[[inputs]]\ntopic = 'graft.alerts'", "Graft writes itself"),
        ("[state]\nsnapshot_interval_s = '3'", "state.snapshot_interval_s: expected float, got str"),
        ("[state]\nsnapshot_interval_s = -1", "state.snapshot_interval_s is -1"),
        ("[state]\nupload_interval_s = -1", "state.upload_interval_s is -1"),
        ("[state]\nkey = 'canary'", "state.key: a secret must not be written here"),
        ("[kafka]\nproperties = { 'sasl.password' = 'canary' }", "sasl.password written out"),
        ("[kafka]\nproperties = { 'group.id' = 'x' }", "set kafka.group instead"),
        ("[kafka]\nproperties = { 'auto.offset.reset' = 'latest' }", "Graft sets itself"),
        ("[kafka]\nproperties = { 'enable.ssl.certificate.verification' = false }", "set kafka.insecure = true"),
        ("[alerting]\nfalse_pages_per_entity_day = 0", r"must lie in \(0, 1000\]"),
        ("[web]\nlisten = '0.0.0.0:80'", "there is no web.token"),
        ("[web]\nlisten = 'nonsense'", "must be host:port"),
        ("[[sinks]]\nkind = 'webhok'", "sinks.0.kind is 'webhok'; it must be one of"),
        ("[[sinks]]\nurl = 'http://x'", "sinks.0.kind is missing"),
        ("[kafka]\nbootstrap = '${env:NOPE}'", "environment variable NOPE, which is not set"),
        ("[state]\nkey = '${file:/nowhere/at/all}'", "the file /nowhere/at/all, which cannot be read"),
        ("x = [", "is not TOML"),
        ("inputs = 3", "inputs: expected array, got int"),
    ],
)
def test_a_refusal_names_the_key_and_what_was_wanted(write, text: str, wanted: str) -> None:
    with pytest.raises(ConfigError, match=wanted) as caught:
        under_test.load(write(text), env={})
    assert "canary" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("GRAFT__KAFKA__GROP", "did you mean kafka.group"),
        ("GRAFT__NOTHING__X", "unknown key nothing"),
        ("GRAFT__KAFKA", "expected object"),
        ("GRAFT__INPUTS__3__TOPIC", "next free number is 0"),
        ("GRAFT__INPUTS__0", "names a whole table"),
        ("GRAFT__KAFKA__PROPERTIES", "names a whole table"),
        ("GRAFT__INPUTS__A__TOPIC", "unknown key inputs.a"),
    ],
)
def test_a_variable_that_names_nothing_is_refused(name: str, wanted: str) -> None:
    with pytest.raises(ConfigError, match=wanted):
        under_test.load(None, env={name: "x"})


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        under_test.load(tmp_path / "nowhere.toml", env={})


def test_a_secret_file_is_read_without_its_newline(tmp_path: Path, write) -> None:
    (tmp_path / "key").write_text("canary\n")
    settings = under_test.load(write(f"[state]\nkey = '${{file:{tmp_path}/key}}'"), env={})
    assert settings.state.key == Secret("canary")


def test_insecure_properties_pass_when_asked_for(write) -> None:
    text = "[kafka]\ninsecure = true\nproperties = { 'enable.ssl.certificate.verification' = false }"
    properties = under_test.kafka_properties(under_test.load(write(text), env={}))
    assert properties["enable.ssl.certificate.verification"] == "false"


def test_the_hash_follows_what_affects_state_and_nothing_else(write) -> None:
    base = under_test.config_hash(under_test.load(write(SMALLEST), env={}))
    same = under_test.config_hash(under_test.load(write(SMALLEST), env={"GRAFT__WEB__LISTEN": "127.0.0.1:1"}))
    other = under_test.config_hash(under_test.load(write(SMALLEST), env={"GRAFT__INPUTS__0__FORMAT": "json"}))
    assert base == same != other


def test_engine_config_carries_the_users_choices(write) -> None:
    config = under_test.engine_config(under_test.load(write(FULL), env=ENV))
    assert (config.environment, config.entity_labels) == ("eu", ("host",))


def test_leaves_of_an_empty_document() -> None:
    assert leaves({}) == []
