"""Ships every log line somewhere else as it is printed: here as JSON to stdout, one object per line.

    python ship_logs.py | some-log-shipper
"""

import json
import sys
from dataclasses import asdict

from cdktr import Principal

workflow_id = sys.argv[1] if len(sys.argv) > 1 else None
with Principal.from_environment().tail_logs(workflow_id) as lines:
    print("subscribed", file=sys.stderr, flush=True)
    for line in lines:
        print(json.dumps(asdict(line)), flush=True)
