"""What this package does around a fork, which copies locks as they are, but not the threads that would release them."""

from __future__ import annotations

import os
import threading
import weakref
from typing import List, Protocol


class Forkable(Protocol):
    """Something that several threads use, and that a child process may use as well."""

    def before_fork(self) -> None:
        """Waits until no thread is inside, and keeps all out until ``after_fork``. Raises nothing."""

    def after_fork(self) -> None:
        """Lets threads in again, in the parent and in the child."""


#: Held while a listener makes its delivery: first of all locks.
making = threading.RLock()
_registry = threading.Lock()
_known: "weakref.WeakSet[Forkable]" = weakref.WeakSet()
_held: List[Forkable] = []


def watch(thing: Forkable) -> None:
    """Calls its methods around each fork for as long as it lives."""
    with _registry:
        _known.add(thing)


def _before() -> None:
    making.acquire()
    _registry.acquire()
    for thing in list(_known):
        thing.before_fork()
        _held.append(thing)


def _after() -> None:
    while _held:
        _held.pop().after_fork()
    _registry.release()
    making.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
