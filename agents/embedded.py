"""A Kafka that needs no installation: the mock cluster inside the librdkafka that the confluent-kafka wheel brings.

Owns: that cluster's life, its topics and the faults that tests inject. Knows nothing of what is sent through it.

Not obvious, and said wherever a user meets it: **it forgets**. It lives in the memory of the process that started it
and ends with it. A partition keeps 100,000 produce requests or 5 MiB, the oldest go first, and no setting changes that.
There is no compaction, no access control, no TLS, no administration of topics by clients and no isolation of
transactions: what must hold there is tested against a real Kafka (tests/real_broker/). A topic that a client names
without creating it gets 4 partitions. A group that already has members takes one more, or lets one go, only after the
session time-out less one second (half a minute with ordinary settings): QUICK_GROUP shortens it.

The C functions are exported but promised to nobody, so each is looked up at start and a missing one is named. The
other door to the same cluster is the client property `test.mock.num.brokers`, which needs no symbol but can neither
choose partition counts nor inject faults.
"""

from __future__ import annotations

import ctypes
import importlib.util
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from engine.errors import ConfigError, OutsideError

#: Every broker of the cluster, where a call takes the number of one.
ALL_BROKERS: Final = -1

FORGETS: Final = (
    "The embedded broker keeps everything in memory, at most 5 MiB or 100,000 batches a partition, "
    "and forgets it when this process ends."
)

#: Consumer settings under which a rebalance takes about one second here (two if cooperative) instead of thirty.
QUICK_GROUP: Final[Mapping[str, str]] = {"session.timeout.ms": "2000", "heartbeat.interval.ms": "200"}


class Api(IntEnum):
    """Kafka requests that can be made to fail (numbers of the protocol)."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14


_POINTER, _INT, _TEXT = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
_BROKER, _PARTITION = ctypes.c_int32, ctypes.c_int32
_KEY, _SIZE, _OFFSET = ctypes.c_int16, ctypes.c_size_t, ctypes.c_int64
_ERRORS = ctypes.POINTER(ctypes.c_int)

#: name -> (result, arguments). A pointer without its type here would be cut to 32 bits.
_FUNCTIONS: Final[Mapping[str, tuple[type | None, tuple[type, ...]]]] = {
    "rd_kafka_conf_new": (_POINTER, ()),
    "rd_kafka_conf_set": (_INT, (_POINTER, _TEXT, _TEXT, _TEXT, _SIZE)),
    "rd_kafka_new": (_POINTER, (_INT, _POINTER, _TEXT, _SIZE)),
    "rd_kafka_destroy": (None, (_POINTER,)),
    "rd_kafka_err2str": (_TEXT, (_INT,)),
    "rd_kafka_mock_cluster_new": (_POINTER, (_POINTER, _INT)),
    "rd_kafka_mock_cluster_destroy": (None, (_POINTER,)),
    "rd_kafka_mock_cluster_bootstraps": (_TEXT, (_POINTER,)),
    "rd_kafka_mock_topic_create": (_INT, (_POINTER, _TEXT, _INT, _INT)),
    "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, (_POINTER, ctypes.c_int32)),
    "rd_kafka_mock_set_controller_id": (None, (_POINTER, _BROKER)),
    "rd_kafka_mock_broker_set_down": (_INT, (_POINTER, _BROKER)),
    "rd_kafka_mock_broker_set_up": (_INT, (_POINTER, _BROKER)),
    "rd_kafka_mock_broker_set_rtt": (_INT, (_POINTER, _BROKER, _INT)),
    "rd_kafka_mock_partition_set_leader": (_INT, (_POINTER, _TEXT, _PARTITION, _BROKER)),
    "rd_kafka_mock_partition_delete_records": (_INT, (_POINTER, _TEXT, _PARTITION, _OFFSET)),
    "rd_kafka_mock_push_request_errors_array": (None, (_POINTER, _KEY, _SIZE, _ERRORS)),
    "rd_kafka_mock_clear_request_errors": (None, (_POINTER, _KEY)),
}

_PRODUCER: Final = 0
#: Critical only: the handle that carries the cluster never connects to anything and would warn about it.
_LOG_LEVEL: Final = b"2"


def library_path() -> Path:
    """The librdkafka of the installed confluent-kafka wheel."""
    spec = importlib.util.find_spec("confluent_kafka")
    if spec is None or spec.origin is None:
        raise OutsideError("confluent-kafka is not installed; the embedded broker is a part of it.")
    package = Path(spec.origin).parent
    for folder in (package.parent / "confluent_kafka.libs", package / ".dylibs"):
        for path in sorted(folder.glob("librdkafka*")):
            return path
    raise OutsideError(
        f"No librdkafka beside {package}; the embedded broker needs confluent-kafka as a wheel, not built from source: "
        "pip install --only-binary :all: confluent-kafka"
    )


def _load(path: Path) -> ctypes.CDLL:
    """The library with every function typed, or one error that names those which are missing."""
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise OutsideError(f"{path} does not load: {error}. Install confluent-kafka again.") from error
    missing = [name for name in _FUNCTIONS if not hasattr(library, name)]
    if missing:
        raise OutsideError(
            f"{path.name} has no {', '.join(missing)}, which the embedded broker needs; install the confluent-kafka "
            "named in requirements.lock, or use a real Kafka."
        )
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, list(arguments)
    return library


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Threads started within never get a signal.

    librdkafka does this for its other threads. The cluster's takes a signal as the end (its poll is interrupted), frees
    everything, and the later stop() touches what is freed: a Ctrl-C that the kernel hands to it kills the process.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _threads() -> frozenset[str]:
    """Threads of this process that run a mock cluster; none where that cannot be seen (not Linux)."""
    found = set()
    for task in Path("/proc/self/task").glob("*"):
        try:
            if (task / "comm").read_text().startswith("rdk:mock"):
                found.add(task.name)
        except OSError:
            continue
    return frozenset(found)


class EmbeddedBroker:
    """A Kafka cluster in this process, on loopback, for `graft demo` and tests. It forgets: see the top of this file.

    topics: name -> number of partitions. brokers: more than one only to test the loss of one of them.

    >>> with EmbeddedBroker({"metrics": 2}) as broker:
    ...     broker.bootstrap.startswith("127.0.0.1:")
    True
    """

    def __init__(self, topics: Mapping[str, int] | None = None, *, brokers: int = 1) -> None:
        self._wanted = dict(topics or {})
        self._brokers = brokers
        self._library: ctypes.CDLL | None = None
        self._handle: int | None = None
        self._cluster: int | None = None
        self._bootstrap = ""
        self._threads: frozenset[str] = frozenset()

    @property
    def bootstrap(self) -> str:
        """Value of `bootstrap.servers`; empty while it does not run."""
        return self._bootstrap

    @property
    def forgets(self) -> str:
        """The sentence to show to whoever might take this for a place to keep things."""
        return FORGETS

    @property
    def running(self) -> bool:
        """Whether it was started and not yet stopped."""
        return self._cluster is not None

    def start(self) -> Self:
        """Start listening, with the topics asked for and no delay before a group's first assignment."""
        if self.running:
            raise ConfigError("This embedded broker runs already; stop it first or make another one.")
        library = self._library = _load(library_path())
        self._handle = self._new_handle(library)
        others = _threads()
        with _signals_blocked():
            self._cluster = library.rd_kafka_mock_cluster_new(self._handle, self._brokers)
        self._threads = _threads() - others
        if not self._cluster:
            self.stop()
            raise OutsideError(f"librdkafka could not listen for {self._brokers} broker(s) on 127.0.0.1.")
        # The protocol's default of 3 s would be most of a test's time.
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        # Without a controller an administration request waits for its time-out; with one it is refused at once.
        library.rd_kafka_mock_set_controller_id(self._cluster, 1)
        self._bootstrap = self._address(library)
        for name, partitions in self._wanted.items():
            self.create_topic(name, partitions=partitions)
        return self

    @staticmethod
    def _new_handle(library: ctypes.CDLL) -> int:
        reason = ctypes.create_string_buffer(512)
        configuration = library.rd_kafka_conf_new()
        library.rd_kafka_conf_set(configuration, b"log_level", _LOG_LEVEL, reason, len(reason))
        handle: int | None = library.rd_kafka_new(_PRODUCER, configuration, reason, len(reason))
        if not handle:
            raise OutsideError(f"librdkafka gave no handle: {reason.value.decode(errors='replace')}")
        return handle

    def _address(self, library: ctypes.CDLL) -> str:
        text: bytes = library.rd_kafka_mock_cluster_bootstraps(self._cluster)
        return text.decode("ascii")

    def stop(self) -> None:
        """End it and everything in it. Clients should be closed before; twice is as good as once."""
        library, self._bootstrap = self._library, ""
        if library is None:
            return
        if self._cluster and not self._has_died():
            library.rd_kafka_mock_cluster_destroy(self._cluster)
        # A handle whose cluster has freed itself would be freed through it once more; the process's end frees it too.
        if self._handle and not self._has_died():
            library.rd_kafka_destroy(self._handle)
        self._cluster = self._handle = self._library = None

    def _has_died(self) -> bool:
        """Has the cluster's thread ended by itself? It then has freed the cluster; to do it again is a crash."""
        return bool(self._cluster and self._threads) and not self._threads & _threads()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def create_topic(self, name: str, *, partitions: int = 1) -> None:
        """Make a topic; the only way to have another number of partitions than 4."""
        if partitions < 1:
            raise ConfigError(f"Topic {name} was asked for with {partitions} partitions; it must be >= 1.")
        self._call("rd_kafka_mock_topic_create", name.encode(), partitions, 1)

    # Faults, for tests.

    def down(self, broker: int = ALL_BROKERS) -> None:
        """Cut all connections and refuse new ones. Leaders stay where they are: nobody takes over."""
        self._call("rd_kafka_mock_broker_set_down", broker)

    def up(self, broker: int = ALL_BROKERS) -> None:
        """Accept connections again, with everything that was there before `down`."""
        self._call("rd_kafka_mock_broker_set_up", broker)

    def slow(self, round_trip_ms: int, broker: int = ALL_BROKERS) -> None:
        """Delay each answer; 0 ends it."""
        self._call("rd_kafka_mock_broker_set_rtt", broker, round_trip_ms)

    def fail(self, api: Api, errors: Iterable[int]) -> None:
        """Answer the next requests of this kind with these errors, one each, in order.

        errors: codes such as `confluent_kafka.KafkaError.NOT_LEADER_FOR_PARTITION`; `KafkaError._TRANSPORT` cuts the
        connection instead of answering.
        """
        codes = list(errors)
        self._call("rd_kafka_mock_push_request_errors_array", int(api), len(codes), (ctypes.c_int * len(codes))(*codes))

    def forgive(self, api: Api) -> None:
        """Forget the failures of this kind that are still to come."""
        self._call("rd_kafka_mock_clear_request_errors", int(api))

    def set_leader(self, topic: str, partition: int, broker: int) -> None:
        """Move a partition to another broker; -1 leaves it without a leader."""
        self._call("rd_kafka_mock_partition_set_leader", topic.encode(), partition, broker)

    def delete_records(self, topic: str, partition: int, before_offset: int) -> None:
        """Drop what lies before the offset, as retention would."""
        self._call("rd_kafka_mock_partition_delete_records", topic.encode(), partition, before_offset)

    def _call(self, name: str, *arguments: object) -> None:
        library = self._library
        if library is None or self._cluster is None:
            raise ConfigError("This embedded broker does not run; use it in a `with` block or call start().")
        code = getattr(library, name)(self._cluster, *arguments)
        if code:  # None from functions that cannot fail
            reason = library.rd_kafka_err2str(code).decode(errors="replace")
            raise OutsideError(f"The embedded broker refused {name}{arguments}: {reason}")
