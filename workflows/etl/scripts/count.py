"""Counts the accounts by one of their columns."""

import json
import sys
from collections import Counter

from handover import directory

column = sys.argv[1]
accounts = json.loads((directory() / "accounts.json").read_text())
counts = Counter(account[column] for account in accounts)
(directory() / f"{column}.json").write_text(json.dumps(counts))
for value, count in counts.most_common():
    print(f"{count:5}  {value}")
