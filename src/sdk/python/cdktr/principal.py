"""The client of a principal."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
import uuid
from datetime import datetime, timedelta
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, TypeVar, Union

from ._buffer import Trigger
from ._connection import Connection, CurveKeys, Reply, Unprocessable, Unreachable
from ._members import Address, Place, addresses_in_environment, addresses_of
from ._limits import Limits
from ._values import seconds_of, text_of
from ._watch import Watch
from .log_tail import LogTail
from .result import CdktrError, Result

T = TypeVar("T")

#: Duration of one long poll of ``wait``, seconds: a dead principal is noticed within this time.
_POLL = 10.0
#: Items that are asked for at once.
_ITEMS_PER_PAGE = 1000
#: The largest piece of a file that is asked for, bytes.
_PIECE = 1024 * 1024
#: The longest name of the directory of an item, characters.
_LONGEST_NAME = 230
#: A run, by its id or as what :meth:`Principal.run_workflow` returned.
Run = Union[str, Result[Dict[str, Any]]]
_OVER = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED", "SKIPPED")


class Principal(Limits, Watch):
    """A client of a principal.

    It connects on the first request and reconnects by itself. It is thread-safe.
    Requests do not raise: each returns a :class:`Result`.

    :param principals: addresses (``"HOST:PORT"``) of the principals of an installation with several, instead of ``host`` and
        ``port``: when the one that is used does not answer, another one is
    :param timeout: how long one attempt waits for its reply, seconds
    :param attempts: how often a request is sent before giving up
    :param server_key: the principal's public CURVE key; with it, ``public_key`` and ``secret_key`` are needed too
    """

    def __init__(
        self,
        host: str = "localhost",
        port: int = 5561,
        *,
        timeout: float = 3.0,
        attempts: int = 3,
        server_key: Optional[str] = None,
        public_key: Optional[str] = None,
        secret_key: Optional[str] = None,
        logs_port: Optional[int] = None,
        principals: Sequence[str] = (),
    ) -> None:
        if timeout <= 0 or attempts < 1:
            raise ValueError("timeout must be positive and attempts at least 1")
        keys = _keys(server_key, public_key, secret_key)
        addresses: List[Address] = [(host, port)]
        if principals:
            addresses = [found for text in principals for found in addresses_of(text, host, port)]
        self._logs_port = logs_port
        self._connection = Connection(addresses, timeout, attempts, keys)

    @property
    def host(self) -> str:
        """Of the principal that is used."""
        return self._connection.members.current.host

    @property
    def port(self) -> int:
        """Of the principal that is used."""
        return self._connection.members.current.port

    @classmethod
    def from_environment(cls, **options: Any) -> Principal:
        """The principals that ``CDKTR_PRINCIPALS`` lists, or the one that ``CDKTR_PRINCIPAL_HOST`` and ``CDKTR_PRINCIPAL_PORT`` name,
        with the key of ``CDKTR_KEY_FILE``."""
        addresses = addresses_in_environment()
        key_file = os.environ.get("CDKTR_KEY_FILE")
        if key_file and not options.keys() & {"server_key", "public_key", "secret_key"}:
            options.update(_read_key_file(key_file))
        host, port = addresses[0]
        if len(addresses) > 1:
            options.setdefault("principals", [str(Place(*address)) for address in addresses])
        return cls(host, port, **options)

    def ping(self) -> Result[None]:
        """Whether the principal answers."""
        return self._ask(["PING"], lambda _: None)

    def list_workflows(self) -> Result[Dict[str, Dict[str, Any]]]:
        """All workflows by id."""
        return self._ask(["LSWORKFLOWS"], json.loads)

    def run_workflow(
        self,
        workflow_id: str,
        params: Optional[Mapping[str, object]] = None,
        dedupe_key: Optional[str] = None,
        trigger: str = "api",
        *,
        start_at: Union[datetime, float, None] = None,
        start_in: Union[timedelta, float, None] = None,
        priority: Optional[int] = None,
    ) -> Result[Dict[str, Any]]:
        """Triggers a workflow; returns when the run is on the principal's disk.

        :param params: values of the workflow's parameters; each becomes text, and JSON if it has no natural text form
        :param dedupe_key: idempotency key of the event: the same key starts one run, however often it is sent.
            Without it, a request that is repeated because there was no reply still starts only one run.
        :param start_at: when the run starts, as a time or as seconds since the epoch; it is stored now, and can be cancelled until then
        :param start_in: the same as a time from now, seconds if it is a number
        :param priority: from 0 to 9, which goes first; that of the workflow by default
        :returns: payload ``{"workflow_instance_id": …}``
        """
        return self._run(trigger_of(workflow_id, params, dedupe_key, trigger, start_at, start_in, priority))

    def get_run(
        self, run: Run, outputs: bool = False
    ) -> Result[Dict[str, Any]]:
        """A run as it is now, with its attempts and tasks.

        :param outputs: with what the tasks published, unless that has more than 8 MiB together (``outputs_left_out``)
        """
        run_id, failure = _run_id(run)
        if failure is not None:
            return Result(False, failure)
        question = {"workflow_instance_id": run_id, **({"outputs": True} if outputs else {})}
        return self._ask(["GETRUN", json.dumps(question)], json.loads)

    def wait(
        self, run: Run, timeout: Optional[float] = None
    ) -> Result[Dict[str, Any]]:
        """Waits until a run is over.

        :param run: its id, or the result of :meth:`run_workflow`
        :param timeout: seconds; without it, as long as the run takes
        :returns: success when the run COMPLETED; the payload is the run either way
        """
        run_id, failure = _run_id(run)
        if failure is not None:
            return Result(False, failure)
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = _POLL if deadline is None else max(0.0, min(_POLL, deadline - time.monotonic()))
            question = {"workflow_instance_id": run_id, "wait_ms": int(left * 1000)}
            result: Result[Dict[str, Any]] = self._ask(["WAITRUN", json.dumps(question)], json.loads, wait=left)
            if not result.success or result.payload is None:
                return result
            status = result.payload["status"]
            if status == "COMPLETED":
                return result
            if status in _OVER:
                reason = result.payload.get("error")
                return Result(False, f"the run is {status}" + (f": {reason}" if reason else ""), result.payload)
            if deadline is not None and time.monotonic() >= deadline:
                return Result(False, f"the run is still {status} after {timeout:g} s", result.payload)

    def outputs(self, run: Run) -> Result[Dict[str, Dict[str, Any]]]:
        """What a run has published so far.

        :returns: payload ``{"run": {…}, "tasks": {"extract": {…}}}``: the outputs of the workflow, once it has COMPLETED, and those of
            tasks. An error if they are too many for one reply, or only the history has them.
        """
        found = self.get_run(run, outputs=True)
        if not found.success or found.payload is None:
            return Result(False, found.error)
        if found.payload.get("outputs_left_out"):
            return Result(False, "the outputs have more than 8 MiB together, or only the history has them")
        tasks = {task["task_id"]: task["outputs"] for task in found.payload["tasks"] if task.get("outputs") is not None}
        return Result(True, None, {"run": found.payload.get("outputs") or {}, "tasks": tasks})

    def items(
        self, run: Run, task_id: str, status: Optional[str] = None, outputs: bool = False
    ) -> Iterator[Dict[str, Any]]:
        """The items of a fan-out in order, read page by page.

        :param status: only items with this status
        :param outputs: with what the items published
        :raises CdktrError: when they cannot be read
        """
        run_id, failure = _run_id(run)
        if failure is not None:
            raise CdktrError(failure)
        question: Dict[str, Any] = {"workflow_instance_id": run_id, "task_id": task_id, "limit": _ITEMS_PER_PAGE}
        if status is not None:
            question["status"] = status
        if outputs:
            question["outputs"] = True
        while True:
            page: List[Dict[str, Any]] = self._ask(["LSITEMS", json.dumps(question)], json.loads).unwrap()
            if not page:
                return
            yield from page
            question["after_index"] = page[-1]["item_index"]

    def cancel(self, run: Run) -> Result[Dict[str, Any]]:
        """Cancels a run, also one that has not begun; the payload is the run."""
        run_id, failure = _run_id(run)
        if failure is not None:
            return Result(False, failure)
        return self._ask(["CANCELRUN", json.dumps({"workflow_instance_id": run_id})], json.loads)

    def retry(
        self,
        run: Run,
        from_start: bool = False,
        dedupe_key: Optional[str] = None,
        *,
        tasks: Optional[List[str]] = None,
        current_definition: bool = False,
        params: Optional[Mapping[str, object]] = None,
    ) -> Result[Dict[str, Any]]:
        """Starts a new run from the failed tasks of one that is over, from chosen ones, or from its beginning.

        :param tasks: instead of the failed tasks: these tasks and items, ``load`` or ``load[KEY]``, and what depends on them
        :param current_definition: with the workflow as it is now, instead of as it was
        :param params: other parameters
        :returns: payload ``{"workflow_instance_id": …}``, and ``notes`` if there is something to know
        """
        run_id, failure = _run_id(run)
        if failure is not None:
            return Result(False, failure)
        question: Dict[str, Any] = {
            "workflow_instance_id": run_id,
            "from_start": from_start,
            "dedupe_key": dedupe_key or str(uuid.uuid4()),
        }
        if tasks is not None:
            question["tasks"] = tasks
        if current_definition:
            question["current_definition"] = True
        if params:
            question["params"] = {name: text_of(value) for name, value in params.items()}
        return self._ask(["RETRYRUN", json.dumps(question)], json.loads)

    def approvals(
        self, run: Optional[Run] = None, workflow_id: Optional[str] = None
    ) -> Result[List[Dict[str, Any]]]:
        """The tasks that wait for a person, oldest first: of a run, of a workflow, or all.

        Each has the ``message``, the ``form`` that is to be filled in, and ``refusal`` if this client may not answer.
        """
        question: Dict[str, Any] = {}
        if run is not None:
            run_id, failure = _run_id(run)
            if failure is not None:
                return Result(False, failure)
            question["workflow_instance_id"] = run_id
        if workflow_id is not None:
            question["workflow_id"] = workflow_id
        return self._ask(["LSAPPROVALS", json.dumps(question)], json.loads)

    def approve(
        self,
        run: Run,
        task_id: Optional[str] = None,
        params: Optional[Mapping[str, object]] = None,
        note: str = "",
        item_key: Optional[str] = None,
    ) -> Result[Dict[str, Any]]:
        """Approves a task that waits for a person.

        :param task_id: may be left out if only one task of the run waits for a person
        :param params: the values of its form; they become its outputs
        :param note: kept with the answer
        :param item_key: of an item of a fan-out
        """
        return self._answer(run, "approve", task_id, item_key, params, note)

    def reject(
        self, run: Run, task_id: Optional[str] = None, note: str = "", item_key: Optional[str] = None
    ) -> Result[Dict[str, Any]]:
        """Rejects a task that waits for a person: it becomes FAILED. See :meth:`approve`."""
        return self._answer(run, "reject", task_id, item_key, None, note)

    def _answer(
        self,
        run: Run,
        answer: str,
        task_id: Optional[str],
        item_key: Optional[str],
        params: Optional[Mapping[str, object]],
        note: str,
    ) -> Result[Dict[str, Any]]:
        run_id, failure = _run_id(run)
        if failure is not None:
            return Result(False, failure)
        question: Dict[str, Any] = {
            "workflow_instance_id": run_id,
            "answer": answer,
            "params": {name: text_of(value) for name, value in (params or {}).items()},
            "note": note,
            "dedupe_key": str(uuid.uuid4()),
        }
        if task_id is not None:
            question["task_id"] = task_id
        if item_key is not None:
            question["item_key"] = item_key
        return self._ask(["ANSWERAPPROVAL", json.dumps(question)], json.loads)

    def artifacts(self, run: Run) -> Result[List[Dict[str, Any]]]:
        """The files that the tasks of a run left: each entry has ``task_id``, ``item_key`` and ``files``."""
        run_id, failure = _run_id(run)
        if failure is not None:
            return Result(False, failure)
        return self._ask(["LSARTIFACTS", json.dumps({"workflow_instance_id": run_id})], json.loads)

    def download_artifacts(self, run: Run, directory: str, task_id: Optional[str] = None) -> Result[List[str]]:
        """Writes the files that the tasks of a run left to ``directory/TASK``, those of items to ``directory/TASK/KEY``.

        Never over a file that exists.

        :param task_id: only those of this task, or of this item: ``load[eu]``
        :returns: payload: the paths of the files
        """
        run_id, failure = _run_id(run)
        if failure is not None:
            return Result(False, failure)
        found = self.artifacts(run)
        if not found.success or found.payload is None:
            return Result(False, found.error)
        written: List[str] = []
        try:
            for left in found.payload:
                key = left["item_key"]
                if task_id not in (None, left["task_id"], f"{left['task_id']}[{key}]"):
                    continue
                root = os.path.abspath(os.path.join(directory, left["task_id"], "" if key is None else _file_name(key)))
                for file in left["files"]:
                    path = os.path.abspath(os.path.join(root, file["path"]))
                    if not path.startswith(root + os.sep):
                        return Result(False, f"{file['path']!r} is not a path below its task's directory", written)
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    with open(path, "xb") as target:
                        self._read_blob(run_id, left["hash"], file["offset"], file["bytes"], target.write)
                    written.append(path)
        except (CdktrError, OSError) as error:
            return Result(False, str(error), written)
        return Result(True, None, written)

    def _read_blob(
        self, run_id: str, digest: str, offset: int, size: int, write: Callable[[bytes], object]
    ) -> None:
        end = offset + size
        while offset < end:
            question = {
                "workflow_instance_id": run_id,
                "hash": digest,
                "offset": offset,
                "length": min(_PIECE, end - offset),
            }
            piece: Dict[str, Any] = self._ask(["READBLOB", json.dumps(question)], json.loads).unwrap()
            data = base64.b64decode(piece["data"])[: end - offset]
            if not data:
                raise CdktrError(f"a file ends early: {offset} of {end} bytes are there")
            write(data)
            offset += len(data)

    def query_logs(
        self,
        end_ms: Optional[int] = None,
        start_ms: Optional[int] = None,
        workflow_id: Optional[str] = None,
        workflow_instance_id: Optional[str] = None,
        verbose: bool = False,
    ) -> Result[List[str]]:
        """Lines of the history, as text; omitted arguments do not filter. ``verbose`` adds names."""
        fields = [
            "QUERYLOGS",
            "" if end_ms is None else str(end_ms),
            "" if start_ms is None else str(start_ms),
            workflow_id or "",
            workflow_instance_id or "",
            "true" if verbose else "",
        ]
        return self._ask(fields, json.loads)

    def get_recent_workflow_statuses(self) -> Result[List[Dict[str, Any]]]:
        """The latest status of each workflow, newest first, at most 10."""
        return self._ask(["GETRECENTSTATUSES"], json.loads)

    def get_registered_agents(self) -> Result[List[Dict[str, Any]]]:
        """The agents that the principal knows."""
        return self._ask(["GETREGISTEREDAGENTS"], json.loads)

    def tail_logs(self, workflow_id: Optional[str] = None, idle_timeout: Optional[float] = None) -> LogTail:
        """Live lines: an iterator of :class:`LogLine`. When this returns, the subscription is active, so no later
        line is missed. Lines that are published while the connection is lost are read from the history.

        :param workflow_id: without it, all workflows
        :param idle_timeout: the iteration ends after this many seconds without a line
        :raises CdktrError: when the principal does not report where it publishes
        """
        port = self._logs_port
        members = self._connection.members
        if port is None:
            info: Dict[str, Any] = self._ask(["PRINCIPALINFO", "{}"], json.loads).unwrap()
            members.learn(members.current, info)
            port = int(info["logs_publishing_port"])
        usual = port

        def where() -> Tuple[str, int]:
            place = members.current
            return (place.host, (place.logs_port or usual) if members.several else usual)

        return LogTail(
            where,
            lambda: members.several,
            lambda fields: self._connection.request(fields, attempts=1),
            workflow_id,
            idle_timeout,
            self._connection.keys,
            self._connection.timeout,
        )

    def _run(self, trigger: Trigger) -> Result[Dict[str, Any]]:
        fields = ["RUNTASK", trigger.workflow_id, json.dumps(trigger.options)]
        return self._ask(fields, json.loads, repeat_unprocessable=True)

    def _try(self, trigger: Trigger) -> Result[Dict[str, Any]]:
        """One attempt.

        :returns: the run, or why it was refused
        :raises Unprocessable: when the principal cannot process it now
        :raises Unreachable, CdktrError: when it does not answer, or fails
        """
        if "\x01" in trigger.workflow_id:
            return Result(False, f"{trigger.workflow_id!r} holds the byte 0x01, which separates fields")
        fields = ["RUNTASK", trigger.workflow_id, json.dumps(trigger.options)]
        reply = self._connection.request(fields, attempts=1)
        if reply.kind == "CLIENTERROR":
            return Result(False, reply.payload)
        if reply.kind == "UNPROC":
            raise Unprocessable(reply.payload)
        if reply.failed:
            raise CdktrError(reply.payload or reply.kind)
        return Result(True, None, json.loads(reply.payload))

    def _report(self, report: Mapping[str, object], timeout: Optional[float] = None) -> None:
        """Reports the state of listeners; ignored by a principal that is away or too old."""
        try:
            self._connection.request(["REPORTLISTENERS", json.dumps(report)], attempts=1, timeout=timeout)
        except Unreachable:
            pass

    def close(self) -> None:
        """Closes the connection; pending requests still finish."""
        self._connection.close()

    def __enter__(self) -> Principal:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _ask(
        self,
        fields: List[str],
        read: Callable[[str], T],
        wait: float = 0.0,
        repeat_unprocessable: bool = False,
    ) -> Result[T]:
        misplaced = [field for field in fields[:-1] if "\x01" in field]
        if misplaced:
            return Result(False, f"{misplaced[0]!r} holds the byte 0x01, which separates fields")
        try:
            reply: Reply = self._connection.request(fields, wait, repeat_unprocessable)
        except Unreachable as error:
            return Result(False, str(error))
        if reply.failed:
            return Result(False, reply.payload or reply.kind)
        try:
            return Result(True, None, read(reply.payload))
        except ValueError as error:
            return Result(False, f"the principal's reply cannot be parsed: {error}")


def _file_name(key: str) -> str:
    """The name of the directory of an item, by its key."""
    name = "".join(
        chr(byte)
        if chr(byte).isascii() and (chr(byte).isalnum() or chr(byte) in "_-" or (chr(byte) == "." and place > 0))
        else f"%{byte:02X}"
        for place, byte in enumerate(key.encode())
    )
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 17]}~{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def trigger_of(
    workflow_id: str,
    params: Optional[Mapping[str, object]],
    dedupe_key: Optional[str],
    trigger: str,
    start_at: Union[datetime, float, None] = None,
    start_in: Union[timedelta, float, None] = None,
    priority: Optional[int] = None,
) -> Trigger:
    """The arguments of ``RUNTASK``."""
    options: Dict[str, Any] = {
        "params": {name: text_of(value) for name, value in (params or {}).items()},
        "trigger": trigger,
        "dedupe_key": dedupe_key or str(uuid.uuid4()),
    }
    if start_at is not None:
        options["start_at_ms"] = round(seconds_of(start_at) * 1000)
    if start_in is not None:
        options["start_in_ms"] = round(seconds_of(start_in) * 1000)
    if priority is not None:
        options["priority"] = priority
    return Trigger(workflow_id, options)


def _run_id(run: Run) -> tuple[str, Optional[str]]:
    if isinstance(run, str):
        return run, None
    if run.buffered:
        return "", "the trigger still waits on this host's disk: it is no run yet"
    if not run.success or run.payload is None:
        return "", run.error or "there is no run to wait for"
    return run.payload["workflow_instance_id"], None


def _read_key_file(path: str) -> Dict[str, str]:
    """Reads a key file written by ``cdktr keys add``."""
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    return {name: content[name] for name in ("server_key", "public_key", "secret_key")}


def _keys(server: Optional[str], public: Optional[str], secret: Optional[str]) -> Optional[CurveKeys]:
    if server is None and public is None and secret is None:
        return None
    if server is None or public is None or secret is None:
        raise ValueError("server_key, public_key and secret_key belong together: give all three or none")
    for name, key in (("server_key", server), ("public_key", public), ("secret_key", secret)):
        if len(key) != 40:
            raise ValueError(f"{name} must have 40 characters of Z85 text")
    return CurveKeys(server, public, secret)
