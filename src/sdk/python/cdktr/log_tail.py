"""The live log: lines as the principal publishes them."""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import dataclass
from typing import Callable, Iterator, Optional

import zmq
from zmq.utils.monitor import recv_monitor_message

from ._connection import SEPARATOR, CurveKeys, endpoint, prepare

#: How soon ``close`` from another thread takes effect, ms.
_SLICE_MS = 200


@dataclass(frozen=True)
class LogLine:
    """A line that a task printed; the columns of ``logstore``."""

    workflow_id: str
    workflow_name: str
    workflow_instance_id: str
    task_name: str
    task_instance_id: str
    timestamp_ms: int
    level: str
    payload: str


class LogTail:
    """An iterator over the live log. It subscribes on construction and reconnects by itself.

    Lines published while it was disconnected are only in the history.
    One thread may iterate; any may :meth:`close` it, which ends the iteration.
    """

    def __init__(
        self,
        host: str,
        port: int,
        workflow_id: Optional[str] = None,
        idle_timeout: Optional[float] = None,
        keys: Optional[CurveKeys] = None,
        connect_timeout: float = 3.0,
        is_subscribed: Optional[Callable[[str], bool]] = None,
    ) -> None:
        self._idle_timeout = idle_timeout
        self._closing = threading.Event()
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
        self._socket = socket
        prepare(socket, host, keys)
        socket.setsockopt(zmq.RCVHWM, 0)
        socket.setsockopt(zmq.SUBSCRIBE, b"" if workflow_id is None else f"{workflow_id}{SEPARATOR}".encode())
        # Subscriptions of a connection arrive in order: once the publisher knows this unique one, the other is active too.
        probe = f"~{uuid.uuid4()}"
        socket.setsockopt(zmq.SUBSCRIBE, probe.encode())
        deadline = time.monotonic() + connect_timeout
        monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        socket.connect(endpoint(host, port))
        # Lines published before that are missed, so callers that are about to trigger wait for it.
        if monitor.poll(int(connect_timeout * 1000)):
            recv_monitor_message(monitor)
        socket.disable_monitor()
        pause = 0.002
        while is_subscribed is not None and time.monotonic() < deadline and not is_subscribed(probe):
            time.sleep(pause)
            pause = min(2 * pause, 0.25)
        socket.setsockopt(zmq.UNSUBSCRIBE, probe.encode())

    def __iter__(self) -> Iterator[LogLine]:
        return self

    def __next__(self) -> LogLine:
        quiet_since = time.monotonic()
        while not self._closing.is_set():
            if not self._socket.poll(_SLICE_MS):
                if self._idle_timeout is not None and time.monotonic() - quiet_since >= self._idle_timeout:
                    break
                continue
            line = _decode(self._socket.recv(flags=zmq.DONTWAIT))
            if line is not None:
                return line
        self._socket.close()
        raise StopIteration

    def __enter__(self) -> LogTail:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
        self._socket.close()

    def close(self) -> None:
        """Ends the iteration shortly; may be called from any thread."""
        self._closing.set()


def _decode(frame: bytes) -> Optional[LogLine]:
    fields = frame.decode("utf-8", errors="replace").split(SEPARATOR, 7)
    if len(fields) != 8 or not fields[5].isdigit():
        # A newer principal may publish messages that this version does not know.
        return None
    return LogLine(
        fields[0], fields[1], fields[2], fields[3], fields[4], int(fields[5]), fields[6], fields[7]
    )
