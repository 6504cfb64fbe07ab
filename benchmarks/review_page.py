"""The review page under load: how long the server takes for each page, and how long until a browser has painted it.

    python -m benchmarks.review_page [--questions 10000] [--alerts 100000] [--repeats 30] [--json]

A file is filled with so many open questions and alerts, `graft review` serves it (its broker is away: the page has to
do without), and each page is asked for in turn. The baseline of the same run is /hello, the least that the same server
can answer. Where Chromium is installed, the first contentful paint is read from the browser, beside that of the
baseline: for somebody who comes from another page of the site (that is what the goal is about), and for a tab that is
opened for it, where the browser first starts a process. Where there is no Chromium, that is said.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from agents.review.store import Kept, Store
from benchmarks import review_data as made
from benchmarks.browser import Browser, chromium
from engine.series import stable_id

PAINT = """new Promise((done) => {
  const look = () => {
    const found = performance.getEntriesByName('first-contentful-paint')[0];
    found ? done(found.startTime) : setTimeout(look, 5);
  };
  look();
})"""


def paths(questions: int, alerts: int) -> dict[str, str]:
    """The pages that are asked for; `baseline` is the least that the server can answer."""
    asked = made.escalation(min(10, questions - 1) // 10 * 10)["escalation"]
    return {
        "baseline": "/hello",
        "queue": "/",
        "queue, page 100": "/?page=100",
        "answered": "/?status=answered",
        "question": f"/item/{asked}",
        "alerts": "/alerts",
        "alerts, page 500": "/alerts?page=500",
        "incident": f"/incident/{stable_id('incident', alerts // 6)}",
        "series": f"/series?name={quote(made.series_of(7))}",
        "entity": f"/entity?name={quote(made.entity_of(7))}",
        "search": "/search?q=http_requests",
        "fleet": "/fleet",
        "drift": "/drift",
        "experiments": "/experiments?kind=retune",
        "snapshots": "/snapshots",
    }


#: Pages that a browser paints; the others differ in their rows only.
PAINTED = ("queue", "question", "alerts", "incident", "series", "experiments")


def fill(path: Path, questions: int, alerts: int) -> tuple[int, float]:
    """Make the file; records, and records a second."""
    store = Store(path, kept=Kept(alerts=10 * alerts + 1000, questions=10 * questions + 1000))
    began_s = time.perf_counter()
    records = made.fill(store, made.story(questions=questions, alerts=alerts), seen_s=time.time())
    took_s = time.perf_counter() - began_s
    store.close()
    return records, records / took_s


def serve(folder: Path, db: Path) -> tuple[subprocess.Popen[str], str]:
    """`graft review` on that file; its process and address."""
    config = folder / "graft.toml"
    config.write_text(f'environment = "eu"\n[kafka]\nbootstrap = "127.0.0.1:1"\n[state]\ndir = "{folder}"\n')
    command = [sys.executable, "-m", "agents.cli", "review", "-c", str(config), "--db", str(db), "--json"]
    process = subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("graft review did not start")
    return process, json.loads(line)["url"].rstrip("/")


def spread(values: list[float]) -> dict[str, float]:
    """Median and the worst of twenty, in ms."""
    ordered = sorted(values)
    return {
        "median_ms": round(statistics.median(ordered), 2),
        "p95_ms": round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 2),
    }


async def answers(url: str, asked: dict[str, str], repeats: int, note: Callable[[str], None]) -> dict[str, Any]:
    """How long the server takes, page by page, over one connection."""
    found: dict[str, Any] = {}
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        for name, path in asked.items():
            times, size = [], 0
            for _ in range(repeats + 1):
                began_s = time.perf_counter()
                async with session.get(f"{url}{path}") as answer:
                    body = await answer.read()
                    if answer.status != 200:
                        raise RuntimeError(f"{path} answered {answer.status}: {body[:300]!r}")
                times.append(1000 * (time.perf_counter() - began_s))
                size = len(body)
            found[name] = {**spread(times[1:]), "bytes": size}
            note(f"{name}: {found[name]['median_ms']} ms")
    return found


async def paints(
    url: str, asked: dict[str, str], repeats: int, *, before: str, note: Callable[[str], None]
) -> dict[str, Any] | None:
    """First contentful paint of whoever comes from `before`; None without a browser."""
    path = chromium()
    if path is None:
        return None
    found: dict[str, Any] = {}
    async with Browser(path) as browser:
        for name in ("baseline", *PAINTED):
            times = []
            for _ in range(repeats + 1):
                await browser.goto(before)
                await browser.goto(f"{url}{asked[name]}")
                times.append(float(await browser.evaluate(PAINT)))
            found[name] = spread(times[1:])
            note(f"{name}: painted after {found[name]['median_ms']} ms")
    return found


def measure(questions: int, alerts: int, repeats: int, note: Callable[[str], None]) -> dict[str, Any]:
    """The whole benchmark."""
    with tempfile.TemporaryDirectory(prefix="graft-review-") as name:
        folder = Path(name)
        db = folder / "review.db"
        records, rate = fill(db, questions, alerts)
        note(f"{records:,} records filed, {rate:,.0f} a second")
        size = sum(one.stat().st_size for one in folder.glob("review.db*"))
        process, url = serve(folder, db)
        try:
            asked = paths(questions, alerts)
            served = asyncio.run(answers(url, asked, repeats, note))
            few = max(5, repeats // 3)
            painted = asyncio.run(paints(url, asked, few, before=f"{url}/hello", note=note))
            fresh = asyncio.run(paints(url, asked, few, before="about:blank", note=note))
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(20)
            if process.stdout is not None:
                process.stdout.close()
    return {
        "questions": questions, "alerts": alerts, "records": records, "filed_per_s": round(rate), "file_bytes": size,
        "server": served, "paint": painted, "paint_in_a_new_tab": fresh, "goal_ms": 200, "machine": platform.platform(),
    }  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=10_000, help="open questions (default: 10000)")
    parser.add_argument("--alerts", type=int, default=100_000, help="alerts (default: 100000)")
    parser.add_argument("--repeats", type=int, default=30, help="requests of each page (default: 30)")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    args = parser.parse_args(argv)

    def note(text: str) -> None:
        print(text, file=sys.stderr)

    found = measure(max(20, args.questions), max(20, args.alerts), max(2, args.repeats), note)
    if args.json:
        print(json.dumps(found))
    else:
        _say(found)
    slow = [name for name, of in (found["paint"] or found["server"]).items() if of["median_ms"] > found["goal_ms"]]
    return 1 if slow else 0


def _say(found: dict[str, Any]) -> None:
    painted, fresh = found["paint"] or {}, found["paint_in_a_new_tab"] or {}
    print(f"{found['questions']:,} open questions, {found['alerts']:,} alerts, {found['file_bytes'] / 2**20:.0f} MiB")
    print(f"{'page':<20}{'server, ms':>12}{'p95':>8}{'KiB':>8}{'painted, ms':>14}{'in a new tab':>14}")
    for name, of in found["server"].items():
        paint, new = (f"{all_of[name]['median_ms']:.0f}" if name in all_of else "-" for all_of in (painted, fresh))
        print(f"{name:<20}{of['median_ms']:>12.2f}{of['p95_ms']:>8.1f}{of['bytes'] / 1024:>8.0f}{paint:>14}{new:>14}")
    if not painted:
        print("Painting was not measured: there is no Chromium here.")
    print(f"goal: painted within {found['goal_ms']} ms")


if __name__ == "__main__":
    sys.exit(main())
