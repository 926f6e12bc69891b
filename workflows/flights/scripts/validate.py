"""Checks what the report assumes about the data; any violation fails the task and so the run."""

import pandas as pd
from handover import AIRPORTS, handed_over

flights = pd.read_csv(handed_over("flights.csv"))
weather = pd.read_csv(handed_over("weather.csv"))
airlines = pd.read_csv(handed_over("airlines.csv"))

checks = {
    "there are flights": len(flights) > 0,
    "every flight leaves from one of the three airports": set(flights["origin"]) == set(AIRPORTS),
    "every airline has a name": set(flights["carrier"]) <= set(airlines["carrier"]),
    "all twelve months are there": sorted(flights["month"].unique()) == list(range(1, 13)),
    "days are days": flights["day"].between(1, 31).all(),
    "distances are positive": (flights["distance"] > 0).all(),
    "a flight that never left never arrived": flights.loc[flights["dep_delay"].isna(), "arr_delay"].isna().all(),
    "departures are between 2 hours early and a day late": flights["dep_delay"].dropna().between(-120, 1440).all(),
    "arrivals are between 2 hours early and a day late": flights["arr_delay"].dropna().between(-120, 1440).all(),
    "an airport has one weather record an hour": not weather.duplicated(["origin", "time_hour"]).any(),
}
for check, passed in checks.items():
    print(f"{'ok  ' if passed else 'FAIL'} {check}")
if not all(checks.values()):
    raise SystemExit("the data is not what the report assumes")
