"""The figures of one airport."""

import json
import sys

import pandas as pd
from handover import LATE_MINUTES, directory, handed_over

airport = sys.argv[1]
flights = pd.read_csv(handed_over("flights.csv")).query("origin == @airport")
weather = pd.read_csv(handed_over("weather.csv")).query("origin == @airport")
airlines = pd.read_csv(handed_over("airlines.csv")).set_index("carrier")["name"]
print(f"{airport}: {len(flights)} flights, {len(weather)} hours of weather")

arrived = flights.dropna(subset=["arr_delay"])
by_carrier = arrived.groupby("carrier")["arr_delay"].agg(["size", "mean"])
worst = by_carrier[by_carrier["size"] >= 1000]["mean"].idxmax()

left = flights.dropna(subset=["dep_delay"]).merge(weather, on=["origin", "time_hour"])
wet = left["precip"] > 0

figures = {
    "airport": airport,
    "flights": len(flights),
    "cancelled": int(flights["dep_delay"].isna().sum()),
    "mean_departure_delay": float(flights["dep_delay"].mean()),
    "mean_arrival_delay": float(arrived["arr_delay"].mean()),
    "late": int((arrived["arr_delay"] >= LATE_MINUTES).sum()),
    "arrived": len(arrived),
    "worst_airline": airlines[worst],
    "worst_airline_delay": float(by_carrier.loc[worst, "mean"]),
    "wet_departure_delay": float(left.loc[wet, "dep_delay"].mean()),
    "dry_departure_delay": float(left.loc[~wet, "dep_delay"].mean()),
}
(directory() / f"{airport}.json").write_text(json.dumps(figures))
print(f"{airport}: worst airline {figures['worst_airline']}, {figures['worst_airline_delay']:.2f} min late on average")
