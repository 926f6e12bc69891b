"""A client of the principal that shares no code with cdktr: a plain REQ socket of pyzmq. Prints one JSON object."""

import json
import random
import sys

import zmq

SEP = b"\x01"
context = zmq.Context()


class Client:
    """One REQ socket; a request without a reply in time makes a new one, as REQ demands."""

    def __init__(self, port: str, patience_ms: int = 15_000):
        self.address = f"tcp://127.0.0.1:{port}"
        self.patience_ms = patience_ms
        self.socket = None

    def send(self, frames):
        if self.socket is None:
            self.socket = context.socket(zmq.REQ)
            self.socket.linger = 0
            self.socket.rcvtimeo = self.patience_ms
            self.socket.connect(self.address)
        self.socket.send_multipart(frames)
        try:
            return self.socket.recv_multipart()
        except zmq.Again:
            self.socket.close()
            self.socket = None
            return None

    def ask(self, *fields):
        reply = self.send([SEP.join(f.encode() for f in fields)])
        if reply is None:
            return ["NO REPLY", ""]
        kind, _, payload = reply[0].partition(SEP)
        return [kind.decode(), payload.decode()] if len(reply) == 1 else ["FRAMES", str(len(reply))]


def malformed(count: int, seed: int, run: str, agent: str):
    """Frames that no principal may accept. The random ones are reproducible by their seed."""
    rng = random.Random(seed)
    junk = lambda n: bytes(rng.randrange(256) for _ in range(n))  # noqa: E731
    word = lambda: "".join(rng.choice("abcdefghijklmnop") for _ in range(rng.randrange(1, 12))).encode()  # noqa: E731
    known = [
        b"PING", b"LSWORKFLOWS", b"RUNTASK", b"REGISTERAGENT", b"FETCHWORKFLOW", b"AGENTWORKFLOWSTATUS",
        b"AGENTTASKSTATUS", b"QUERYLOGS", b"GETRECENTSTATUSES", b"GETREGISTEREDAGENTS",
    ]
    json_verbs = [
        b"GETWORKFLOW", b"GETRUN", b"WAITRUN", b"CANCELRUN", b"RETRYRUN", b"DRAINAGENT", b"AGENTHEARTBEAT",
        b"AGENTREPORT", b"QUERYDB", b"READFILE", b"DROPFILES",
    ]
    run, agent = run.encode(), agent.encode()
    makers = {
        "random bytes": lambda: [b"\xff" + junk(rng.randrange(1, 300))],
        "random text": lambda: [b"~" + word() + SEP + word()],
        "wrong verb": lambda: [rng.choice([v.lower() for v in known] + [v + b"S" for v in known] + [b" " + v for v in known])],
        "not UTF-8 in a field": lambda: [b"RUNTASK" + SEP + b"\xc3\x28" + junk(8)],
        "truncated fields": lambda: [
            rng.choice(
                [
                    b"RUNTASK", b"RUNTASK" + SEP, b"REGISTERAGENT", b"REGISTERAGENT" + SEP, b"FETCHWORKFLOW",
                    b"FETCHWORKFLOW" + SEP, b"AGENTWORKFLOWSTATUS", b"AGENTWORKFLOWSTATUS" + SEP + agent,
                    SEP.join([b"AGENTWORKFLOWSTATUS", agent, b"gated", run]),
                    b"AGENTTASKSTATUS", SEP.join([b"AGENTTASKSTATUS", agent, b"t", b"i"]),
                    SEP.join([b"AGENTTASKSTATUS", agent, b"t", b"i", run]),
                ]
            )
        ],
        "wrong values": lambda: [
            rng.choice(
                [
                    SEP.join([b"RUNTASK", b"no.such." + word()]),
                    SEP.join([b"RUNTASK", b"gated", b"{" + word()]),
                    SEP.join([b"RUNTASK", b"gated", b'{"params": {"' + word() + b'": "x"}}']),
                    SEP.join([b"RUNTASK", b"gated", b'{"params": ' + str(rng.random()).encode() + b"}"]),
                    SEP.join([b"RUNTASK", b"gated", b'{"trigger": "' + word() + b' "}']),
                    SEP.join([b"AGENTWORKFLOWSTATUS", agent, b"gated", run, word()]),
                    SEP.join([b"AGENTTASKSTATUS", agent, b"t", b"i", run, word()]),
                    SEP.join([b"QUERYLOGS", word(), b"", b"", b"", b""]),
                    SEP.join([b"QUERYLOGS", b"", b"1e999" + word(), b"", b"", b""]),
                ]
            )
        ],
        "broken JSON": lambda: [rng.choice(json_verbs) + SEP + rng.choice([b"", b"{", b"[]", b"null", b"7", b'{"' + word(), b"\x00", b"[" * 5000])],
        "wrong JSON": lambda: [rng.choice(json_verbs) + SEP + json.dumps({word().decode(): rng.random(), "workflow_instance_id": rng.choice([7, None, [], {}]), "agent_id": 7, "sql": 7, "transfer_id": 7, "workflow_id": 7}).encode()],
        "empty frame": lambda: [b""],
        "only separators": lambda: [SEP * rng.randrange(1, 50)],
        "several frames": lambda: [b"PING"] + [rng.choice([b"", b"PING", junk(20)]) for _ in range(rng.randrange(1, 4))],
        "long frame": lambda: [b"X" * rng.randrange(100_000, 400_000)],
    }
    names = list(makers)
    huge = 10
    for _ in range(huge):
        yield "over 16 MiB", [rng.choice([b"PING" + SEP, b"RUNTASK" + SEP, b""]) + b"\x41" * (16 * 1024 * 1024 + rng.randrange(1, 1000))]
    for i in range(count - huge):
        name = names[i % len(names)]
        yield name, makers[name]()


def throw_malformed(port, count, seed, run, agent):
    client = Client(port)
    answers, wrong = {}, []
    for name, frames in malformed(int(count), int(seed), run, agent):
        reply = client.send(frames)
        kind = "NO REPLY" if reply is None else reply[0].partition(SEP)[0].decode(errors="replace")
        text = b"" if reply is None else reply[0].partition(SEP)[2]
        answers.setdefault(name, {}).setdefault(kind, 0)
        answers[name][kind] += 1
        if (kind != "CLIENTERROR" or len(text) == 0 or len(reply) != 1) and len(wrong) < 20:
            wrong.append([name, repr(frames[0][:200]), kind, text[:200].decode(errors="replace")])
    return {"sent": sum(sum(kinds.values()) for kinds in answers.values()), "answers": answers, "wrong": wrong}


if sys.argv[1] == "malformed":
    print(json.dumps(throw_malformed(*sys.argv[2:])))
else:
    # Requests as a JSON array of arrays of fields; the answers in the same order.
    client = Client(sys.argv[2])
    print(json.dumps([client.ask(*fields) for fields in json.loads(sys.argv[3])]))
