"""Delivers triggers to the principal even across its absences: through a buffer on disk, in order, each with its dedupe key."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from typing import Any, Dict, List, Optional, Set, Tuple

from ._buffer import Trigger, TriggerBuffer, Waiting
from ._connection import Unprocessable
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
#: Maximum number of workflows whose triggers wait that are left out when triggers are read.
_MOST_LEFT_OUT = 500
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
        # Workflows whose triggers the principal answers, but does not accept now: pause, when they are due again, and why they wait.
        self._deferred: Dict[str, Tuple[float, float, str]] = {}
        # Triggers that are settled, but could not be removed from disk.
        self._lingering: Set[int] = set()
        self._told_buffer = False
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
            if self._away_since is not None or trigger.workflow_id in self._deferred:
                return buffered()
            is_settled = seq in self._lingering
            if not is_settled:
                self._tickets.setdefault(seq, []).append(ticket)
        if is_settled:
            self._settle_again(ticket)
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
                self._remove_lingering()
            except Exception as error:
                self._tell_buffer(error)
            try:
                batch = self._next_batch()
                self._tell_buffer_works()
            except Exception as error:
                self._tell_buffer(error)
                self._release()
                time.sleep(_LAST_RETRY)
                continue
            try:
                self._ask_again(batch[0].seq if batch else None)
                if not batch:
                    self._wait_for_work()
                waits: Set[str] = set()
                for waiting in batch:
                    workflow_id = waiting.trigger.workflow_id
                    if workflow_id not in waits and not self._deliver_one(waiting):
                        waits.add(workflow_id)
                retry = _FIRST_RETRY
            except Exception as error:
                self._tell_away(error)
                time.sleep(retry)
                retry = min(retry * 2, _LAST_RETRY)

    def _next_batch(self) -> List[Waiting]:
        """The oldest triggers that can be delivered now."""
        batch: List[Waiting] = []
        without = self._left_out()
        after = 0
        while len(batch) < _BATCH:
            page = self._buffer.first(_BATCH, after, without)
            batch += [waiting for waiting in page if waiting.seq not in self._lingering]
            if len(page) < _BATCH:
                break
            after = page[-1].seq
        return batch

    def _left_out(self) -> List[str]:
        """Workflows whose triggers are not due."""
        now = time.monotonic()
        return [name for name, (_, due, _) in self._deferred.items() if due > now][:_MOST_LEFT_OUT]

    def _wait_for_work(self) -> None:
        if time.monotonic() - self._reported >= _REPORT:
            self.report(timeout=_REPORT_TIMEOUT)
        with self._changed:
            # Something may have been written since the disk was read.
            if self._tickets:
                return
            self._size = max(0, self._buffer.size() - len(self._lingering))
            self._changed.notify_all()
            now = time.monotonic()
            dues = [max(0.01, due - now) for _, due, _ in self._deferred.values()]
            if self._lingering:
                dues.append(_LAST_RETRY)
            if self._size == 0 or dues:
                self._changed.wait(min([_REPORT, *dues]))

    def _deliver_one(self, waiting: Waiting) -> bool:
        """
        :returns: whether it is settled; otherwise the principal does not accept triggers of its workflow now
        :raises Exception: when nothing can be delivered now
        """
        trigger = waiting.trigger
        try:
            # A single attempt: noticing quickly that the principal is away matters more than another try.
            result = self._principal._try(trigger)
        except Unprocessable as error:
            self._tell_back()
            self._defer(trigger.workflow_id, str(error))
            return False
        if result.success:
            self._delivered += 1
        else:
            self._failed += 1
            with self._changed:
                is_awaited = waiting.seq in self._tickets
            if not is_awaited:
                log.error("The trigger of %s (%s) was dropped: %s", trigger.workflow_id, trigger.dedupe_key, result.error)
        self._tell_back()
        with self._changed:
            accepted = self._deferred.pop(trigger.workflow_id, None)
            self._lingering.add(waiting.seq)
        if accepted is not None:
            log.info("The principal accepts triggers of workflow %s again", trigger.workflow_id)
        try:
            self._remove_lingering()
        except Exception as error:
            # It is settled all the same, and not delivered again by this process.
            self._tell_buffer(error)
        with self._changed:
            for ticket in self._tickets.pop(waiting.seq, []):
                ticket.settle(result)
            self._size = max(0, self._size - 1)
            self._changed.notify_all()
        if time.monotonic() - self._reported >= _REPORT:
            self.report(timeout=_REPORT_TIMEOUT)
        return True

    def _defer(self, workflow_id: str, reason: str) -> None:
        """Triggers of other workflows do not wait for those of this one."""
        with self._changed:
            is_told = any(other == reason for _, _, other in self._deferred.values())
            pause, _, _ = self._deferred.get(workflow_id, (_FIRST_RETRY, 0.0, ""))
            self._deferred[workflow_id] = (min(pause * 2, _LAST_RETRY), time.monotonic() + pause, reason)
        self._release(workflow_id)
        if not is_told:
            log.warning(
                "Triggers of workflow %s are buffered on disk because the principal does not accept them now: %s",
                workflow_id,
                reason,
            )

    def _remove_lingering(self) -> None:
        """:raises Exception: when the buffer cannot be changed"""
        for seq in list(self._lingering):
            self._buffer.remove(seq)
            with self._changed:
                self._lingering.discard(seq)

    def _ask_again(self, first: Optional[int]) -> None:
        """Triggers before the first are gone: another process of this listener delivered them. Asks the principal for their runs."""
        with self._changed:
            gone = [seq for seq in self._tickets if first is None or seq < first]
            tickets = [ticket for seq in gone for ticket in self._tickets.pop(seq)]
        for ticket in tickets:
            self._settle_again(ticket)

    def _settle_again(self, ticket: _Ticket) -> None:
        """Asks the principal for the run of a trigger that was delivered."""
        try:
            ticket.settle(self._principal._try(ticket.trigger))
        except Exception:
            ticket.settle(buffered())

    def _tell_away(self, error: Exception) -> None:
        with self._changed:
            is_told = self._away_since is not None
            if not is_told:
                self._away_since = time.time()
        if not is_told:
            log.warning("Triggers are buffered on disk because the principal does not accept them: %s", error)
        self._release()

    def _tell_back(self) -> None:
        with self._changed:
            if self._away_since is None:
                return
            self._away_since = None
        log.info("The principal is back")

    def _tell_buffer(self, error: Exception) -> None:
        if not self._told_buffer:
            log.error(
                "The buffer of triggers on this host's disk does not work: %s. Triggers that were delivered may stay in it, "
                "which starts no second run. Free space, or repair the disk of CDKTR_APP_DATA_DIRECTORY.",
                error,
            )
        self._told_buffer = True

    def _tell_buffer_works(self) -> None:
        if self._told_buffer and not self._lingering:
            self._told_buffer = False
            log.info("The buffer of triggers on this host's disk works again")

    def _release(self, workflow_id: Optional[str] = None) -> None:
        """The triggers, or those of a workflow, are safe on disk, so nobody has to wait for the principal."""
        with self._changed:
            seqs = [
                seq
                for seq, waiting in self._tickets.items()
                if workflow_id is None or waiting[0].trigger.workflow_id == workflow_id
            ]
            tickets = [ticket for seq in seqs for ticket in self._tickets.pop(seq)]
        for ticket in tickets:
            ticket.settle(buffered())


def buffered() -> Result[Dict[str, Any]]:
    """The outcome of a buffered trigger."""
    return Result(True, None, {"workflow_instance_id": None}, buffered=True)


def _ms(seconds: Optional[float]) -> Optional[int]:
    return None if seconds is None else int(seconds * 1000)

