"""The live log: lines as the principal publishes them."""

from __future__ import annotations

import json
import threading
import time
import uuid
from array import array
from collections import deque
from dataclasses import dataclass, fields
from typing import Any, Callable, Deque, Dict, Generator, Iterator, List, Optional, Sequence, Tuple

import zmq
from zmq.utils.monitor import recv_monitor_message

from ._connection import SEPARATOR, CurveKeys, Reply, Unreachable, endpoint, prepare

#: How often a member of several is asked whether it is there: a silent one is noticed by requests only, seconds.
_PRESENCE = 10.0
#: How soon ``close`` from another thread takes effect, ms.
_SLICE_MS = 200
#: Number of frames taken from the socket at once.
_BATCH = 1000
#: Number of lines remembered, to recognise them when they come again.
_REMEMBERED = 300_000
#: After a reconnect, the history is read from this long before the newest line, because the clocks of agents differ, ms.
_OVERLAP_MS = 60_000
#: First and longest pause before the history is read again, after it was unavailable or incomplete, seconds.
_FIRST_RETRY = 2.0
_LONGEST_RETRY = 60.0


@dataclass(frozen=True)
class LogLine:
    """A line that a task printed; the columns of ``logstore``, in their order."""

    workflow_id: str
    workflow_name: str
    workflow_instance_id: str
    task_name: str
    task_instance_id: str
    timestamp_ms: int
    level: str
    payload: str


_COLUMNS = [field.name for field in fields(LogLine)]
_TIME = _COLUMNS.index("timestamp_ms")


class LogTail:
    """An iterator over the live log. It subscribes on construction and reconnects by itself.

    Lines published while it was disconnected are read from the history afterwards; if the history is not available,
    live lines continue, and the reading is retried.
    One thread may iterate; any may :meth:`close` it, which ends the iteration.

    :param where: the host and the port of the publisher; when they change, it moves
    :param is_one_of_several: whether there are other members: then it asks now and then whether its member is there
    :param ask: sends a request to the principal once; raises Unreachable
    """

    def __init__(
        self,
        where: Callable[[], Tuple[str, int]],
        is_one_of_several: Callable[[], bool],
        ask: Callable[[Sequence[str]], Reply],
        workflow_id: Optional[str] = None,
        idle_timeout: Optional[float] = None,
        keys: Optional[CurveKeys] = None,
        connect_timeout: float = 3.0,
    ) -> None:
        self._where = where
        self._is_one_of_several = is_one_of_several
        self._workflow_id = workflow_id
        self._keys = keys
        self._ask = ask
        self._search: Dict[str, Any] = {} if workflow_id is None else {"workflow_id": workflow_id}
        self._idle_timeout = idle_timeout
        self._connect_timeout = connect_timeout
        self._closing = threading.Event()
        self._once = _ExactlyOnce(_REMEMBERED)
        #: Lines that are older are not asked for. Until the first line, the time at which this began.
        self._oldest_ms = int(time.time() * 1000)
        self._newest_ms: Optional[int] = None
        #: Start of the time range in which lines may have been missed.
        self._missed_from_ms: Optional[int] = None
        self._retry_at = 0.0
        self._retry_pause = _FIRST_RETRY
        #: Subscriptions of a connection arrive in order: once the publisher knows this unique one, the others are active too.
        self._probe: Optional[str] = None
        self._ready: Deque[LogLine] = deque()
        self._look_at = time.monotonic() + _PRESENCE
        self._open()
        # Callers that are about to trigger wait until the subscription is active. Nothing from before that counts as missed.
        deadline = time.monotonic() + connect_timeout
        if self._connections.poll(int(connect_timeout * 1000)) and self._reconnected():
            if self._subscribed(deadline):
                self._missed_from_ms = None
        self._batches = self._follow()

    def _open(self) -> None:
        """Connects to the publisher of the member that is used."""
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
        self._socket = socket
        self._place = self._where()
        prepare(socket, self._place[0], self._keys)
        socket.setsockopt(zmq.RCVHWM, 0)
        topic = b"" if self._workflow_id is None else f"{self._workflow_id}{SEPARATOR}".encode()
        socket.setsockopt(zmq.SUBSCRIBE, topic)
        self._connections = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        socket.connect(endpoint(*self._place))

    def _move(self) -> None:
        """Goes where the client has gone. Lines that are published meanwhile are only in the history."""
        if self._is_one_of_several() and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _PRESENCE
            try:
                self._ask(["PING"])
            except Unreachable:
                return
        if self._where() == self._place:
            return
        self._close_socket()
        self._probe = None
        self._open()

    def _close_socket(self) -> None:
        if not self._socket.closed:
            self._socket.disable_monitor()
            self._connections.close(0)
            self._socket.close()

    def __iter__(self) -> Iterator[LogLine]:
        return self

    def __next__(self) -> LogLine:
        quiet_since = time.monotonic()
        while not self._closing.is_set():
            if self._ready:
                return self._ready.popleft()
            self._ready.extend(next(self._batches))
            is_quiet = not self._ready and self._idle_timeout is not None
            if is_quiet and time.monotonic() - quiet_since >= (self._idle_timeout or 0):
                break
        self._end()
        raise StopIteration

    def __enter__(self) -> LogTail:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def close(self) -> None:
        """Ends the iteration shortly; may be called from any thread."""
        self._closing.set()

    def _end(self) -> None:
        self._closing.set()
        self._close_socket()

    def _follow(self) -> Iterator[List[LogLine]]:
        """New lines in batches; an empty one when nothing has arrived for a while."""
        while True:
            self._move()
            frames = self._receive()
            # The event of a connection is there before its first line. Lines that an earlier connection delivered last
            # may be taken for its own, which does no harm: they are new.
            if self._reconnected():
                self._once.restart_live()
            if self._missed_from_ms is not None and time.monotonic() >= self._retry_at:
                yield from self._read_missed(self._missed_from_ms)
            yield self._noted(line for line in map(_decode, frames) if line and self._once.offer_live(line))

    def _receive(self) -> List[bytes]:
        frames: List[bytes] = []
        if self._socket.poll(_SLICE_MS):
            try:
                while len(frames) < _BATCH:
                    frames.append(self._socket.recv(flags=zmq.DONTWAIT))
            except zmq.Again:
                pass
        return frames

    def _reconnected(self) -> bool:
        """Whether there is a new connection. If so, lines may have been missed, and the subscription is probed again."""
        is_new = False
        while self._connections.poll(0):
            if recv_monitor_message(self._connections)["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                is_new = True
            else:
                # A request finds out whether the whole member is gone.
                self._look_at = 0.0
        if is_new:
            if self._missed_from_ms is None:
                newest_ms = min(self._newest_ms or 0, int(time.time() * 1000))
                self._missed_from_ms = max(self._oldest_ms, newest_ms - _OVERLAP_MS)
            self._retry_at = 0.0
            self._unsubscribe_probe()
            self._probe = f"~{uuid.uuid4()}"
            self._socket.setsockopt(zmq.SUBSCRIBE, self._probe.encode())
        return is_new

    def _subscribed(self, deadline: float) -> bool:
        """Whether the subscription of the present connection is active, at the latest at ``deadline``."""
        pause = 0.002
        while self._probe is not None:
            try:
                reply = self._ask(["ISSUBSCRIBED", json.dumps({"probe": self._probe})])
                # A principal too old for this request only guarantees the connection.
                if reply.kind == "CLIENTERROR" or (not reply.failed and json.loads(reply.payload)["subscribed"]):
                    self._unsubscribe_probe()
                    break
            except Unreachable:
                pass
            if self._closing.wait(pause) or time.monotonic() >= deadline:
                return False
            pause = min(2 * pause, 0.25)
        return True

    def _unsubscribe_probe(self) -> None:
        if self._probe is not None:
            self._socket.setsockopt(zmq.UNSUBSCRIBE, self._probe.encode())
            self._probe = None

    def _read_missed(self, from_ms: int) -> Iterator[List[LogLine]]:
        is_whole = self._subscribed(time.monotonic() + self._connect_timeout)
        if is_whole:
            # Lines that have been forgotten would not be recognised.
            since_ms = max(from_ms, self._once.forgotten_ms + 1)
            is_whole = yield from self._read_history({**self._search, "since_ms": since_ms})
        if is_whole:
            self._missed_from_ms = None
            self._retry_pause = _FIRST_RETRY
        else:
            self._retry_at = time.monotonic() + self._retry_pause
            self._retry_pause = min(2 * self._retry_pause, _LONGEST_RETRY)

    def _read_history(self, search: Dict[str, Any]) -> Generator[List[LogLine], None, bool]:
        """Yields the lines of the history that are new. Its result is whether the history was complete."""
        is_whole = True
        known = self._once.counted()
        while not self._closing.is_set():
            try:
                reply = self._ask(["SEARCHLOGS", json.dumps(search)])
            except Unreachable:
                return False
            if reply.failed:
                # A principal that refuses the request will not answer it later either.
                return reply.kind == "CLIENTERROR"
            page = json.loads(reply.payload)
            is_whole = is_whole and page["warning"] is None
            rows = (LogLine(*row) for row in page["rows"])
            yield self._noted(line for line in rows if self._once.offer_history(line, known))
            if page["next"] is None:
                return is_whole
            search["after"] = page["next"]
        return False

    def _noted(self, new: Iterator[LogLine]) -> List[LogLine]:
        lines = list(new)
        for line in lines:
            if self._newest_ms is None:
                self._oldest_ms = min(self._oldest_ms, line.timestamp_ms)
            self._newest_ms = max(self._newest_ms or 0, line.timestamp_ms)
        return lines


class _ExactlyOnce:
    """Accepts each line once, although the live log may miss lines, and the history can be read repeatedly.

    One connection of the live log delivers a line at most once, but a restarted principal publishes again what it had
    not stored. Equal lines are counted: the source that has delivered a line more often is right.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        #: Keys and times of the accepted lines; ring buffers once they have reached the limit.
        self._keys = array("q")
        self._times = array("q")
        self._count = 0
        #: Accepted lines that the present connection has not delivered yet, with their number.
        self._repeats: Dict[int, int] = {}

    @property
    def forgotten_ms(self) -> int:
        """The time up to which lines may come again unrecognised; -1 when none has been forgotten."""
        return self._times[self._count % self._limit] if self._count > self._limit else -1

    def restart_live(self) -> None:
        """The live log has a new connection."""
        self._repeats = self.counted()

    def counted(self) -> Dict[int, int]:
        """The number of accepted lines by key, for a reading of the history."""
        counts: Dict[int, int] = {}
        for key in self._keys:
            counts[key] = counts.get(key, 0) + 1
        return counts

    def offer_live(self, line: LogLine) -> bool:
        """Whether a live line is new."""
        key = _key(line)
        if _take(self._repeats, key):
            return False
        self._remember(key, line.timestamp_ms)
        return True

    def offer_history(self, line: LogLine, known: Dict[int, int]) -> bool:
        """Whether a line of the history is new."""
        key = _key(line)
        if _take(known, key):
            return False
        self._remember(key, line.timestamp_ms)
        self._repeats[key] = self._repeats.get(key, 0) + 1
        while len(self._repeats) > self._limit:
            del self._repeats[next(iter(self._repeats))]
        return True

    def _remember(self, key: int, time_ms: int) -> None:
        if self._count < self._limit:
            self._keys.append(key)
            self._times.append(time_ms)
        else:
            self._keys[self._count % self._limit] = key
            self._times[self._count % self._limit] = time_ms
        self._count += 1


def _take(counts: Dict[int, int], key: int) -> bool:
    count = counts.get(key)
    if count is None:
        return False
    if count == 1:
        del counts[key]
    else:
        counts[key] = count - 1
    return True


def _key(line: LogLine) -> int:
    """Identifies a line by its visible content."""
    return hash((line.task_instance_id, line.timestamp_ms, line.level, line.payload))


def _decode(frame: bytes) -> Optional[LogLine]:
    columns: List[Any] = list(frame.decode("utf-8", errors="replace").split(SEPARATOR, len(_COLUMNS) - 1))
    if len(columns) != len(_COLUMNS) or not columns[_TIME].isdigit():
        # A newer principal may publish messages that this version does not know.
        return None
    columns[_TIME] = int(columns[_TIME])
    return LogLine(*columns)
