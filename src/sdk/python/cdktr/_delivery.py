"""Delivers triggers to the principal even across its absences: through a buffer on disk, in order, each with its dedupe key."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from typing import Any, Dict, List, Optional

from ._buffer import Trigger, TriggerBuffer, Waiting
from .principal import Principal
from .result import Result

log = logging.getLogger("cdktr")

#: Maximum number of buffered triggers; beyond it callers block.
LIMIT = 100_000
#: Number of triggers read from disk at once.
_BATCH = 100
#: Exponential back-off between attempts to reach the principal, seconds.
_FIRST_RETRY = 0.1
_LAST_RETRY = 2.0
#: Interval between reports of the listener's state, seconds.
_REPORT = 5.0
#: Timeout of a report, seconds: triggers wait behind it.
_REPORT_TIMEOUT = 0.5


class _Ticket:
    """A caller that waits for the outcome of a trigger."""

    def __init__(self, trigger: Trigger) -> None:
        self.trigger = trigger
        self._settled = threading.Event()
        self._result: Result[Dict[str, Any]] = buffered()

    def settle(self, result: Result[Dict[str, Any]]) -> None:
        self._result = result
        self._settled.set()

    def wait(self) -> Result[Dict[str, Any]]:
        self._settled.wait()
        return self._result


class Delivery:
    """Delivers the triggers of a buffer in a background thread, starting with those that an earlier process left there."""

    def __init__(self, name: str, principal: Principal, buffer: TriggerBuffer) -> None:
        self.process = os.getpid()
        self._name = name
        self._principal = principal
        self._buffer = buffer
        self._changed = threading.Condition()
        self._tickets: Dict[int, List[_Ticket]] = {}
        self._size = buffer.size()
        self._away_since: Optional[float] = None
        self._fired = self._delivered = self._failed = 0
        self._last_trigger: Optional[float] = None
        self._source = str(uuid.uuid4())
        self._reported = 0.0
        self._thread = threading.Thread(target=self._deliver_all, name=f"cdktr {name}", daemon=True)
        if self._size > 0:
            log.info("%d buffered triggers from before wait for the principal", self._size)
        self._thread.start()

    def deliver(self, trigger: Trigger) -> Result[Dict[str, Any]]:
        """Stores the trigger and waits until it is a run, or until the principal turns out to be away."""
        with self._changed:
            while self._size >= LIMIT:
                self._changed.wait()
            self._fired += 1
            self._last_trigger = time.time()
            self._size += 1
        ticket = _Ticket(trigger)
        try:
            # Without the lock, so that others can write and the thread can deliver in the meantime.
            seq = self._buffer.add(trigger)
        except Exception as error:
            log.error("A trigger cannot be written to disk: %s", error)
            return self._deliver_unwritten(trigger)
        with self._changed:
            self._changed.notify_all()
            if self._away_since is not None:
                return buffered()
            self._tickets.setdefault(seq, []).append(ticket)
        return ticket.wait()

    def drain(self) -> None:
        """Waits until the buffer is empty."""
        with self._changed:
            while self._size > 0:
                self._changed.wait()

    def report(self, state: str = "running", timeout: Optional[float] = None) -> None:
        """Reports the listener's state to the principal, if it can be reached."""
        self._reported = time.monotonic()
        status = {
            "name": self._name[:256],
            "state": state,
            "error": None,
            "restarts": 0,
            "fired": self._fired,
            "delivered": self._delivered,
            "failed": self._failed,
            "dropped": 0,
            "buffered": self._size,
            "buffer_bytes": self._buffer.bytes(),
            "last_trigger_ms": _ms(self._last_trigger),
            "principal_away_since_ms": _ms(self._away_since),
        }
        report = {
            "source_id": self._source,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "listeners": [status],
        }
        self._principal._report(report, timeout)

    def _deliver_unwritten(self, trigger: Trigger) -> Result[Dict[str, Any]]:
        """The disk has failed: the trigger is only safe if the principal accepts it at once."""
        with self._changed:
            self._size -= 1
        result = self._principal._run(trigger)
        if result.success:
            self._delivered += 1
        else:
            self._failed += 1
        return result

    def _deliver_all(self) -> None:
        retry = _FIRST_RETRY
        while True:
            try:
                batch = self._buffer.first(_BATCH)
                self._ask_again(batch[0].seq if batch else None)
                if not batch:
                    self._wait_for_work()
                for waiting in batch:
                    self._deliver_one(waiting)
                retry = _FIRST_RETRY
            except Exception as error:
                # Also when the disk fails: a trigger that was delivered but could not be removed is delivered again under the same key.
                self._tell_away(error)
                time.sleep(retry)
                retry = min(retry * 2, _LAST_RETRY)

    def _wait_for_work(self) -> None:
        if time.monotonic() - self._reported >= _REPORT:
            self.report(timeout=_REPORT_TIMEOUT)
        with self._changed:
            # Something may have been written since the disk was read.
            if self._tickets:
                return
            self._size = self._buffer.size()
            self._changed.notify_all()
            if self._size == 0:
                self._changed.wait(_REPORT)

    def _deliver_one(self, waiting: Waiting) -> None:
        """:raises Exception: when it cannot be delivered now"""
        trigger = waiting.trigger
        # A single attempt: noticing quickly that the principal is away matters more than another try.
        result = self._principal._try(trigger)
        if result.success:
            self._delivered += 1
        else:
            self._failed += 1
            with self._changed:
                is_awaited = waiting.seq in self._tickets
            if not is_awaited:
                log.error("The trigger of %s (%s) was dropped: %s", trigger.workflow_id, trigger.dedupe_key, result.error)
        self._buffer.remove(waiting.seq)
        with self._changed:
            if self._away_since is not None:
                log.info("The principal is back")
                self._away_since = None
            for ticket in self._tickets.pop(waiting.seq, []):
                ticket.settle(result)
            self._size = max(0, self._size - 1)
            self._changed.notify_all()
        if time.monotonic() - self._reported >= _REPORT:
            self.report(timeout=_REPORT_TIMEOUT)

    def _ask_again(self, first: Optional[int]) -> None:
        """Triggers before the first are gone: another process of this listener delivered them. Asks the principal for their runs."""
        with self._changed:
            gone = [seq for seq in self._tickets if first is None or seq < first]
            tickets = [ticket for seq in gone for ticket in self._tickets.pop(seq)]
        for ticket in tickets:
            try:
                ticket.settle(self._principal._try(ticket.trigger))
            except Exception:
                ticket.settle(buffered())

    def _tell_away(self, error: Exception) -> None:
        with self._changed:
            if self._away_since is None:
                self._away_since = time.time()
                log.warning("Triggers are buffered on disk because the principal does not accept them: %s", error)
            # They are safe on disk, so nobody has to wait for the principal.
            tickets = [ticket for waiting in self._tickets.values() for ticket in waiting]
            self._tickets.clear()
        for ticket in tickets:
            ticket.settle(buffered())


def buffered() -> Result[Dict[str, Any]]:
    """The outcome of a buffered trigger."""
    return Result(True, None, {"workflow_instance_id": None}, buffered=True)


def _ms(seconds: Optional[float]) -> Optional[int]:
    return None if seconds is None else int(seconds * 1000)

