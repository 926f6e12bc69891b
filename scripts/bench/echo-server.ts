/** A REP socket that answers whatever comes: the other end of the raw round trip. Prints its port. */
import { Reply } from "../../src/zmq/index.ts";

const socket = new Reply();
await socket.bind("tcp://127.0.0.1:*");
console.log(socket.lastEndpoint);
for await (const message of socket) await socket.send(message);
