"""Requests to a principal: one frame of fields joined by 0x01 each way, over DEALER sockets."""

from __future__ import annotations

import os
import threading
import time
import uuid
from dataclasses import dataclass
from typing import List, Optional, Sequence

import zmq

from . import _fork

SEPARATOR = "\x01"
_ERRORS = ("CLIENTERROR", "UNPROC", "SERVERERROR")
_KINDS = ("PONG", "OK", "SUCCESS", *_ERRORS)
#: Delay before a request that cannot be processed now is repeated, seconds.
_PAUSE = 0.25
# What a principal of the original implementation knows. Nothing else is sent before somebody has answered a PING.
_ORIGINAL_VERBS = (
    "PING",
    "LSWORKFLOWS",
    "RUNTASK",
    "QUERYLOGS",
    "GETRECENTSTATUSES",
    "GETREGISTEREDAGENTS",
)


@dataclass(frozen=True)
class CurveKeys:
    """The principal's public key and the key pair of this client, each as 40 characters of Z85 text."""

    server_key: str
    public_key: str
    secret_key: str

    def apply(self, socket: zmq.Socket[bytes]) -> None:
        socket.curve_serverkey = self.server_key.encode("ascii")
        socket.curve_publickey = self.public_key.encode("ascii")
        socket.curve_secretkey = self.secret_key.encode("ascii")


@dataclass(frozen=True)
class Reply:
    """A parsed reply."""

    kind: str
    payload: str

    @property
    def failed(self) -> bool:
        return self.kind in _ERRORS


class Unprocessable(Exception):
    """The principal cannot process the request now."""


class Unreachable(Exception):
    """No attempt was answered."""


def endpoint(host: str, port: int) -> str:
    """The ZeroMQ address of a host and a port."""
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def prepare(socket: zmq.Socket[bytes], host: str, keys: Optional[CurveKeys]) -> None:
    """
    Sets the options of every socket of this package: fast reconnects, and a dead peer is noticed within 15 s. The kernel
    does that: ZMTP's own heartbeats make a principal of the original implementation crash.
    """
    socket.linger = 0
    socket.setsockopt(zmq.RECONNECT_IVL, 100)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 5)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 5)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 2)
    socket.setsockopt(zmq.TCP_MAXRT, 15_000)
    if ":" in host:
        socket.setsockopt(zmq.IPV6, 1)
    if keys is not None:
        keys.apply(socket)


class Connection:
    """A pool of sockets to one principal. Each request uses a free one, so that threads do not wait for each other."""

    def __init__(self, host: str, port: int, timeout: float, attempts: int, keys: Optional[CurveKeys]) -> None:
        self.host = host
        self.port = port
        self.timeout = timeout
        self.attempts = attempts
        self.keys = keys
        self._lock = threading.Lock()
        self._free: List[zmq.Socket[bytes]] = []
        self._process = os.getpid()
        self._closed = False
        self._met = False
        self._forgotten: List[zmq.Socket[bytes]] = []
        _fork.watch(self)

    def request(
        self,
        fields: Sequence[str],
        wait: float = 0.0,
        repeat_unprocessable: bool = False,
        attempts: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> Reply:
        """Sends a request and waits for its reply; repeats it when there is none.

        :param wait: how long the principal may hold the request, seconds, in addition to the timeout
        :param repeat_unprocessable: also repeats requests that the principal cannot process now; only for requests with an idempotency key
        :raises Unreachable: when no attempt was answered
        """
        frame = SEPARATOR.join(fields).encode()
        attempts = attempts or self.attempts
        timeout = timeout or self.timeout
        socket = self._take()
        healthy = False
        try:
            ids: List[bytes] = []
            last: Optional[Reply] = None
            for _ in range(attempts):
                started = time.monotonic()
                if not self._met and fields[0] not in _ORIGINAL_VERBS:
                    self._met = self._attempt(socket, [], b"PING", timeout) is not None
                    if not self._met:
                        healthy = True
                        continue
                reply = self._attempt(socket, ids, frame, timeout + wait)
                healthy = True
                if reply is None:
                    continue
                self._met = True
                if not (repeat_unprocessable and reply.kind == "UNPROC"):
                    return reply
                last = reply
                time.sleep(max(0.0, min(_PAUSE, timeout - (time.monotonic() - started))))
            if last is not None:
                return last
            seconds = attempts * (timeout + wait)
            raise Unreachable(
                f"no principal answered at {self.host}:{self.port} within {seconds:g} s ({fields[0]})"
            )
        finally:
            self._give_back(socket, healthy)

    def close(self) -> None:
        """Closes idle sockets; those in use are closed when their request ends."""
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        for socket in free:
            socket.close()

    def before_fork(self) -> None:
        """No thread changes the pool while the process forks."""
        self._lock.acquire()

    def after_fork(self) -> None:
        """The pool may be used again."""
        self._lock.release()

    def _attempt(
        self, socket: zmq.Socket[bytes], ids: List[bytes], frame: bytes, patience: float
    ) -> Optional[Reply]:
        deadline = time.monotonic() + patience
        # Nothing is queued while there is no connection, so an expired request is never sent.
        if not _poll(socket, zmq.POLLOUT, deadline):
            return None
        request_id = uuid.uuid4().hex.encode()
        ids.append(request_id)
        socket.send_multipart([request_id, b"", frame], flags=zmq.DONTWAIT)
        while _poll(socket, zmq.POLLIN, deadline):
            parts = socket.recv_multipart(flags=zmq.DONTWAIT)
            # A late reply to an earlier attempt is accepted; a reply to an earlier request is not.
            if len(parts) == 3 and parts[0] in ids:
                return _decode(parts[2])
        return None

    def _take(self) -> zmq.Socket[bytes]:
        with self._lock:
            if self._closed:
                raise Unreachable("this client was closed")
            if self._process != os.getpid():
                # After a fork the sockets belong to the parent: they are neither used nor closed here.
                self._forgotten = self._free
                self._free = []
                self._process = os.getpid()
            if self._free:
                return self._free.pop()
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        prepare(socket, self.host, self.keys)
        socket.setsockopt(zmq.IMMEDIATE, 1)
        socket.connect(endpoint(self.host, self.port))
        return socket

    def _give_back(self, socket: zmq.Socket[bytes], healthy: bool) -> None:
        with self._lock:
            if healthy and not self._closed:
                self._free.append(socket)
                return
        socket.close()


def _poll(socket: zmq.Socket[bytes], event: int, deadline: float) -> bool:
    left = deadline - time.monotonic()
    return left > 0 and bool(socket.poll(max(1, int(left * 1000)), event))


def _decode(frame: bytes) -> Reply:
    kind, _, payload = frame.decode("utf-8", errors="replace").partition(SEPARATOR)
    if kind not in _KINDS:
        return Reply("SERVERERROR", f'the peer answered "{kind[:40]}": it is not a principal')
    return Reply(kind, payload)
