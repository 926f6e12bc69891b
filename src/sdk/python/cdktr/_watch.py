"""What is wrong, and who did what: alerts, alert files, the audit log."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Union

from ._values import seconds_of
from .result import Result


class Watch:
    """The part of :class:`Principal` that is about alerts and the audit log."""

    if TYPE_CHECKING:
        _ask: Callable[..., Result[Any]]

    def alerts(
        self,
        which: str = "open",
        *,
        kind: Optional[str] = None,
        workflow_id: Optional[str] = None,
        limit: Optional[int] = None,
    ) -> Result[List[Dict[str, Any]]]:
        """Alerts with who is told of them, the newest first.

        :param which: ``open``, ``dead`` for those of which a message was given up, or ``all``
        :param kind: such as ``late`` or ``query``
        """
        question = _given(which=which, kind=kind, workflow_id=workflow_id, limit=limit)
        return self._ask(["LSALERTS", json.dumps(question)], json.loads)

    def alert_queries(self) -> Result[List[Dict[str, Any]]]:
        """The alert files in use, and how their queries do."""
        return self._ask(["LSALERTQUERIES", "{}"], json.loads)

    def audit(
        self,
        *,
        since: Union[datetime, float, None] = None,
        until: Union[datetime, float, None] = None,
        actor: Optional[str] = None,
        action: Optional[str] = None,
        subject: Optional[str] = None,
        limit: Optional[int] = None,
    ) -> Result[List[Dict[str, Any]]]:
        """Who did what: the newest rows that match, the oldest of them first. In texts, ``*`` stands for anything.

        :param since: a time, or seconds since the epoch
        :param action: such as ``run.*``
        """
        question = _given(
            since_ms=None if since is None else round(seconds_of(since) * 1000),
            until_ms=None if until is None else round(seconds_of(until) * 1000),
            actor=actor,
            action=action,
            subject=subject,
            limit=limit,
        )
        return self._ask(["LSAUDIT", json.dumps(question)], lambda text: json.loads(text)["rows"])


def _given(**values: Any) -> Dict[str, Any]:
    """The values that are not ``None``."""
    return {name: value for name, value in values.items() if value is not None}
