"""Values as the principal expects them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Union


def text_of(value: object) -> str:
    """Converts a parameter to text; JSON for values without a natural text form."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, (bool, dict, list)):
        return json.dumps(value)
    return str(value)


def seconds_of(value: Union[datetime, timedelta, float]) -> float:
    """A time as seconds since the epoch, or a span as seconds."""
    if isinstance(value, datetime):
        return value.timestamp()
    return value.total_seconds() if isinstance(value, timedelta) else value
