"""The detector: the hot path as a process of its own. `python -m agents.detector -c graft.toml`.

Owns warming up and signals. How the parts are put together is assembly.py, what happens in a turn loop.py,
and what may be relied on after a crash agents/recovery/durability.py.

    consume -> intake (by partition) -> Decoder -> Shard.process -> outputs -> checkpoint -> advisory commit

Not obvious: there is one Python thread and no HTTP in this process, because a busy thread beside it costs four fifths
of its speed; what it has to tell, it writes to a small file four times a second (agents/progress.py). And whatever
goes wrong in a way that is not foreseen ends the process: the next life folds on from the last snapshot as if nothing
had been.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Sequence

from agents import child
from agents.detector.assembly import Parts, assemble
from agents.detector.loop import Loop, Pace
from agents.recovery.held import Place
from agents.recovery.positions import Start
from agents.settings import Settings
from engine.errors import ConfigError


def run_detector(
    settings: Settings,
    *,
    stop: Callable[[Loop], bool] = lambda _: False,
    partitions: Sequence[Place] | None = None,
    start: Start = "earliest",
    pace: Pace | None = None,
    parts: Parts | None = None,
    again: Sequence[str] = (),
) -> None:
    """Run until `stop` says so (asked once a turn), then save and leave.

    partitions: read exactly these instead of joining the group. start: where a shard without a snapshot begins; the
    default is the beginning of its partition, since history is what models learn from, and alerts that were told
    before are told under the same ids. again: see `assemble`.
    """
    made = parts or Parts(settings)
    loop, store = assemble(settings, partitions=partitions, start=start, pace=pace, parts=made, again=again)
    with store:
        made.warm_up()
        gc.collect()
        # Tens of thousands of objects of the compiler would be looked through at each collection: 2.4 times slower.
        gc.freeze()
        loop.start(partitions)
        loop.run(stop)


class Stop:
    """Set by SIGTERM and SIGINT, asked once a turn. Until the first turn a signal ends the process, as it does any
    other: nothing is held yet, and the compiler, which may be at work for half a minute, asks nobody.

    SIGINT is a person who stops it for good; SIGTERM is mostly a restart."""

    def __init__(self) -> None:
        self.asked = False
        self._by_hand = False
        self._listening = False

    def _ask(self, number: int, _frame: object) -> None:
        self.asked = True
        self._by_hand = number == signal.SIGINT

    def __call__(self, loop: Loop) -> bool:
        if not self._listening:
            self._listening = True
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._ask)
        loop.for_good |= self._by_hand
        return self.asked


def place_of(text: str) -> Place:
    """`metrics:3` as a place."""
    topic, colon, partition = text.rpartition(":")
    if not colon or not partition.isdecimal():
        raise ConfigError(f"--partitions has {text!r}; write topic:partition, as in metrics:0,metrics:1.")
    return Place(topic, int(partition))


def main(arguments: Sequence[str] | None = None) -> int:
    """The process of `graft run`; exit status as in interface.md."""
    parser = child.parser("python -m agents.detector", "The hot path of `graft run`.")
    parser.add_argument("--partitions", help="topic:partition,... to read exactly these, without a group")
    parser.add_argument("--start", choices=("earliest", "latest"), default="earliest")
    options = parser.parse_args(arguments)

    def work(settings: Settings) -> None:
        places = [place_of(one) for one in options.partitions.split(",")] if options.partitions else None
        again = ["-c", str(options.config)] if options.config else []
        run_detector(settings, stop=Stop(), partitions=places, start=options.start, again=again)

    return child.run(options, work)
