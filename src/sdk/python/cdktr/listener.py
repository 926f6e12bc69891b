"""The base of event listeners."""

from __future__ import annotations

import re
import threading
from abc import ABC, abstractmethod
from typing import Dict, Mapping, Optional

from .principal import Principal
from .result import Result

_making = threading.Lock()


class EventListener(ABC):
    """Waits for events and runs workflows for them.

    A subclass implements :meth:`start_listening` and calls :meth:`run_workflow`. Its runs have the trigger
    ``listener:NAME``: the class's name, or its attribute ``name``. It need not call ``super().__init__()``; without a
    ``principal`` of its own it takes the one that the environment names.
    """

    name: str = ""
    principal: Principal

    def __init__(self, principal: Optional[Principal] = None) -> None:
        if principal is not None:
            self.principal = principal

    @abstractmethod
    def start_listening(self) -> None:
        """Your event detection logic; call ``self.run_workflow(workflow_id)`` whenever an event occurs."""
        raise NotImplementedError("Subclasses must implement start_listening()")

    def run_workflow(
        self,
        workflow_id: str,
        params: Optional[Mapping[str, object]] = None,
        dedupe_key: Optional[str] = None,
    ) -> Result[Dict[str, str]]:
        """Triggers a workflow on the principal; safe to call from any thread.

        :param dedupe_key: your own name for the event: the same key makes one run, however often it is asked for
        """
        return self._principal().run_workflow(workflow_id, params, dedupe_key, trigger=self._trigger())

    def _principal(self) -> Principal:
        with _making:
            if getattr(self, "principal", None) is None:
                self.principal = Principal.from_environment()
            return self.principal

    def _trigger(self) -> str:
        name = re.sub(r"[\s\x00-\x1f]+", "-", self.name or type(self).__name__)
        return f"listener:{name[:200]}"
