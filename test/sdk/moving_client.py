"""A client of the principals in CDKTR_PRINCIPALS; the test kills one while it waits for a line."""

import sys

from cdktr import Principal

client = Principal.from_environment(timeout=20.0)
tail = client.tail_logs("hello", idle_timeout=30.0)
print(client.ping().success, client.port, flush=True)
sys.stdin.readline()
run = client.run_workflow("hello")
print(run.success, client.port)
result = client.wait(run)
print(result.success, result.payload and result.payload["status"])
run_id = run.payload["workflow_instance_id"]
print(next(line.payload for line in tail if line.workflow_instance_id == run_id))
tail.close()
