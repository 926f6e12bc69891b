"""
Days of calendar files and of recurrence rules, by other implementations: recurring-ical-events 3.8.2 and python-dateutil 2.9.0. Prints JSON for
ics-record.json.gz:
  python3 -m venv venv && venv/bin/pip install recurring-ical-events==3.8.2 python-dateutil==2.9.0.post0
  venv/bin/python test/oracle/ics.py test/workflow/ics | gzip -9n > test/oracle/ics-record.json.gz
"""
import datetime as dt
import json
import pathlib
import random
import sys
import zlib

import icalendar
import recurring_ical_events
from dateutil.rrule import rrulestr

FROM, TO = dt.date(2024, 1, 1), dt.date(2036, 12, 31)


def as_written(value):
    return value.date() if isinstance(value, dt.datetime) else value


def days_of_file(path):
    calendar = icalendar.Calendar.from_ical(path.read_bytes())
    days = set()
    for event in recurring_ical_events.of(calendar).between(FROM, TO + dt.timedelta(days=1)):
        if str(event.get("STATUS", "")).upper() == "CANCELLED":
            continue
        start, end = event["DTSTART"].dt, event["DTEND"].dt if "DTEND" in event else event["DTSTART"].dt
        first, last = as_written(start), as_written(end)
        if isinstance(end, dt.datetime):
            if end.time() == dt.time(0) and last > first:
                last -= dt.timedelta(days=1)
        elif last > first:
            last -= dt.timedelta(days=1)
        day = first
        while day <= last:
            if FROM <= day <= TO:
                days.add(day.isoformat())
            day += dt.timedelta(days=1)
    return sorted(days)


def random_rule(rng):
    freq = rng.choice(["YEARLY", "YEARLY", "MONTHLY", "MONTHLY", "WEEKLY", "DAILY"])
    parts = ["FREQ=" + freq]
    days = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
    if rng.random() < 0.4:
        parts.append(f"INTERVAL={rng.randint(1, 5)}")
    if rng.random() < 0.4:
        parts.append("BYMONTH=" + ",".join(map(str, sorted(rng.sample(range(1, 13), rng.randint(1, 3))))))
    if rng.random() < 0.35 and freq != "WEEKLY":
        parts.append("BYMONTHDAY=" + ",".join(str(rng.choice([1, 2, 15, 28, 29, 30, 31, -1, -2, -10])) for _ in range(rng.randint(1, 2))))
    if freq == "YEARLY" and rng.random() < 0.2:
        parts.append("BYYEARDAY=" + ",".join(str(rng.choice([1, 59, 60, 100, 365, 366, -1, -366])) for _ in range(2)))
    elif freq == "YEARLY" and rng.random() < 0.25 and not any(p.startswith(("BYMONTHDAY", "BYMONTH")) for p in parts):
        parts.append("BYWEEKNO=" + ",".join(str(rng.choice([1, 2, 20, 52, 53, -1])) for _ in range(rng.randint(1, 2))))
    if rng.random() < 0.5:
        ordinals = freq in ("YEARLY", "MONTHLY") and not any(p.startswith("BYWEEKNO") for p in parts) and rng.random() < 0.6
        some = rng.sample(days, rng.randint(1, 3))
        parts.append("BYDAY=" + ",".join((str(rng.choice([1, 2, 3, 4, 5, -1, -2])) if ordinals else "") + day for day in some))
    if rng.random() < 0.2 and any(p.startswith(("BYDAY", "BYMONTHDAY")) for p in parts):
        parts.append("BYSETPOS=" + str(rng.choice([1, 2, -1, -2])))
    if rng.random() < 0.25:
        parts.append("WKST=" + rng.choice(days))
    if rng.random() < 0.25:
        parts.append(f"COUNT={rng.randint(1, 40)}")
    return ";".join(parts)


def days_of_rule(rule, start):
    # Rules without any day would go on until the year 9999.
    parts = [part for part in rule.split(";") if not part.startswith("COUNT=")]
    count = next((int(part[6:]) for part in rule.split(";") if part.startswith("COUNT=")), None)
    begin = dt.datetime.combine(start, dt.time(0))
    all_days = [at.date() for at in rrulestr("RRULE:" + ";".join(parts) + ";UNTIL=20370101", dtstart=begin)][:count]
    return [day.isoformat() for day in all_days if FROM <= day <= TO]


def shortened(days):
    return {"count": len(days), "crc": zlib.crc32(",".join(days).encode()), "first": days[:3]}


def listed(days):
    return days if len(days) <= 30 else [*days[:30], f"and {len(days) - 30} more"]


rng = random.Random(15)
rules = []
while len(rules) < 400:
    start = dt.date(2015, 1, 1) + dt.timedelta(days=rng.randint(0, 4500))
    rule = random_rule(rng)
    rules.append({"rule": rule, "start": start.isoformat(), "days": shortened(days_of_rule(rule, start))})
files = {path.name: listed(days_of_file(path)) for path in sorted(pathlib.Path(sys.argv[1]).glob("*.ics"))}
json.dump({"from": FROM.isoformat(), "to": TO.isoformat(), "files": files, "rules": rules}, sys.stdout)
