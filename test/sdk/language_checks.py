"""What the Python client does with fan-outs, outputs, delayed starts, approvals and values of every kind; prints one JSON object."""

import json
import os
import sys
import time
from datetime import datetime, timedelta, timezone

from cdktr import CdktrError, Principal

port, hostile, target = int(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
out = {}
principal = Principal(host="localhost", port=port, timeout=10)

run = principal.run_workflow("fan", params={"names": ["a", "b", "c"], "full": True, "day": "2026-02-28"})
finished = principal.wait(run)
out["finished"] = [finished.success, finished.payload["params"]]
out["outputs"] = principal.outputs(run).unwrap()
out["items"] = [
    [item["item_key"], item["item_index"], item["status"], item.get("outputs")]
    for item in principal.items(run, "each", outputs=True)
]
out["failed items"] = [item["item_key"] for item in principal.items(run, "each", status="FAILED")]
out["wrong"] = principal.run_workflow("fan", params={"names": "{", "day": "2026-02-30"}).error
try:
    list(principal.items("nothing", "each"))
except CdktrError as error:
    out["no items"] = str(error)

for name, wait in (("in", {"start_in": timedelta(hours=2)}), ("at", {"start_at": datetime.now(timezone.utc) + timedelta(hours=2)})):
    later = principal.run_workflow("fan", **wait)
    known = principal.get_run(later).unwrap()
    out[name] = [known["status"], round((known["start_at_ms"] - known["created_at_ms"]) / 600_000)]
    out[name].append(principal.cancel(later).unwrap()["status"])

failed = principal.run_workflow("fan", params={"full": False})
out["fails"] = principal.wait(failed).success
again = principal.retry(failed)
principal.wait(again)
out["retry"] = [principal.get_run(again).unwrap()["retry_of"] == failed.payload["workflow_instance_id"]]
chosen = principal.retry(failed, tasks=["each[y]"], params={"full": True})
out["retry"].append(principal.wait(chosen).payload["status"])

echo = principal.run_workflow("echo", params={f"v{i}": value for i, value in enumerate(hostile)})
principal.wait(echo)
values = principal.outputs(echo).unwrap()["tasks"]["show"]["values"]
out["hostile"] = [values[f"v{i}"] == value for i, value in enumerate(hostile)]

leave = principal.run_workflow("leave")
principal.wait(leave)
left = principal.download_artifacts(leave, target).unwrap()
out["left"] = sorted(os.path.relpath(path, target) for path in left)
with open(os.path.join(target, "each/a%20b%2F%C3%BC/deep/name"), encoding="utf-8") as file:
    out["left as they are"] = [file.read(), os.path.getsize(os.path.join(target, "big/zeros"))]
out["left twice"] = principal.download_artifacts(leave, target, "big").success

ask = principal.run_workflow("ask")
out["asked"] = [[one["workflow_id"], one["task_id"], one["message"]] for one in principal.approvals(ask).unwrap()]
out["wrong answer"] = principal.approve(ask, params={"share": 101}).success
why = "".join(hostile)
out["answered"] = principal.approve(ask, "go", params={"share": 20, "why": why}, note="ok").unwrap()["status"]
principal.wait(ask)
form = principal.outputs(ask).unwrap()["tasks"]["go"]
out["form"] = {name: form[name] for name in ("share", "note")}
out["form as it is"] = form["why"] == why
other = principal.run_workflow("ask")
out["rejected"] = [principal.reject(other, note="no").unwrap()["status"], principal.wait(other).payload["status"]]

while principal.alert_queries().unwrap()[0]["raised"] == 0:
    time.sleep(0.1)
out["alerts"] = [
    [alert["subject"] for alert in principal.alerts(kind="query").unwrap()],
    principal.alerts("dead").unwrap(),
]
rows = principal.audit(action="run.*", subject="leave", since=0, limit=1).unwrap()
out["audit"] = [[row["action"], row["subject"], row["outcome"]] for row in rows]

print(json.dumps(out))
