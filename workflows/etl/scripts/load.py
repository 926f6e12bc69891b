"""Loads both counts into one SQLite table, reads it back and leaves nothing behind."""

import json
import shutil
import sqlite3

from handover import directory

database = sqlite3.connect(directory() / "accounts.db")
with database:
    database.execute("CREATE TABLE counts (dimension TEXT, value TEXT, accounts INTEGER)")
    for dimension in ("shell", "kind"):
        counts = json.loads((directory() / f"{dimension}.json").read_text())
        database.executemany(
            "INSERT INTO counts VALUES (?, ?, ?)",
            [(dimension, value, count) for value, count in counts.items()],
        )
totals = dict(database.execute("SELECT dimension, sum(accounts) FROM counts GROUP BY dimension"))
rows = database.execute("SELECT count(*) FROM counts").fetchone()[0]
database.close()
if totals["shell"] != totals["kind"]:
    raise SystemExit(f"the two counts disagree: {totals}")
print(f"{rows} rows loaded, {totals['kind']} accounts in each dimension")
shutil.rmtree(directory())
