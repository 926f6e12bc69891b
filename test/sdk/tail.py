"""Follows the log of a workflow; prints the columns of a line as JSON, then payloads, until its stdin ends."""

import json
import sys
import threading
from dataclasses import fields

from cdktr import LogLine, Principal

tail = Principal("127.0.0.1", int(sys.argv[1]), timeout=10).tail_logs("etl.daily")
threading.Thread(target=lambda: (sys.stdin.read(), tail.close()), daemon=True).start()
print(json.dumps([field.name for field in fields(LogLine)]), flush=True)
for line in tail:
    print(line.payload, flush=True)
