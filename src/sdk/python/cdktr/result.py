"""The outcome of a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Optional, TypeVar

T = TypeVar("T")


class CdktrError(Exception):
    """A request failed; raised by :meth:`Result.unwrap` and by iterators, which have no other way to report it."""


@dataclass(frozen=True)
class Result(Generic[T]):
    """The outcome of a request. Requests do not raise: look at ``success``, or call :meth:`unwrap`."""

    success: bool
    """Whether the request succeeded."""
    error: Optional[str] = None
    """Why it failed; ``None`` on success."""
    payload: Optional[T] = None
    """The principal's reply."""
    buffered: bool = False
    """Whether a trigger is buffered on this host's disk because the principal is away; it becomes a run when it is back."""

    def __bool__(self) -> bool:
        return self.success

    def unwrap(self) -> T:
        """The payload.

        :raises CdktrError: when the request failed
        """
        if not self.success:
            raise CdktrError(self.error or "the request failed")
        return self.payload  # type: ignore[return-value]
