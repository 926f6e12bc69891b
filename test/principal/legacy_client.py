"""A client in another language, with a plain REQ socket: the verbs of existing clients, then malformed messages."""

import json
import random
import sys
import time

import zmq

port, seed = sys.argv[1], int(sys.argv[2])
context = zmq.Context()


def connect():
    socket = context.socket(zmq.REQ)
    socket.linger = 0
    socket.rcvtimeo = 30000
    socket.connect(f"tcp://127.0.0.1:{port}")
    return socket


socket = connect()


def ask(*fields):
    socket.send("\x01".join(fields).encode())
    kind, _, payload = socket.recv().decode().partition("\x01")
    return [kind, payload]


def ask_json(*fields):
    kind, payload = ask(*fields)
    return [kind, json.loads(payload)]


out = {}
out["ping"] = ask("PING")
out["workflows"] = ask_json("LSWORKFLOWS")
out["unknown"] = ask("RUNTASK", "helo")
out["run"] = ask_json("RUNTASK", "hello", json.dumps({"trigger": "api", "dedupe_key": "from python"}))
out["again"] = ask_json("RUNTASK", "hello", json.dumps({"trigger": "api", "dedupe_key": "from python"}))
out["plain"] = ask_json("RUNTASK", "hello")
out["register"] = ask("REGISTERAGENT", "py-agent")
out["fetched"] = ask_json("FETCHWORKFLOW", "py-agent")
run = out["fetched"][1]["workflow_instance_id"]
out["running"] = ask("AGENTWORKFLOWSTATUS", "py-agent", "hello", run, "RUNNING")
out["task"] = [
    ask("AGENTTASKSTATUS", "py-agent", "only", "task-run-1", run, "RUNNING"),
    ask("AGENTTASKSTATUS", "py-agent", "only", "task-run-1", run, "COMPLETED"),
]
out["agents"] = ask_json("GETREGISTEREDAGENTS")
out["now_us"] = time.time() * 1e6
out["completed"] = ask("AGENTWORKFLOWSTATUS", "py-agent", "hello", run, "COMPLETED")
out["late"] = ask("AGENTWORKFLOWSTATUS", "py-agent", "hello", run, "RUNNING")
out["second"] = ask_json("FETCHWORKFLOW", "py-agent", json.dumps({"wait_ms": 10}))
out["none"] = ask("FETCHWORKFLOW", "py-agent")
out["none_waiting"] = ask("FETCHWORKFLOW", "py-agent", json.dumps({"wait_ms": 20}))
out["statuses"] = ask_json("GETRECENTSTATUSES")
out["logs"] = ask_json("QUERYLOGS", "", "", "", "", "")
out["logs_bounded"] = ask_json("QUERYLOGS", "2000000000000", "0", "hello", run, "true")

# 2,000 malformed messages, each of which must get a CLIENTERROR.
dice = random.Random(seed)
verbs = ["RUNTASK", "REGISTERAGENT", "AGENTWORKFLOWSTATUS", "AGENTTASKSTATUS", "GETRUN", "AGENTREPORT", "READFILE"]


def malformed():
    kind = dice.randrange(8)
    if kind == 0:
        return [b"\xff" + dice.randbytes(dice.randrange(200))]
    if kind == 1:
        return [b""]
    if kind == 2:
        return [dice.choice(verbs).encode()]
    if kind == 3:
        return [dice.choice(verbs).lower().encode() + b"\x01" + b"x" * dice.randrange(100)]
    if kind == 4:
        return [b"AGENTTASKSTATUS\x01" + b"\x01".join(b"f" for _ in range(dice.randrange(4)))]
    if kind == 5:
        return [b"RUNTASK\x01hello\x01" + dice.randbytes(dice.randrange(1, 50)).hex().encode() + b"{"]
    if kind == 6:
        return [b"PING", b"PING"]
    return [b"AGENTREPORT\x01" + json.dumps({"agent_id": "a", "reports": [{"kind": "run", "seq": -1}]}).encode()]


kinds = {}
for _ in range(2000):
    socket.send_multipart(malformed())
    kind = socket.recv().split(b"\x01")[0].decode()
    kinds[kind] = kinds.get(kind, 0) + 1
socket.send(b"x" * (17 * 1024 * 1024))
out["huge"] = socket.recv().decode()
out["malformed"] = kinds
out["alive"] = ask("PING")
print(json.dumps(out))
