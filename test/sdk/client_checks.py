"""What the Python client does against a real principal; prints one JSON object."""

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from cdktr import CdktrError, EventListener, Principal

port = int(sys.argv[1])
out = {}
principal = Principal(host="localhost", port=port, timeout=5)


class Doorbell(EventListener):
    # As a subclass without super().__init__().
    def __init__(self):
        self.principal = principal

    def start_listening(self):
        return self.run_workflow("hello", params={"who": "the bell"}, dedupe_key="ring-1")


out["ping"] = principal.ping().success
out["workflows"] = sorted(principal.list_workflows().unwrap())
out["agents"] = [agent["status"] for agent in principal.get_registered_agents().unwrap()]

# Subscribed when it is made: nothing of a run that is triggered afterwards is missed.
with principal.tail_logs("hello", idle_timeout=20) as tail:
    run = principal.run_workflow("hello", params={"who": "Ada"})
    out["triggered"] = [run.success, run.error]
    line = next(tail)
    out["line"] = [line.workflow_id, line.workflow_instance_id == run.payload["workflow_instance_id"], line.level, line.payload]
    closer = threading.Timer(0.1, tail.close)
    closer.start()
    out["after close"] = [line.payload for line in tail]

finished = principal.wait(run)
out["finished"] = [finished.success, finished.payload["status"], finished.payload["trigger"]]
out["lines"] = [
    line.split(" ")[-2:]
    for line in principal.query_logs(workflow_id="hello", workflow_instance_id=run.payload["workflow_instance_id"]).unwrap()
]
statuses = principal.get_recent_workflow_statuses().unwrap()
out["statuses"] = [[row["workflow_id"], row["status"]] for row in statuses]

failed = principal.wait(principal.run_workflow("fails"))
out["failed"] = [failed.success, failed.payload["status"], "FAILED" in failed.error]

slow = principal.run_workflow("slow")
waited = principal.wait(slow, timeout=0.2)
out["timeout"] = [waited.success, "still" in waited.error]

rings = [Doorbell().start_listening() for _ in range(3)]
out["rings"] = len({ring.payload["workflow_instance_id"] for ring in rings})
out["ring trigger"] = principal.get_run(rings[0]).unwrap()["trigger"]
out["ring params"] = principal.get_run(rings[0]).unwrap()["params"]

unknown = principal.run_workflow("helo")
out["unknown"] = [unknown.success, bool(unknown), unknown.payload, unknown.error]
out["wait for nothing"] = principal.wait(unknown).error
try:
    unknown.unwrap()
except CdktrError as error:
    out["unwrap"] = str(error)

# One object, many threads: every answer belongs to its question.
def ask(i):
    made = principal.run_workflow("hello", params={"who": f"thread {i}"}, dedupe_key=f"thread-{i}").unwrap()
    return principal.get_run(made["workflow_instance_id"]).unwrap()["params"]["who"] == f"thread {i}"


with ThreadPoolExecutor(16) as pool:
    out["threads"] = sum(pool.map(ask, range(200)))

print(json.dumps(out))
