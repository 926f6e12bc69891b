import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { ownerOf } from "../../src/host/connection-owner.ts";
import { addressesOf } from "../../src/host/connections.ts";

/** Connects, reports that, and keeps the connection open. */
const CLIENT = `const [address, port] = process.argv.slice(-2);
require("node:net").connect(Number(port), address).write("here");`;

const NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];

const WAYS = { netlink: undefined, tables: () => "unavailable" as const };

test.skipIf(process.getuid?.() !== 0).each(
  (["netlink", "tables"] as const).flatMap((way) => [
    [way, "127.0.0.1", "127.0.0.1"] as const,
    [way, "::1", "::1"] as const,
    // An IPv4 client of an IPv6 socket.
    [way, "::", "127.0.0.1"] as const,
  ]),
)("by %s, of a connection to %s from %s, until the peer is gone", async (way, listen, connect) => {
  const { promise, resolve } = Promise.withResolvers<Socket>();
  const server = createServer((socket) => socket.once("data", () => resolve(socket)));
  await new Promise<void>((ready) => server.listen(0, listen, ready));
  const address = server.address();
  const port = address !== null && typeof address === "object" ? address.port : 0;
  const find = () => {
    const numbers = readdirSync("/proc/self/fd").map(Number);
    return numbers.find((descriptor) => addressesOf(descriptor)?.local.port === port) ?? -1;
  };
  const client = Bun.spawn([...NOBODY, process.execPath, "-e", CLIENT, connect, `${port}`], {
    stdin: "pipe",
    cwd: "/",
  });
  const socket = await promise;
  expect(ownerOf(find(), WAYS[way])).toBe(65534);
  expect(ownerOf(0, WAYS[way])).toBeUndefined();
  // Its socket is nobody's from then on, which the kernel shows as root's.
  const ended = new Promise((done) => socket.once("end", done));
  socket.pause();
  client.kill("SIGKILL");
  await client.exited;
  expect(ownerOf(find(), WAYS[way])).toBeUndefined();
  socket.resume();
  await ended;
  socket.destroy();
  server.close();
});
