"""When, how often and how much: pauses, pools, priorities, backfills, forecasts."""

from __future__ import annotations

import json
import uuid
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Union

from ._values import seconds_of, text_of
from .result import Result

#: How much longer than for other answers one is waited for that takes the principal a while, seconds.
_LONG_WAIT = 57.0

#: A day, which is all of it in the zone of the schedule, or a time with its zone; both also as text.
Bound = Union[date, str]


class Limits:
    """The part of :class:`Principal` that is about schedules and limits."""

    if TYPE_CHECKING:
        _ask: Callable[..., Result[Any]]

    def pause(
        self,
        workflow_id: str,
        reason: Optional[str] = None,
        *,
        until: Union[datetime, float, None] = None,
        lasting: Union[timedelta, float, None] = None,
    ) -> Result[Dict[str, Any]]:
        """Pauses a workflow: its schedules and events make no runs, and runs that are asked for are held.

        :param until: when it goes on by itself, as a time or as seconds since the epoch; never by default
        :param lasting: the same as a time from now, seconds if it is a number
        :returns: payload: the pause, and how many runs are held and go on
        """
        question: Dict[str, Any] = {"workflow_id": workflow_id}
        if reason is not None:
            question["reason"] = reason
        if until is not None:
            question["until_ms"] = round(seconds_of(until) * 1000)
        if lasting is not None:
            question["for_ms"] = round(seconds_of(lasting) * 1000)
        return self._ask(["PAUSEWORKFLOW", json.dumps(question)], json.loads, wait=_LONG_WAIT)

    def resume(self, workflow_id: str) -> Result[Dict[str, Any]]:
        """Lets a workflow go on; what it has missed follows its ``catchup``."""
        question = json.dumps({"workflow_id": workflow_id})
        return self._ask(["RESUMEWORKFLOW", question], json.loads, wait=_LONG_WAIT)

    def pools(self) -> Result[List[Dict[str, Any]]]:
        """The pools: their sizes, how many slots are taken and by whom, and how much waits for them."""
        return self._ask(["LSPOOLS", "{}"], json.loads)

    def set_pool(self, name: str, size: Optional[int]) -> Result[Dict[str, Any]]:
        """Sets the size of a pool.

        :param size: ``None`` for what ``_cdktr.yml`` says
        """
        return self._ask(["SETPOOL", json.dumps({"name": name, "size": size})], json.loads)

    def queue(self, limit: int = 100) -> Result[Dict[str, Any]]:
        """What waits for agents, in order, and the runs that are held, each with the reason."""
        return self._ask(["LSQUEUE", json.dumps({"limit": limit})], json.loads)

    def set_priority(self, workflow_instance_id: str, priority: int) -> Result[Dict[str, Any]]:
        """Gives a run that is not over another priority, from 0 to 9, which goes first."""
        question = {"workflow_instance_id": workflow_instance_id, "priority": priority}
        return self._ask(["SETPRIORITY", json.dumps(question)], json.loads)

    def plan_backfill(
        self,
        workflow_id: str,
        start: Bound,
        end: Optional[Bound] = None,
        *,
        reverse: bool = False,
        reprocess: str = "none",
        params: Optional[Mapping[str, object]] = None,
    ) -> Result[List[Dict[str, Any]]]:
        """What :meth:`backfill` would do now: each firing, with ``present`` if it has had a run already."""
        question = _scope(workflow_id, start, end, reverse, reprocess, params)
        firings: List[Dict[str, Any]] = []
        while True:
            page = self._ask(["PLANBACKFILL", json.dumps(question)], json.loads)
            if not page.success or page.payload is None:
                return Result(False, page.error)
            firings += page.payload["firings"]
            question["after"] = page.payload["next"]
            if question["after"] is None:
                return Result(True, None, firings)

    def backfill(
        self,
        workflow_id: str,
        start: Bound,
        end: Optional[Bound] = None,
        *,
        max_active: Optional[int] = None,
        reverse: bool = False,
        reprocess: str = "none",
        params: Optional[Mapping[str, object]] = None,
        priority: Optional[int] = None,
        dedupe_key: Optional[str] = None,
    ) -> Result[Dict[str, Any]]:
        """Runs the firings of a workflow's schedules in a stretch of time.

        :param start: a day, which is all of it in the zone of the schedule, or a time; inclusive, as is ``end``
        :param end: now by default
        :param max_active: how many of its runs are under way at once, 3 by default
        :param reprocess: firings that have had a run already: ``none`` of them, those that ``failed``, or ``all``
        :returns: payload: the backfill
        """
        question = _scope(workflow_id, start, end, reverse, reprocess, params)
        question["dedupe_key"] = dedupe_key or str(uuid.uuid4())
        if max_active is not None:
            question["max_active"] = max_active
        if priority is not None:
            question["priority"] = priority
        return self._backfill(["CREATEBACKFILL", json.dumps(question)])

    def backfills(self, workflow_id: Optional[str] = None, only_open: bool = False) -> Result[List[Dict[str, Any]]]:
        """Backfills, newest first, with their progress.

        :param only_open: only those that are not over
        """
        question: Dict[str, Any] = {"open": only_open}
        if workflow_id is not None:
            question["workflow_id"] = workflow_id
        return self._ask(["LSBACKFILLS", json.dumps(question)], json.loads)

    def get_backfill(self, backfill_id: str) -> Result[Dict[str, Any]]:
        """A backfill with its progress."""
        return self._backfill(["GETBACKFILL", json.dumps({"backfill_id": backfill_id, "limit": 0})])

    def pause_backfill(self, backfill_id: str) -> Result[Dict[str, Any]]:
        """It makes no more runs for now; those that it has made go on."""
        return self._change(backfill_id, "PAUSED")

    def resume_backfill(self, backfill_id: str) -> Result[Dict[str, Any]]:
        """Lets a backfill go on."""
        return self._change(backfill_id, "ACTIVE")

    def cancel_backfill(self, backfill_id: str) -> Result[Dict[str, Any]]:
        """Ends a backfill, and cancels its runs that are not over."""
        return self._change(backfill_id, "CANCELLED")

    def forecast(
        self,
        start: Union[datetime, float, None] = None,
        end: Union[datetime, float, None] = None,
        workflow_ids: Optional[List[str]] = None,
        limit: Optional[int] = None,
    ) -> Result[Dict[str, Any]]:
        """What the schedules will do: firings with expected times, what they wait for, and the load.

        :param start: now by default
        :param end: 24 hours later by default
        :param workflow_ids: only firings of these
        :param limit: at most this many firings
        """
        question: Dict[str, Any] = {}
        if start is not None:
            question["from_ms"] = round(seconds_of(start) * 1000)
        if end is not None:
            question["to_ms"] = round(seconds_of(end) * 1000)
        if workflow_ids is not None:
            question["workflow_ids"] = workflow_ids
        if limit is not None:
            question["limit"] = limit
        # Many firings take the principal a while.
        return self._ask(["FORECAST", json.dumps(question)], json.loads, wait=_LONG_WAIT)

    def _change(self, backfill_id: str, to: str) -> Result[Dict[str, Any]]:
        return self._backfill(["CHANGEBACKFILL", json.dumps({"backfill_id": backfill_id, "to": to})])

    def _backfill(self, fields: List[str]) -> Result[Dict[str, Any]]:
        return self._ask(fields, lambda reply: json.loads(reply)["backfill"])


def _scope(
    workflow_id: str,
    start: Bound,
    end: Optional[Bound],
    reverse: bool,
    reprocess: str,
    params: Optional[Mapping[str, object]],
) -> Dict[str, Any]:
    scope: Dict[str, Any] = {
        "workflow_id": workflow_id,
        "from": _bound(start),
        "reverse": reverse,
        "reprocess": reprocess,
        "params": {name: text_of(value) for name, value in (params or {}).items()},
    }
    if end is not None:
        scope["to"] = _bound(end)
    return scope


def _bound(value: Bound) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, datetime):
        return value.isoformat()
    # A time without a zone is one of this host.
    return (value if value.tzinfo else value.astimezone()).isoformat(timespec="milliseconds")
