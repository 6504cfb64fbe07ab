"""The main job as a user sees it: Telegraf lines into a real Kafka, an alert in a real Alertmanager, and its end.

Everything is a process of its own and nothing of Graft is called from here: the producer is a plain client, the
configuration is the README's, and what is looked at is Alertmanager's API and Graft's probes.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.real_broker.kafka import RealKafka
from tests.real_broker.site import Process, Site, children, kill_9, until

pytestmark = [pytest.mark.real_broker, pytest.mark.slow]

HOSTS, HISTORY, OUTAGE, AFTER = 6, 1_500, 15, 150
ILL_HOST = 3
AM_CONFIG = """
route: {receiver: nobody, group_by: ['incident'], group_wait: 0s}
receivers: [{name: nobody}]
"""


@pytest.fixture
def site(kafka: RealKafka, site_on: Callable[..., Site]) -> Site:
    return site_on(kafka, "metrics")


@pytest.fixture
def manager(site: Site, needs: Callable[[str], str], free_ports: Callable[[int], list[int]], tmp_path: Path) -> str:
    """Base URL of a real Alertmanager; it ends with the site."""
    program, (port,) = needs("prometheus-alertmanager"), free_ports(1)
    (tmp_path / "am.yml").write_text(AM_CONFIG)
    site.start(
        [program, f"--config.file={tmp_path}/am.yml", f"--storage.path={tmp_path}/am",
         f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="],
        "am",
    )  # fmt: skip
    until(lambda: get(f"http://127.0.0.1:{port}/-/ready")[0] == 200, "Alertmanager is ready", limit_s=60)
    return f"http://127.0.0.1:{port}"


def get(url: str) -> tuple[int, str]:
    """Status and body; status 0: nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


def burning(manager: str) -> list[dict[str, Any]]:
    """What the Alertmanager holds as active for the ill host."""
    found = json.loads(get(f"{manager}/api/v2/alerts?active=true&filter=host%3D%22web-{ILL_HOST}%22")[1] or "[]")
    return list(found)


def graft_run(site: Site, manager: str, web: int) -> Process:
    """As the README has it, plus where state and probes are. The story is hours old, and nothing of it is late."""
    pace = "resend_interval_s = 15\nmax_alert_age_s = 86400\n"
    sink = f'[[sinks]]\nkind = "alertmanager"\nurl = "{manager}"\n{pace}'
    return site.graft_run(more=f'{sink}[web]\nlisten = "127.0.0.1:{web}"\n')


def test_an_outage_is_an_alert_and_its_end(site: Site, manager: str, free_ports: Callable[[int], list[int]]) -> None:
    """The notifier is killed while the alert burns, and tells its end all the same."""
    (web,) = free_ports(1)
    probes = f"http://127.0.0.1:{web}"
    first, last = HISTORY, HISTORY + OUTAGE
    job = {
        "start_ms": int(time.time() * 1000) - (last + AFTER) * 60_000,
        "hosts": HOSTS,
        "ill": [(ILL_HOST, first, last)],
    }
    feeder = site.feed(until_minute=HISTORY, **job)
    graft = graft_run(site, manager, web)
    assert feeder.end() == 0, feeder.said
    until(lambda: site.is_read() and get(f"{probes}/readyz")[0] == 200, "history is read and Graft is ready")
    assert get(f"{probes}/livez")[0] == 200
    assert "graft_records_total 27000" in get(f"{probes}/metrics")[1]
    until(lambda: not burning(manager), "nothing burns before the outage", limit_s=60)

    assert site.feed(from_minute=first, until_minute=last, **job).end() == 0
    (alert,) = until(lambda: burning(manager), "the alert is in Alertmanager", limit_s=60)
    labels = alert["labels"]
    assert (labels["alertname"], labels["entity"], labels["environment"]) == (
        "GraftAnomaly", f"host=web-{ILL_HOST}", "eu",
    )  # fmt: skip
    assert f"web-{ILL_HOST}" in alert["annotations"]["contributors"]

    killed = children(graft.popen.pid)["agents.flows.app"]
    kill_9(killed)
    assert site.feed(from_minute=last, until_minute=last + AFTER, **job).end() == 0
    until(lambda: not burning(manager), "the alert is resolved")
    until(lambda: get(f"{probes}/readyz")[0] == 200, "ready again after the worker was killed")
    assert children(graft.popen.pid)["agents.flows.app"] != killed
    told = [one for one in site.told("alerts") if one["incident"] == labels["incident"]]
    began, ended = (round((one - job["start_ms"]) / 60_000) for one in (told[0]["started_ms"], told[-1]["ended_ms"]))
    assert first <= began < last < ended < last + AFTER, told

    assert graft.stop() == 0, graft.said[-3000:]
    assert "stopped: " in graft.said
    assert "Traceback" not in graft.said
