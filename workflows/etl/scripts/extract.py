"""Reads the accounts of this host."""

import json
import pwd

from handover import directory

accounts = [
    {
        "name": entry.pw_name,
        "shell": entry.pw_shell or "(none)",
        "kind": "root" if entry.pw_uid == 0 else "system" if entry.pw_uid < 1000 else "person",
    }
    for entry in pwd.getpwall()
]
(directory() / "accounts.json").write_text(json.dumps(accounts))
print(f"{len(accounts)} accounts extracted")
