"""The command: `graft demo` from its first line to its exit status.

Owns the order of set-up, the choice of screen or lines, and the end: whatever happens, the summary is printed and every
process is gone. Imports what is heavy only after its first line is out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import OutsideError

if TYPE_CHECKING:
    from agents.cli.out import Out
    from agents.demo.scoreboard import Heard, Score
    from agents.demo.screen import Screen
    from agents.demo.story import Story
    from agents.demo.words import Event

DONE, FINDINGS, INTERRUPTED = 0, 1, 130
#: Of the seconds asked for, so much is set-up and end; the story never gets less than this share.
END_S, LEAST_SHARE = 2.0, 0.5
#: How long the two processes may take to be ready; the kernels are compiled before.
READY_S = 180.0
#: Loading the kernels takes a second or two; what takes longer compiles them.
COMPILING_S = 4.0
#: Event time after the last sample for which the story is waited for, wall seconds.
OVER_S = 20.0
#: How long `graft run` may take to end: to the end of a demo, and when somebody has pressed Ctrl-C.
STOP_S, STOP_NOW_S = 6.0, 0.3
SEED_FILE = Path(__file__).resolve().parent.parent / "data" / "demo-source.snap"


@dataclass
class Run:
    """What a run of the demo has come to; printed at its end, whole or not."""

    args: argparse.Namespace
    out: Out
    began_s: float = field(default_factory=time.monotonic)
    story: Story | None = None
    screen: Screen | None = None
    score: Score | None = None
    is_interrupted: bool = False

    def line(self, text: str) -> None:
        """A line for people: the result's place, or standard error beside --json."""
        if self.args.json:
            print(text, file=sys.stderr, flush=True)
        else:
            print(text, flush=True)

    def tell(self, event: Event) -> None:
        """An event of the story."""
        if self.screen is not None:
            self.screen.add(event)
        elif not self.args.json:
            self.line(f"{event.at}  {event.mark:<8}  {event.text}")

    def hear(self, _topic: str, heard: Heard) -> None:
        """A record that came back; called in another thread."""
        from agents.demo.words import of_record

        event = of_record(heard, self.story.begin_ms) if self.story is not None else None
        if event is not None:
            self.tell(event)


def run(args: argparse.Namespace, out: Out) -> int:
    """The exit status: 0 all found and no false page, 1 otherwise, 130 after Ctrl-C."""
    one = Run(args, out)
    one.line("graft demo: a small fleet, a scripted week of trouble, ground truth at the end. Starting ...")
    with ExitStack() as stack:
        folder = Path(args.out)
        try:
            _play(one, stack, folder)
        except KeyboardInterrupt:
            one.is_interrupted = True
        _close_screen(one)
        if one.story is None:
            one.line("stopped before the story began.")
            return INTERRUPTED
        _end(one, folder)
    if one.is_interrupted:
        return INTERRUPTED
    return DONE if one.score is not None and one.score.is_good else FINDINGS


def _play(one: Run, stack: ExitStack, folder: Path) -> None:
    """Set up and tell the story. The stack ends everything that was started, in reverse order."""
    from agents.demo.broker import config_text, free_port, open_places
    from agents.demo.child import GraftRun
    from agents.demo.pager import Pager

    args = one.args
    folder.mkdir(parents=True, exist_ok=True)
    state = Path(stack.enter_context(_scratch()))
    compiled_s = _compile(one)
    places = open_places(stack, args.bootstrap)
    pager = Pager()
    listen = f"127.0.0.1:{free_port()}"
    config = folder / "graft.toml"
    config.write_text(
        config_text(
            places, state_dir=state, seed=SEED_FILE, hook=pager.url, listen=listen, alertmanager=args.alertmanager
        )
    )
    child = GraftRun(config, state_dir=state, listen=listen, log=folder / "graft-run.log")
    stack.callback(lambda: child.stop(STOP_NOW_S if one.is_interrupted else STOP_S))
    child.start()
    _introduce(one, places, listen, config)
    stack.enter_context(pager)
    story = _story(one, places, state, pager)
    _wait_ready(child)
    spent_s = time.monotonic() - one.began_s - compiled_s
    story_s = max(args.seconds - spent_s - END_S, LEAST_SHARE * args.seconds)
    ready_s = time.monotonic() - one.began_s
    one.line(f"ready after {ready_s:.1f} s; {len(story.values):,} event minutes in {story_s:.0f} s\n")
    story.feeder.set_pace(story_s)
    one.story = story
    story.start()
    _open_screen(one)
    _watch(one, story, child)


def _scratch() -> Any:
    return tempfile.TemporaryDirectory(prefix="graft-demo-", ignore_cleanup_errors=True)


def _compile(one: Run) -> float:
    """Load the kernels, or compile them if no run has done so before; the seconds of that --seconds does not count.

    Before the children start: three processes that compile the same at once take three times as long.
    """
    from agents.detector.assembly import Parts
    from agents.settings import Settings

    said = threading.Timer(COMPILING_S, one.line, ("  compiling the kernels, once for this machine (a minute) ...",))
    said.start()
    began_s = time.monotonic()
    try:
        Parts(Settings()).warm_up()
    finally:
        said.cancel()
        said.join()
    took_s = time.monotonic() - began_s
    return took_s if took_s > COMPILING_S else 0.0


def _introduce(one: Run, places: Any, listen: str, config: Path) -> None:
    from agents.demo.broker import FALSE_PAGES_PER_ENTITY_DAY
    from agents.demo.incidents import DAYS, SCRIPT

    broker = "embedded broker, in memory: it forgets; --bootstrap takes yours" if places.is_embedded else "your broker"
    one.line(f"  broker   {places.bootstrap}  ({broker})")
    one.line(f"  topics   {places.hosts} (Telegraf lines), {places.services} (JSON), {places.prefix}*")
    one.line(f"  worker   graft run -c {config}  (log beside it)")
    one.line(f"  seed     {SEED_FILE.name}: another environment's habits, none of its levels; beside it a cold twin")
    one.line(f"  web      http://{listen}/metrics  /readyz")
    one.line(
        f"  script   {len(SCRIPT)} incidents in {DAYS} event days, seed {one.args.seed}; "
        f"a normal host may page {FALSE_PAGES_PER_ENTITY_DAY:g} times a day"
    )


def _story(one: Run, places: Any, state: Path, pager: Any) -> Story:
    from agents.demo.incidents import DAYS, story
    from agents.demo.story import Story
    from agents.demo.world import Fleet
    from engine.snapshot import unpack
    from engine.transfer import read_prior

    fleet = Fleet.of()
    values = story(fleet, seed=one.args.seed)
    day_ms = 86_400_000
    # All of it in the past: samples from the future would be refused.
    begin_ms = (int(time.time() * 1000) // day_ms - DAYS) * day_ms
    prior = read_prior(unpack(SEED_FILE.read_bytes()))
    return Story(
        fleet, values, places=places, begin_ms=begin_ms, prior=prior, state_dir=state, pager=pager,
        tell=one.hear,
    )  # fmt: skip


def _wait_ready(child: Any) -> None:
    deadline_s = time.monotonic() + READY_S
    while not child.is_ready():
        if time.monotonic() > deadline_s:
            raise OutsideError(f"`graft run` was not ready after {READY_S:g} s. Its log ends:\n{child.log_tail()}")
        time.sleep(0.1)


def _open_screen(one: Run) -> None:
    if one.args.json or one.args.no_ui or not sys.stdout.isatty() or one.story is None:
        return
    from agents.demo.screen import Screen

    screen = Screen(one.story, "graft demo")
    screen.__enter__()
    one.screen = screen


def _close_screen(one: Run) -> None:
    if one.screen is not None:
        one.screen.__exit__()
        one.screen = None


def _watch(one: Run, story: Story, child: Any) -> None:
    """Until everything is sent, read and settled."""
    from agents.demo.incidents import SCRIPT
    from agents.demo.words import injected

    due = list(SCRIPT)
    deadline_s = None
    while not story.is_over():
        child.check()
        while due and due[0].start_min <= story.feeder.minute:
            one.tell(injected(due.pop(0)))
        if one.screen is not None:
            one.screen.show(story.moment())
        if not story.is_feeding():
            deadline_s = deadline_s or time.monotonic() + OVER_S
            if time.monotonic() > deadline_s:
                raise OutsideError(f"The detector is still {story.lag()} records behind {OVER_S:g} s after the end.")
        time.sleep(0.25 if one.screen is not None else 0.1)


def _end(one: Run, folder: Path) -> None:
    """The summary, and the files."""
    from agents.demo.summary import as_json, as_text, write_files

    story = one.story
    assert story is not None  # _play sets it before anything can be watched
    one.score = story.finish(patience_s=0.3 if one.is_interrupted else 2.5)
    files = write_files(folder, story)
    took_s = time.monotonic() - one.began_s
    if one.args.json:
        one.out.result(as_json(story, one.score, took_s=took_s, seed=one.args.seed))
    else:
        one.line(as_text(story, one.score, files, took_s=took_s, is_cut=one.is_interrupted))
