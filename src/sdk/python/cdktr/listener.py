"""The base of event listeners."""

from __future__ import annotations

import functools
import logging
import os
import re
import sqlite3
from abc import ABC, abstractmethod
from typing import Any, Callable, Dict, Mapping, Optional

from ._buffer import TriggerBuffer, buffer_directory
from ._delivery import Delivery
from ._fork import making
from .principal import Principal, trigger_of
from .result import Result

log = logging.getLogger("cdktr")


class EventListener(ABC):
    """Waits for events and runs workflows for them.

    A subclass implements :meth:`start_listening` and calls :meth:`run_workflow`. Its runs have the trigger
    ``listener:NAME``, where NAME is the attribute ``name`` or the class name. It need not call ``super().__init__()``; without a
    ``principal`` it uses the one that the environment names.

    While the principal is away, triggers are buffered on this host's disk, below ``CDKTR_APP_DATA_DIRECTORY`` (``~/.cdktr``),
    in order and across restarts of the listener, which delivers them when it starts listening or triggers the next time.
    """

    name: str = ""
    principal: Principal
    #: False if the event source keeps unacknowledged events itself: triggers then fail while the principal is away.
    buffered: bool = True
    _delivery: Optional[Delivery] = None

    def __init__(self, principal: Optional[Principal] = None) -> None:
        if principal is not None:
            self.principal = principal

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "start_listening" in cls.__dict__:
            setattr(cls, "start_listening", _with_delivery(cls.__dict__["start_listening"]))

    @abstractmethod
    def start_listening(self) -> None:
        """Your event detection logic; call ``self.run_workflow(workflow_id)`` whenever an event occurs."""
        raise NotImplementedError("Subclasses must implement start_listening()")

    def run_workflow(
        self,
        workflow_id: str,
        params: Optional[Mapping[str, object]] = None,
        dedupe_key: Optional[str] = None,
    ) -> Result[Dict[str, Any]]:
        """Triggers a workflow; safe to call from any thread.

        Successful when the trigger is safe: as a run on the principal's disk or, while the principal is away, on this
        host's disk (``result.buffered``; the payload then has no run). Blocks while 100,000 are buffered.

        :param dedupe_key: idempotency key of the event: the same key starts one run, however often it is sent
        """
        trigger = trigger_of(workflow_id, params, dedupe_key, self._trigger())
        delivery = self._deliver()
        if delivery is None:
            return self._principal()._run(trigger)
        return delivery.deliver(trigger)

    def _deliver(self) -> Optional[Delivery]:
        """Starts the delivery unless it is running; starts it again after a fork, which does not copy threads."""
        if not self.buffered:
            return None
        with making:
            if self._delivery is None or self._delivery.process != os.getpid():
                name = self._name()
                try:
                    self._delivery = Delivery(name, self._principal(), TriggerBuffer(buffer_directory(name)))
                except (OSError, sqlite3.Error) as error:
                    log.warning("Triggers cannot be buffered on disk while the principal is away: %s", error)
                    self.buffered = False
            return self._delivery

    def _principal(self) -> Principal:
        with making:
            if getattr(self, "principal", None) is None:
                self.principal = Principal.from_environment()
            return self.principal

    def _name(self) -> str:
        return self.name or type(self).__name__

    def _trigger(self) -> str:
        name = re.sub(r"[\s\x00-\x1f]+", "-", self._name())
        return f"listener:{name[:200]}"


def _with_delivery(listen: Callable[..., Any]) -> Callable[..., Any]:
    """Delivers triggers left from before, and at the end waits until everything is delivered."""

    @functools.wraps(listen)
    def start_listening(self: EventListener, *args: Any, **options: Any) -> Any:
        self._deliver()
        result = listen(self, *args, **options)
        delivery = self._delivery
        # After a fork it is the parent's, whose thread was not copied.
        if delivery is not None and delivery.process == os.getpid():
            delivery.drain()
            delivery.report("stopped", timeout=0.5)
        return result

    return start_listening
