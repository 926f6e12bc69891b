"""What goes over the wires of a network namespace: argv has the TCP ports to listen to. A line of JSON on stdin, a list of texts,
is answered by a line: for each port and direction how many bytes were seen, and which of the texts are in them. `{"save": PORT,
"file": PATH}` writes what the first client that spoke to a port sent."""
import json, select, socket, struct, sys

ALL_PROTOCOLS, IP = 0x0003, 0x0800
ports = {int(port) for port in sys.argv[1:]}
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
# One direction of one connection: sequence number -> data. A segment is seen on each wire that it crosses.
flows = {}


def take(frame):
    if len(frame) < 34 or struct.unpack_from("!H", frame, 12)[0] != IP or frame[23] != socket.IPPROTO_TCP:
        return
    ip = 14
    tcp = ip + (frame[ip] & 15) * 4
    end = ip + struct.unpack_from("!H", frame, ip + 2)[0]
    source, target, number = struct.unpack_from("!HHI", frame, tcp)
    data = frame[tcp + (frame[tcp + 12] >> 4) * 4:end]
    if data and (source in ports or target in ports):
        flow = flows.setdefault((frame[ip + 12:ip + 16], source, frame[ip + 16:ip + 20], target), {})
        if len(data) > len(flow.get(number, b"")):
            flow[number] = data


def stream(segments):
    """The data of a direction in order, without what was sent again."""
    out, first, end = bytearray(), next(iter(segments)), 0
    for number, data in sorted(((number - first) % 2**32, data) for number, data in segments.items()):
        if number + len(data) > end:
            out += data[max(0, end - number):]
            end = number + len(data)
    return bytes(out)


def drain():
    while select.select([wire], [], [], 0)[0]:
        take(wire.recv(1 << 18))


def dropped():
    return struct.unpack("II", wire.getsockopt(263, 6, 8))[1]


print("ready", flush=True)
while True:
    ready = select.select([wire, sys.stdin], [], [])[0]
    drain()
    if sys.stdin not in ready:
        continue
    line = sys.stdin.readline()
    if not line:
        break
    asked = json.loads(line)
    if isinstance(asked, dict):
        client = next(flow for (_, _, _, target), flow in flows.items() if target == asked["save"])
        with open(asked["file"], "wb") as file:
            file.write(stream(client))
        print(json.dumps("saved"), flush=True)
        continue
    answer = []
    for port in sorted(ports):
        for direction, of in (("to", 3), ("from", 1)):
            texts = [stream(flow) for key, flow in flows.items() if key[of] == port]
            found = [text for text in asked if any(text.encode() in data for data in texts)]
            answer.append({"port": port, "direction": direction, "bytes": sum(map(len, texts)), "found": found})
    lost = dropped()
    print(json.dumps({"lost": lost, "traffic": answer}), flush=True)
    flows.clear()
