"""Puts the airports' figures together; the report is what the log of the run ends with."""

import json
import shutil

from handover import AIRPORTS, LATE_MINUTES, TEMPORARY, directory, handed_over

parts = [json.loads(handed_over(f"{airport}.json").read_text()) for airport in AIRPORTS]
total = {name: sum(part[name] for part in parts) for name in ("flights", "cancelled", "late", "arrived")}

print("Delays of flights from New York City, 2013 (minutes)")
print("airport  flights cancelled departure  arrival   late  rain   dry  worst airline")
for part in parts:
    print(
        f"{part['airport']:<7} {part['flights']:>8} {part['cancelled']:>9}"
        f" {part['mean_departure_delay']:>9.2f} {part['mean_arrival_delay']:>8.2f}"
        f" {100 * part['late'] / part['arrived']:>5.1f}%"
        f" {part['wet_departure_delay']:>5.1f} {part['dry_departure_delay']:>5.1f}"
        f"  {part['worst_airline']} ({part['worst_airline_delay']:.2f})"
    )
print(f"In all {total['flights']} flights, {total['cancelled']} cancelled;")
print(f"{total['late']} of {total['arrived']} arrived {LATE_MINUTES} minutes late or more.")

if TEMPORARY:
    shutil.rmtree(directory())
else:
    (directory() / "report.json").write_text(json.dumps({"airports": parts, "total": total}, indent=2))
    print(f"The figures are in {directory() / 'report.json'}")
