"""The principals of one installation that a client knows, and the one that it uses."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

Address = Tuple[str, int]


@dataclass(frozen=True)
class Place:
    """A member at its address."""

    host: str
    port: int
    #: Where it publishes the live log; None until it has said so.
    logs_port: Optional[int] = None

    @property
    def address(self) -> Address:
        return (self.host, self.port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Members:
    """Places in the order in which they are tried: as they were given, then those that were learned.

    Threads may share it: what several of them change at once is only which place is used.
    """

    def __init__(self, given: Sequence[Address]) -> None:
        self._given = [Place(*address) for address in dict.fromkeys(given)]
        self._learned: List[Place] = []
        self._ports: Dict[Address, int] = {}
        self._current = self._given[0]

    @property
    def current(self) -> Place:
        """The member that is used."""
        place = self._current
        return Place(place.host, place.port, self._ports.get(place.address))

    @property
    def all(self) -> List[Place]:
        given = {place.address for place in self._given}
        return self._given + [place for place in self._learned if place.address not in given]

    @property
    def several(self) -> bool:
        return len(self.all) > 1

    def leave(self, place: Place) -> None:
        """Turns to the next place, unless another thread has done so."""
        if self._current.address != place.address:
            return
        addresses = [other.address for other in self.all]
        at = addresses.index(place.address) if place.address in addresses else -1
        self._current = self.all[(at + 1) % len(addresses)]

    def learn(self, place: Place, info: Mapping[str, Any]) -> None:
        """Takes in what the member at this place says."""
        self._ports[place.address] = int(info["logs_publishing_port"])
        own = info.get("member")
        # Elsewhere, the loopback address of a member leads to something else.
        self._learned = [
            Place(member["host"], int(member["api_port"]))
            for member in info.get("members") or []
            if member["name"] != own and (_is_loopback(place.host) or not _is_loopback(member["host"]))
        ]

    def __str__(self) -> str:
        *others, last = [str(place) for place in self.all]
        return f"{', '.join(others)} and {last}" if others else last


def addresses_of(text: str, host: str, port: int) -> List[Address]:
    """Parses ``HOST:PORT,…``; a part that is missing is ``host`` or ``port``.

    :raises ValueError: when it is something else
    """
    found: List[Address] = []
    for part in text.split(","):
        one = part.strip()
        if one.startswith("["):
            name, closed, rest = one[1:].partition("]")
            if not closed or (rest and not rest.startswith(":")):
                raise ValueError(f"{one!r} is not HOST:PORT")
            number = rest[1:]
        elif one.count(":") > 1:
            name, number = one, ""
        else:
            name, _, number = one.partition(":")
        if not (name or number) or (number and not number.isdigit()):
            raise ValueError(f"{one!r} is not HOST:PORT")
        found.append((name or host, int(number) if number else port))
    return found


def addresses_in_environment() -> List[Address]:
    """What ``CDKTR_PRINCIPALS``, or else ``CDKTR_PRINCIPAL_HOST`` and ``CDKTR_PRINCIPAL_PORT``, say."""
    host = os.environ.get("CDKTR_PRINCIPAL_HOST") or "127.0.0.1"
    port = int(os.environ.get("CDKTR_PRINCIPAL_PORT") or 5561)
    listed = os.environ.get("CDKTR_PRINCIPALS")
    return addresses_of(listed, host, port) if listed else [(host, port)]


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
