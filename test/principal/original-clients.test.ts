/** Clients and the principal of the original implementation of cdktr, which is in Rust. */
import { expect, test } from "bun:test";
import { type AddressInfo, connect, createServer } from "node:net";
import { OriginalPrincipalError, PrincipalClient } from "../../src/protocol/client.ts";
import { Router } from "../../src/zmq/index.ts";
import { command, frame, greeting } from "../hostile/raw-peer.ts";
import { cdktr } from "../support/cdktr.ts";
import { TemporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";
import { failure, TestPrincipal } from "./support.ts";

const MORE = 1;
/** The property `Socket-Type: REQ`, and no Identity: what its ZeroMQ library says of itself. */
const REQ = Buffer.from("\x0bSocket-Type\0\0\0\x03REQ", "latin1");

/** One request on a connection of its own, as the original's clients make it. */
async function ask(port: number, ...fields: string[]): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  const request = Buffer.concat([frame(Buffer.alloc(0), MORE), frame(Buffer.from(fields.join("\x01")))]);
  try {
    socket.write(greeting("NULL", { version: [3, 0] }));
    socket.write(command("READY", REQ));
    let text = "";
    let isReady = false;
    for await (const chunk of socket) {
      text += (chunk as Buffer).toString("latin1");
      if (!isReady && text.includes("READY")) {
        isReady = true;
        socket.write(request);
      }
      const reply = /(PONG|OK|SUCCESS|UNPROC|CLIENTERROR)(\x01.*)?$/s.exec(text);
      if (reply !== null) return reply[0];
    }
    return "";
  } finally {
    socket.destroy();
  }
}

test("its agents are refused with a message on both sides, until they give options; its clients are served", async () => {
  await using cluster = await new TestPrincipal({
    workflows: {
      "two.yml":
        "name: Two\ntasks:\n  a: { name: A, config: !Subprocess { cmd: echo, args: [hi] } }\n" +
        '  b: { name: B, depends: ["a"], config: !UvPython { script_path: b.py } }\n',
    },
  }).start();
  const { api } = cluster.ports;
  expect(await ask(api, "PING")).toBe("PONG");
  for (const verb of ["REGISTERAGENT", "FETCHWORKFLOW"])
    expect(await ask(api, verb, "brave-red-fox")).toStartWith(
      "UNPROC\x01This principal is not of the original",
    );
  await cluster.book.waitFor(/agent "brave-red-fox" of the original implementation .* is refused/);
  expect(await cluster.client().registeredAgents()).toEqual([]);
  expect(await ask(api, "FETCHWORKFLOW", "other-library", "{}")).toBe("OK");

  expect(await ask(api, "QUERYLOGS", "", "", "", "", "v")).toBe("SUCCESS\x01[]");
  const [, json = ""] = (await ask(api, "LSWORKFLOWS")).split("\x01");
  expect(JSON.parse(json).two).toMatchObject({
    name: "Two",
    dag: {
      name: "Two",
      task_id_node_ix_map: { a: 0, b: 1 },
      task_map: {
        a: {
          name: "A",
          description: null,
          depends: [],
          config: { Subprocess: { cmd: "echo", args: ["hi"] } },
        },
        b: { depends: ["a"], config: { Subprocess: { cmd: "uv", args: ["run", "b.py"] } } },
      },
      inner: { nodes: ["a", "b"], node_holes: [], edge_property: "directed", edges: [[0, 1, 0]] },
      first_tasks: ["a"],
    },
  });
  expect((await cluster.client().listWorkflows()).two?.dag).toBeUndefined();
});

/** A TCP proxy that counts the bytes from each side. */
async function counting(target: number): Promise<{ port: number; bytes: () => number[]; close: () => void }> {
  const counts = [0, 0];
  const network = createServer((client) => {
    const server = connect(target, "127.0.0.1");
    for (const [side, socket] of [client, server].entries()) {
      socket.on("error", () => {});
      socket.on("data", (bytes) => {
        counts[side] = (counts[side] ?? 0) + bytes.length;
      });
    }
    client.pipe(server).pipe(client);
  });
  await new Promise<void>((ready) => network.listen(0, "127.0.0.1", ready));
  const { port } = network.address() as AddressInfo;
  return { port, bytes: () => [...counts], close: () => network.close() };
}

test("an idle connection carries no ZMTP heartbeats from either side, longer than they used to take", async () => {
  await using cluster = await new TestPrincipal().start();
  const network = await counting(cluster.ports.api);
  const client = new PrincipalClient({ host: "127.0.0.1", port: network.port, timeoutMs: 10_000 });
  await client.ping();
  const before = network.bytes();
  const since = performance.now();
  // Clients sent one after 5 s, the principal after 10 s.
  await until("the time of a heartbeat has passed", () => performance.now() - since > 10_500);
  expect(network.bytes()).toEqual(before);
  await client.ping();
  await client.close();
  network.close();
}, 30_000);

test("its principal is recognized, and left", async () => {
  using directory = new TemporaryDirectory();
  const router = new Router({ linger: 0 });
  await router.bind("tcp://127.0.0.1:*");
  const port = Number(/\d+$/.exec(router.lastEndpoint)?.[0]);
  let left = 0;
  const asked: string[] = [];
  router.events.on("disconnected", () => left++);
  const serving = (async () => {
    for await (const message of router) {
      const [verb] = message.at(-1)?.toString().split("\x01") ?? [];
      asked.push(verb ?? "");
      const reply =
        verb === "PING" ? "PONG" : `CLIENTERROR\x01ParseError: Unrecognised message type: ${verb}`;
      await router.send([...message.slice(0, -1), reply]).catch(() => {});
    }
  })();
  const client = new PrincipalClient({ host: "127.0.0.1", port, timeoutMs: 10_000 });
  expect(await failure(client.listRuns({ limit: 1 }))).toBeInstanceOf(OriginalPrincipalError);
  expect(asked.splice(0)).toEqual(["PING", "LSRUNS"]);
  while (left === 0) await new Promise((turn) => setImmediate(turn));
  await client.close();

  const env = { CDKTR_PRINCIPAL_PORT: `${port}`, CDKTR_APP_DATA_DIRECTORY: directory.path("data") };
  for (const words of [
    ["runs", "list"],
    ["start", "agent"],
  ]) {
    const { code, stderr } = await cdktr(words, { env });
    expect(code).toBe(words[0] === "start" ? 1 : 4);
    expect(stderr).toContain("is one of the original implementation of cdktr (Rust)");
    expect(asked.splice(0).slice(0, 2)).toEqual(["PING", "PRINCIPALINFO"]);
  }
  router.close();
  await serving;
}, 30_000);
