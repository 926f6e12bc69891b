"""The oracle of schedules: what the rules of the manual say, in another language, with the time zones of another source.

    oracle.py record                      the whole record, as JSON
    oracle.py firings EXPRESSION ZONE     the firings of one expression and the spans in which it looked, in seconds since the epoch

It does what the manual says by brute force: take each local day, look whether its date matches, take each local time that matches, and ask
zoneinfo (with the data of the package tzdata, not of this host) which instants have this local time. It shares no code and no idea with
croner. The opinion of cronsim, which follows Debian's cron, is recorded beside it.
"""

import calendar
import importlib.metadata
import json
import random
import sys
import zlib
import zoneinfo
from datetime import date, datetime, timedelta, timezone

from cronsim import CronSim

zoneinfo.reset_tzpath(to=[])  # The package's data only.
UTC = timezone.utc
EPOCH, SECOND = datetime(1970, 1, 1), timedelta(seconds=1)
SEED = 20261127
HOUR = 3600
DAY = 24 * HOUR

# Zones that change in odd ways, each with the years in which it did.
ZONES = {
    "Australia/Lord_Howe": (2021, 2026),  # by 30 minutes
    "Africa/Casablanca": (2021, 2026),  # back for Ramadan
    "Antarctica/Troll": (2021, 2026),  # by two hours
    "Pacific/Kiritimati": (2021, 2026),  # UTC+14
    "Pacific/Chatham": (2021, 2026),  # 45 minutes off, at 02:45
    "Europe/London": (2021, 2026),
    "America/New_York": (2021, 2026),
    "America/St_Johns": (2021, 2026),  # 30 minutes off
    "Africa/Cairo": (2021, 2026),  # began again in 2023, at midnight
    "America/Asuncion": (2021, 2026),  # at midnight, for the last time in 2024
    "Asia/Tehran": (2018, 2023),  # at midnight, by the Persian calendar, until 2022
    "Asia/Kathmandu": (2021, 2026),
    "America/Sao_Paulo": (2014, 2019),  # at midnight
    "Pacific/Apia": (2009, 2014),  # had no 30 December 2011
}


class Zone:
    def __init__(self, name):
        self.name = name
        self.zone = zoneinfo.ZoneInfo(name)
        first, last = ZONES[name]
        self.start = int(datetime(first, 1, 1, tzinfo=UTC).timestamp())
        self.end = int(datetime(last, 1, 1, tzinfo=UTC).timestamp())
        # [first second, offset in seconds], the first one at the start.
        self.offsets = [[self.start, self.offset(self.start)]]
        for at in range(self.start, self.end, 1800):
            if self.offset(at + 1800) == self.offset(at):
                continue
            low, high = at, at + 1800
            while high - low > 1:
                middle = (low + high) // 2
                if self.offset(middle) == self.offset(at):
                    low = middle
                else:
                    high = middle
            self.offsets.append([high, self.offset(high)])

    def offset(self, at):
        return int(datetime.fromtimestamp(at, UTC).astimezone(self.zone).utcoffset().total_seconds())

    def local(self, at):
        return datetime.fromtimestamp(at, UTC).astimezone(self.zone).replace(tzinfo=None, fold=0)

    def instants(self, local):
        """The instants with this local time: none, one, or two."""
        one, other = (local.replace(tzinfo=self.zone, fold=fold).utcoffset() for fold in (0, 1))
        if one == other:  # Nothing changes near it.
            return [(local - EPOCH - one) // SECOND]
        found = set()
        for fold in (0, 1):
            at = int(local.replace(tzinfo=self.zone, fold=fold).timestamp())
            if self.local(at) == local:
                found.add(at)
        return sorted(found)

    def end_of_gap(self, local):
        """The first instant after the gap in which this local time would have been."""
        for (_, before), (at, after) in zip(self.offsets, self.offsets[1:]):
            first = datetime.fromtimestamp(at + before, UTC).replace(tzinfo=None)
            end = datetime.fromtimestamp(at + after, UTC).replace(tzinfo=None)
            if first <= local < end:
                return at
        return None


MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split()
DAYS = "SUN MON TUE WED THU FRI SAT".split()
SHORT = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@hourly": "0 * * * *",
}


def number(text, names, first):
    return names.index(text.upper()) + first if text.upper() in names else int(text)


def values(field, low, high, names=(), first=0):
    """The numbers of a plain field."""
    found = set()
    for item in field.split(","):
        body, _, step = item.partition("/")
        if body in ("*", "?"):
            start, end = low, high
        elif "-" in body:
            start, end = (number(part, names, first) for part in body.split("-"))
        else:
            start = end = number(body, names, first)
        found.update(range(start, end + 1, int(step or "1")))
    return found


class Expression:
    def __init__(self, text):
        fields = SHORT.get(text, text).split()
        if len(fields) == 5:
            fields.insert(0, "0")
        second, minute, hour, dom, month, dow = fields
        self.seconds, self.minutes = sorted(values(second, 0, 59)), sorted(values(minute, 0, 59))
        self.hours, self.months = sorted(values(hour, 0, 23)), values(month, 1, 12, MONTHS, 1)
        # One fixed time of day: no star, no step, one value each.
        self.fixed = (
            not any(sign in part for part in (second, minute, hour) for sign in "*?/")
            and len(self.seconds) == len(self.minutes) == len(self.hours) == 1
        )
        self.any_dom, self.any_dow = dom in "*?", dow in "*?"
        self.both = dow.startswith("+")
        self.dom, self.dow = dom.upper(), dow.lstrip("+").upper()
        self.known = {}
        self.times = len(self.seconds) * len(self.minutes) * len(self.hours)

    def in_dom(self, day):
        length = calendar.monthrange(day.year, day.month)[1]
        for item in self.dom.split(","):
            if item == "L":
                if day.day == length:
                    return True
            elif item.endswith("W"):  # The weekday nearest to it within the month.
                if item == "LW":
                    wanted = length
                else:
                    wanted = int(item[:-1])
                if wanted > length:
                    continue
                weekday = date(day.year, day.month, wanted).weekday()
                if weekday == 5:
                    wanted += -1 if wanted > 1 else 2
                if weekday == 6:
                    wanted += 1 if wanted < length else -2
                if day.day == wanted:
                    return True
            elif day.day in values(item, 1, 31):
                return True
        return False

    def in_dow(self, day):
        today = (day.weekday() + 1) % 7
        length = calendar.monthrange(day.year, day.month)[1]
        for item in self.dow.split(","):
            body, _, nth = item.partition("#")
            if nth == "" and body.endswith("L") and body not in DAYS:
                body, nth = body[:-1], "L"
            # The names with 7 as Sunday at the end of a range.
            if today not in {value % 7 for value in values(body, 0, 6, DAYS)}:
                continue
            if nth == "" or (nth == "L" and day.day + 7 > length) or (nth != "L" and nth == str((day.day + 6) // 7)):
                return True
        return False

    def on(self, day):
        if day not in self.known:
            self.known[day] = self.matches(day)
        return self.known[day]

    def matches(self, day):
        if day.month not in self.months:
            return False
        if self.both:
            return self.in_dom(day) and self.in_dow(day)
        if self.any_dom and self.any_dow:
            return True
        if self.any_dom:
            return self.in_dow(day)
        if self.any_dow:
            return self.in_dom(day)
        return self.in_dom(day) or self.in_dow(day)

    def firings(self, zone, start, end):
        """The instants from start (inclusive) to end (exclusive), in seconds."""
        found = set()
        # A day more on each side: the day of a zone may be the next or the one before.
        day, last = zone.local(start).date() - timedelta(1), zone.local(end).date() + timedelta(1)
        while day <= last:
            if self.fixed and self.on(day):
                found.update(self.at(zone, datetime(day.year, day.month, day.day, self.hours[0], self.minutes[0], self.seconds[0])))
            elif self.on(day):
                for hour in self.hours:
                    # Whole hours that cannot matter are left out.
                    if not near(zone, datetime(day.year, day.month, day.day, hour), start, end):
                        continue
                    for minute in self.minutes:
                        for second in self.seconds:
                            found.update(self.at(zone, datetime(day.year, day.month, day.day, hour, minute, second)))
            day += timedelta(1)
        return sorted(at for at in found if start <= at < end)

    def at(self, zone, local):
        instants = zone.instants(local)
        if not self.fixed:
            return instants
        if instants:
            return instants[:1]
        moved = zone.end_of_gap(local)
        # It stays on its day: a day that a zone leaves out has no firing.
        return [moved] if moved is not None and zone.local(moved).date() == local.date() else []


def near(zone, local, start, end):
    low, high = zone.local(start) - timedelta(hours=4), zone.local(end) + timedelta(hours=4)
    return low <= local <= high


def by_cronsim(text, zone, start, end):
    """cronsim's firings, or None if it does not know the expression."""
    try:
        # It looks after an instant; it begins some hours earlier, because it thinks in local times.
        source = CronSim(SHORT.get(text, text), datetime.fromtimestamp(start - DAY, UTC).astimezone(zone.zone))
    except Exception:
        return None
    found = []
    for moment in source:
        at = int(moment.timestamp())
        if at >= end:
            return found
        if at >= start:
            found.append(at)
    return found


def drawn(rng):
    """An expression by the grammar of the manual."""

    def plain(low, high, names=(), first=0):
        def one():
            value = rng.randint(low, high)
            return names[value - first] if names and value - first < len(names) and rng.random() < 0.5 else str(value)

        def span():
            a, b = sorted((rng.randint(low, high), rng.randint(low, high)))
            return f"{a}-{b}"

        kind = rng.random()
        if kind < 0.45:
            return one()
        if kind < 0.6:
            return ",".join(one() for _ in range(rng.randint(2, 4)))
        if kind < 0.75:
            return span()
        if kind < 0.85:
            return f"{span()}/{rng.randint(1, max(2, (high - low) // 3))}"
        if kind < 0.97:
            return f"*/{rng.randint(1, max(2, (high - low) // 2))}"
        return f"{span()},{one()}"

    def dom():
        kind = rng.random()
        if kind < 0.55:
            return "*"
        if kind < 0.62:
            return rng.choice(["L", "LW", "?", "L,15", "1,L"])
        if kind < 0.7:
            return f"{rng.randint(1, 31)}W"
        return plain(1, 31)

    def dow():
        kind = rng.random()
        if kind < 0.5:
            return "*"
        if kind < 0.6:
            return f"{rng.choice(DAYS)}#{rng.choice('12345L')}"
        if kind < 0.65:
            return rng.choice(["MON-FRI", "SAT,SUN", "5-7", "0,6", "FRI#L", "5L", "MON-WED#1", "?", "0-7"])
        if kind < 0.72:
            return f"+{plain(0, 6, DAYS)}"
        return plain(0, 7, DAYS)

    # Hours in which the zones change count more than others.
    hour = rng.choice(["0", "1", "2", "3", "1-3", "0,1", "1,2,3", "23"]) if rng.random() < 0.45 else None
    hour = hour or ("*" if rng.random() < 0.2 else plain(0, 23))
    minute = "*" if rng.random() < 0.1 else plain(0, 59)
    month = "*" if rng.random() < 0.75 else plain(1, 12, MONTHS, 1)
    fields = [minute, hour, dom(), month, dow()]
    if rng.random() < 0.2:
        fields.insert(0, "*" if rng.random() < 0.1 else plain(0, 59))
    return " ".join(fields)


def nasty():
    """Two hundred that have gone wrong somewhere."""
    found = []
    # Single times around every change of these zones, and the same as lists, ranges and steps.
    for hour in (0, 1, 2, 3, 23):
        for minute in (0, 15, 30, 45, 59):
            found.append(f"{minute} {hour} * * *")
    for minute in (0, 30, 45):
        found += [f"{minute} 0-3 * * *", f"{minute} 1,2 * * *", f"{minute} */2 * * *", f"{minute} 2,14 * * *"]
        found += [f"{minute} 0-4/2 * * *", f"{minute} 23,0,1 * * *", f"0,{minute or 59} 2 * * *", f"{minute}-59 2 * * *"]
    # One value in disguise, and stars in disguise.
    found += ["5,5 2 * * *", "30-30 2 * * *", "30 2-2 * * *", "30 2,2 * * *", "0-59 2 * * *", "30 0-23 * * *"]
    found += ["*/30 2 * * *", "*/60 2 * * *", "*/59 1 * * *", "30 */24 * * *", "0 */5 * * *", "0 */7 * * *", "0 */23 * * *"]
    found += ["*/7 * * * *", "*/13 * * * *", "*/31 * * * *", "*/1 1 * * *", "7-59/9 * * * *", "0-59/20 1-3 * * *"]
    found += ["* 2 * * *", "* 0 * * *", "30 * * * *", "59 * * * *", "0 * * * *", "*/15 * * * *", "45 * * * *"]
    # Days that few months have, leap days, last days, days near weekends.
    found += ["0 0 29 2 *", "0 0 29 2 MON", "0 0 31 * *", "0 0 30,31 * *", "30 2 31 1,3,5 *", "0 12 31 4,5 *"]
    found += ["0 0 L * *", "30 1 L * *", "0 0 L 2 *", "0 0 L,1 * *", "0 3 1,15,L * *", "0 0 LW * *", "0 6 1W * *", "0 6 15W * *"]
    found += ["0 6 31W * *", "0 6 28W 2 *", "0 6 29W 2 *", "0 6 1W,15W * *", "0 0 28W * *", "45 2 2W * *", "0 6 L 12 *", "0 0 LW 2 *"]
    # Both day fields.
    found += ["0 0 13 * FRI", "0 0 13 * +FRI", "0 0 1 * MON", "0 0 1-7 * +MON", "0 0 */2 * MON", "0 0 1 * */2", "0 0 */5 * */3"]
    found += ["0 0 * * */2", "0 0 */10 * *", "0 0 1-31 * MON", "0 0 1 * 0-6", "0 0 1 * 0-7", "0 0 ? * MON", "0 0 15 * ?", "0 0 ? * ?"]
    found += ["30 2 * * +SUN", "30 2 1-7 * +SUN", "0 0 L * FRI", "0 0 L * +FRI", "0 0 LW * +FRI", "0 0 15W * SAT", "0 0 31 12 +FRI"]
    # Weekdays: both Sundays, the nth and the last, ranges of them.
    found += ["0 0 * * 0", "0 0 * * 7", "0 0 * * 0,7", "0 0 * * 5-7", "0 0 * * 0-7", "0 0 * * SUN", "0 0 * * sun", "0 0 * * Mon-fri"]
    found += ["0 0 * * MON#1", "0 0 * * MON#5", "0 0 * * 5#5", "0 0 * * FRI#L", "0 0 * * 5L", "0 0 * * 0L", "0 0 * * 7#L", "0 0 * * SUN#2"]
    found += ["30 2 * * SUN#2", "30 1 * * SUN#L", "30 2 * 3 SUN#L", "30 1 * 10 SUN#L", "0 0 * * MON#1,MON#3", "0 0 * * MON-FRI#1"]
    found += ["0 0 * * TUE,THU#2", "0 0 * * 1-5#L", "15 2 * 3,11 SUN", "0 2 * APR,OCT SUN#1", "0 3 * * SAT,SUN"]
    # Months by name and number, and dates on which zones have changed.
    found += ["0 0 1 JAN *", "0 0 1 jan,JUL *", "0 0 1 */3 *", "0 0 1 2-11/3 *", "0 0 25 12 *", "0 0 1 1 *", "59 23 31 12 *", "0 0 30 12 *"]
    found += ["30 10 30 12 *", "0 0 29,30,31 12 *", "* * 30 12 *", "30 0 * 10,11 SUN", "0 0 22 3 *", "0 0 21,22 9 *", "30 23 * 4,10 THU,FRI"]
    found += ["0 0 * 4 FRI#L", "0 0 * 10 THU#L", "0 23 * 10 *", "30 0 1-7 10 SUN", "0 1 * 11 *", "0 2 29 3 *"]
    # Seconds.
    found += ["0 30 1 * * *", "30 30 1 * * *", "59 59 23 * * *", "0 0 2 * * *", "*/30 59 1 * * *", "0,30 0 2 * * *", "15 */20 1-3 * * *"]
    found += ["*/15 * 2 * * *", "59 59 * * * *", "0 0 0 1 1 *", "30 0 0 L * *", "0 0 0 * * MON", "5-5 30 2 * * *", "*/20 0,59 0-3 * * *"]
    found += ["0 */30 2 * * *", "* 30 2 * * SUN", "10 10 10 10 10 *", "0 0 12 ? * MON-FRI", "1 0 0 29 2 ?", "59 29 2 * * SUN#L", "0 15,45 0 * 3,4 *"]
    # The shortcuts, and spaces.
    found += ["0 2 * 3 SUN#2", "0 2 * 11 SUN#1", "30 1 26 10 *", "45 2 * 9 SUN#L", "0 0 24 4 *"]
    found += ["@hourly", "@daily", "@weekly", "@monthly", "@yearly", "@annually", "0  2   * * *", "30\t1 * * *"]
    return found


def windows(zone):
    """Around each change of the clock; and some days of no importance."""
    rng = random.Random(f"{SEED} {zone.name}")
    days = sorted(rng.randrange(zone.start // DAY, zone.end // DAY) * DAY for _ in range(4))
    return [at for at, _ in zone.offsets[1:]], days


def reach(expression):
    """How far around a change, and how long on another day, is compared (seconds): less for those which fire many times an hour."""
    per_hour = len(expression.seconds) * len(expression.minutes)
    return (3 * HOUR, DAY) if per_hour <= 12 else (40 * 60, HOUR) if per_hour <= 60 else (2 * 60, 120)


def spans_of(zone, expression):
    """What is compared, by name: [start, end] in seconds."""
    changes, days = windows(zone)
    around, length = reach(expression)
    found = {
        "changes": [[at - around, at + around] for at in changes],
        "days": [[at, at + length] for at in days],
    }
    if expression.times <= 1:
        found["years"] = [[zone.start, zone.end]]
    return found


def digest(instants):
    return [len(instants), zlib.crc32(",".join(map(str, instants)).encode())]


def record():
    rng = random.Random(SEED)
    expressions = list(dict.fromkeys(nasty()))[:200]
    if len(expressions) != 200 or not all(ever(Expression(text)) for text in expressions):
        raise SystemExit(f"{len(expressions)} nasty expressions, not 200, or one that never fires")
    first_drawn = len(expressions)
    zones = {name: Zone(name) for name in ZONES}
    names = list(ZONES)
    while len(expressions) < 500:
        text = drawn(rng)
        # cdktr refuses one that never fires.
        if text not in expressions and ever(Expression(text)):
            expressions.append(text)
    result = {
        "seed": SEED,
        "cronsim": importlib.metadata.version("cronsim"),
        "tzdata": importlib.metadata.version("tzdata"),
        "zones": {
            name: {"start": zone.start, "end": zone.end, "offsets": zone.offsets, "days": windows(zone)[1]}
            for name, zone in zones.items()
        },
        "drawn_from": first_drawn,
        "expressions": [],
    }
    for index, text in enumerate(expressions):
        expression = Expression(text)
        # Each has a zone of its own, in which more is compared.
        home = names[index % len(names)]
        around, length = reach(expression)
        row = {"cron": text, "home": home, "around": around, "length": length, "firings": {}}
        for name, zone in zones.items():
            row["firings"][name] = {
                kind: digest([at for start, end in spans for at in expression.firings(zone, start, end)])
                for kind, spans in spans_of(zone, expression).items()
            }
        zone = zones[home]
        spans = spans_of(zone, expression)
        around = [at for start, end in spans["changes"] + spans["days"] for at in expression.firings(zone, start, end)]
        other = cronsim_in(text, zone, spans["changes"] + spans["days"])
        if other is None:
            row["cronsim"] = None
        else:
            row["cronsim"] = {
                "missing": sorted(set(around) - set(other))[:3],
                "extra": sorted(set(other) - set(around))[:3],
            }
        result["expressions"].append(row)
        print(f"{index + 1}/{len(expressions)} {text}", file=sys.stderr)
    print(json.dumps(result, separators=(",", ":")))


def cronsim_in(text, zone, spans):
    found = []
    for start, end in spans:
        some = by_cronsim(text, zone, start, end)
        if some is None:
            return None
        found += some
    return found


def ever(expression):
    day = date(2021, 1, 1)
    return any(expression.on(day + timedelta(n)) for n in range(4 * 366))


def main():
    if sys.argv[1:] == ["record"]:
        record()
    elif len(sys.argv) == 4 and sys.argv[1] == "firings":
        zone, expression = Zone(sys.argv[3]), Expression(sys.argv[2])
        spans = [span for some in spans_of(zone, expression).values() for span in some]
        firings = sorted({at for start, end in spans for at in expression.firings(zone, start, end)})
        print(json.dumps({"spans": spans, "firings": firings}))
    else:
        raise SystemExit(__doc__)


main()
