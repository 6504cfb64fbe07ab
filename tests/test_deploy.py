"""What can be said of docker-compose.yml and its files without a Docker engine: that they parse and fit together."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from agents import settings, supervisor

ROOT = Path(__file__).resolve().parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def mounted() -> list[tuple[str, str]]:
    """(source, target) of all volumes."""
    return [tuple(volume.split(":")[:2]) for one in SERVICES.values() for volume in one.get("volumes", [])]


def test_files_that_are_mounted_exist() -> None:
    files = [source for source, _ in mounted() if source.startswith(".")]
    assert len(files) == 4
    assert [source for source in files if not (ROOT / source).is_file()] == []
    named = [source for source, _ in mounted() if not source.startswith(".")]
    assert set(named) == set(COMPOSE["volumes"])


def test_services_wait_for_services_that_exist() -> None:
    waits = {name: set(one.get("depends_on", {})) for name, one in SERVICES.items()}
    assert {name: others - set(SERVICES) for name, others in waits.items() if others - set(SERVICES)} == {}


def test_images_are_pinned_and_ports_stay_on_loopback() -> None:
    images = [one["image"] for one in SERVICES.values() if "image" in one]
    assert [image for image in images if ":" not in image or image.endswith(":latest")] == []
    ports = [port for one in SERVICES.values() for port in one.get("ports", [])]
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_graft_accepts_its_configuration() -> None:
    chosen = settings.load(ROOT / "deploy" / "graft.toml", env={})
    broker = f"{SERVICES['kafka']['environment']['KAFKA_ADVERTISED_LISTENERS'].removeprefix('PLAINTEXT://')}"
    assert chosen.kafka.bootstrap == broker
    assert chosen.state.dir in {target for _, target in mounted()}


def test_docker_waits_for_the_last_checkpoint() -> None:
    assert int(SERVICES["graft"]["stop_grace_period"].removesuffix("s")) > supervisor.STOP_S


def test_all_speak_of_one_topic_and_one_broker() -> None:
    telegraf = tomllib.loads((ROOT / "deploy" / "telegraf.conf").read_text())
    chosen = settings.load(ROOT / "deploy" / "graft.toml", env={})
    (output,) = telegraf["outputs"]["kafka"]
    assert output["topic"] == chosen.inputs[0].topic
    assert output["brokers"] == [chosen.kafka.bootstrap]
    assert f"--topic {output['topic']} " in SERVICES["topic"]["command"]


def test_prometheus_scrapes_where_graft_listens() -> None:
    prometheus = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text())
    chosen = settings.load(ROOT / "deploy" / "graft.toml", env={})
    assert prometheus["scrape_configs"][0]["static_configs"] == [{"targets": [chosen.web.listen]}]
    assert SERVICES["prometheus"]["network_mode"] == "service:graft"


def test_the_image_is_made_of_files_that_exist() -> None:
    kept = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"}
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = {name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]}
    assert copied == kept
    assert {name for name in copied if not (ROOT / name).exists()} == set()
    assert "USER graft" in lines


def test_alertmanager_accepts_its_file(needs: Callable[[str], str]) -> None:
    command = [needs("amtool"), "check-config", ROOT / "deploy" / "alertmanager.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
