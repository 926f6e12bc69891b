"""Requests to a principal: one frame of fields joined by 0x01 each way, over DEALER sockets."""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from dataclasses import dataclass
from typing import List, Optional, Sequence

import zmq

from . import _fork
from ._members import Address, Members, Place

SEPARATOR = "\x01"
_ERRORS = ("CLIENTERROR", "UNPROC", "SERVERERROR")
_KINDS = ("PONG", "OK", "SUCCESS", *_ERRORS)
#: How a member begins its reply that has no leader to ask, or cannot reach it.
_WITHOUT_LEADER = ("No principal leads", "This member of the installation cannot reach the leader")
#: Delay before a request that cannot be processed now is repeated, seconds.
_PAUSE = 0.25
#: How long the first connection to a member may take while there are others, seconds; doubled each time all have failed.
_CONNECT = 0.5
#: Pause after no member could be reached, seconds.
_NONE_THERE = 0.1
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


class _Socket:
    """A socket to one member. Of several, it says at once that the connection is lost or cannot be made."""

    def __init__(self, place: Place, keys: Optional[CurveKeys], several: bool) -> None:
        self.place = place
        #: When the connection was found to be lost, or could not be made.
        self.lost_at: Optional[float] = None
        self.socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        prepare(self.socket, place.host, keys)
        self.socket.setsockopt(zmq.IMMEDIATE, 1)
        self._retries: Optional[zmq.Socket[bytes]] = None
        if several:
            self._retries = self.socket.get_monitor_socket(zmq.EVENT_CONNECT_RETRIED)
        self.socket.connect(endpoint(place.host, place.port))

    @property
    def lost(self) -> bool:
        return self._retries is not None and bool(self._retries.poll(0))

    def poll(self, event: int, deadline: float) -> bool:
        """Waits until it can send or receive; gives up when the connection is lost."""
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        if self._retries is None:
            return bool(self.socket.poll(max(1, int(left * 1000)), event))
        poller = zmq.Poller()
        poller.register(self.socket, event)
        poller.register(self._retries, zmq.POLLIN)
        return self.socket in dict(poller.poll(max(1, int(left * 1000))))

    def close(self) -> None:
        if self._retries is not None:
            self.socket.disable_monitor()
            self._retries.close(0)
        self.socket.close()


class Connection:
    """A pool of sockets to an installation. Each request uses a free one, so that threads do not wait for each other.

    When the member that is used does not answer, requests go to the next.
    """

    def __init__(
        self, addresses: Sequence[Address], timeout: float, attempts: int, keys: Optional[CurveKeys]
    ) -> None:
        self.members = Members(addresses)
        self.timeout = timeout
        self.attempts = attempts
        self.keys = keys
        self._lock = threading.Lock()
        self._free: List[_Socket] = []
        self._process = os.getpid()
        self._closed = False
        self._met: Optional[Address] = None
        self._forgotten: List[_Socket] = []
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
        started = time.monotonic()
        last: Optional[Reply] = None
        # Each member may be silent once more than one principal may.
        turns = attempts + len(self.members.all) - 1
        gone = 0
        while turns > 0:
            turns -= 1
            several = self.members.several
            socket = self._take()
            healthy = False
            reply: Optional[Reply] = None
            try:
                ids: List[bytes] = []
                while True:
                    begun = time.monotonic()
                    reply = self._ask(socket, ids, fields[0], frame, timeout, timeout + wait, gone)
                    healthy = not (several and reply is None)
                    if several and reply is not None and _is_without_leader(reply):
                        # Another member may have one.
                        last, reply = reply, None
                        socket.lost_at = begun
                    if reply is not None:
                        if not (repeat_unprocessable and reply.kind == "UNPROC"):
                            return reply
                        last = reply
                        time.sleep(max(0.0, min(_PAUSE, timeout - (time.monotonic() - begun))))
                    if several or turns == 0:
                        break
                    turns -= 1
            finally:
                self._give_back(socket, healthy)
            if reply is not None or not several:
                continue
            self.members.leave(socket.place)
            if socket.lost_at is None:
                continue
            # A member that is known to be gone costs no turn, until the time is up.
            gone += 1
            if gone % len(self.members.all) == 0:
                time.sleep(_NONE_THERE)
            if time.monotonic() - started < timeout * attempts:
                turns += 1
        if last is not None:
            return last
        seconds = attempts * (timeout + wait)
        if self.members.several:
            seconds = round(time.monotonic() - started, 1)
        raise Unreachable(f"no principal answered at {self.members} within {seconds:g} s ({fields[0]})")

    def _ask(
        self,
        socket: _Socket,
        ids: List[bytes],
        verb: str,
        frame: bytes,
        timeout: float,
        patience: float,
        gone: int,
    ) -> Optional[Reply]:
        """One attempt; whoever answers is greeted first, and one of several is asked for the others."""
        place = socket.place
        several = self.members.several
        connect = _CONNECT * 2 ** min(10, gone // len(self.members.all)) if several else timeout
        if self._met != place.address and (several or verb not in _ORIGINAL_VERBS):
            greeting = self._attempt(socket, [], b"PING", timeout, connect)
            if greeting is None or _is_without_leader(greeting):
                return greeting
            self._met = place.address
            if several:
                self._learn(socket, timeout)
        reply = self._attempt(socket, ids, frame, patience, patience)
        if reply is not None:
            self._met = place.address
        return reply

    def _learn(self, socket: _Socket, timeout: float) -> None:
        reply = self._attempt(socket, [], f"PRINCIPALINFO{SEPARATOR}{{}}".encode(), timeout, timeout)
        if reply is not None and not reply.failed:
            self.members.learn(socket.place, json.loads(reply.payload))

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
        self, socket: _Socket, ids: List[bytes], frame: bytes, patience: float, connect: float
    ) -> Optional[Reply]:
        """:param connect: how long it may take until there is a connection, seconds"""
        begun = time.monotonic()
        deadline = begun + patience
        # Nothing is queued while there is no connection, so an expired request is never sent.
        if not socket.poll(zmq.POLLOUT, min(deadline, begun + connect)):
            socket.lost_at = time.monotonic()
            return None
        request_id = uuid.uuid4().hex.encode()
        ids.append(request_id)
        socket.socket.send_multipart([request_id, b"", frame], flags=zmq.DONTWAIT)
        while socket.poll(zmq.POLLIN, deadline):
            parts = socket.socket.recv_multipart(flags=zmq.DONTWAIT)
            # A late reply to an earlier attempt is accepted; a reply to an earlier request is not.
            if len(parts) == 3 and parts[0] in ids:
                return _decode(parts[2])
        if socket.lost:
            socket.lost_at = time.monotonic()
        return None

    def _take(self) -> _Socket:
        with self._lock:
            if self._closed:
                raise Unreachable("this client was closed")
            if self._process != os.getpid():
                # After a fork the sockets belong to the parent: they are neither used nor closed here.
                self._forgotten = self._free
                self._free = []
                self._process = os.getpid()
            place = self.members.current
            while self._free:
                socket = self._free.pop()
                if socket.place.address == place.address and not socket.lost:
                    socket.lost_at = None
                    return socket
                # Another thread has found that this member does not answer.
                socket.close()
        return _Socket(place, self.keys, self.members.several)

    def _give_back(self, socket: _Socket, healthy: bool) -> None:
        with self._lock:
            if healthy and not self._closed:
                self._free.append(socket)
                return
        socket.close()


def _is_without_leader(reply: Reply) -> bool:
    """Whether a member says that it has no leader to ask, or cannot reach it."""
    return reply.kind == "UNPROC" and reply.payload.startswith(_WITHOUT_LEADER)


def _decode(frame: bytes) -> Reply:
    kind, _, payload = frame.decode("utf-8", errors="replace").partition(SEPARATOR)
    if kind not in _KINDS:
        return Reply("SERVERERROR", f'the peer answered "{kind[:40]}": it is not a principal')
    return Reply(kind, payload)
