/** Recorded messages between agents and principals of released versions must remain understood in both directions. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  decodeReply,
  encodeFields,
  encodeReply,
  type ReplyKind,
  SEPARATOR,
} from "../../src/contract/wire.ts";
import { PrincipalClient, VerbUnknownError } from "../../src/protocol/client.ts";
import { Dealer, Router } from "../../src/zmq/index.ts";
import { shellWorkflow } from "../e2e/support/fixtures.ts";
import { type Cluster, startCluster } from "../support/cdktr.ts";
import type { Exchange } from "./record-wire.ts";
import { SHARED } from "./support.ts";

const VERSIONS = ["v0.1", "protocol-2"];

const recorded = (version: string): Exchange[] =>
  readFileSync(join(import.meta.dir, version, "wire.jsonl"), "utf8")
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));

describe.each(VERSIONS)("requests of %s", (version) => {
  let cluster: Cluster;
  beforeAll(async () => {
    const tasks = { a: { sh: "echo a" } };
    cluster = await startCluster({
      workflows: {
        "good.yml": shellWorkflow(tasks),
        "bad.yml": shellWorkflow(tasks),
        "slow.yml": shellWorkflow(tasks),
        "shared.yml": SHARED,
      },
    });
  });
  afterAll(() => cluster.stop());

  test("are answered as they were", async () => {
    const exchanges = recorded(version);
    const answers: string[] = [];
    const dealer = new Dealer({ linger: 0 });
    dealer.connect(`tcp://127.0.0.1:${cluster.ports.api}`);
    const ask = async ({ verb, fields }: Exchange) => {
      // Nobody waits here.
      const now = fields.map((field) => field.replace(/"wait_ms":\d+/, '"wait_ms":0'));
      await dealer.send(["", encodeFields([verb, ...now])]);
      const reply = (await dealer.receive()).at(-1);
      return decodeReply(reply ?? new Uint8Array());
    };
    // Registered first, as then.
    const first = (exchange: Exchange) => (exchange.verb === "REGISTERAGENT" ? 0 : 1);
    for (const exchange of exchanges.toSorted((a, b) => first(a) - first(b))) {
      const { kind, payload } = await ask(exchange);
      // What it speaks of is not here, or it was not here then either: what counts is that it is understood.
      const isAbsent =
        kind === "CLIENTERROR" && /^(There is no run|These files no longer exist)/.test(payload);
      const wasRefused = ["CLIENTERROR", "UNPROC"].includes(exchange.kind);
      const isRefused = kind === "UNPROC" || isAbsent;
      if (kind === exchange.kind || isRefused || (wasRefused && kind === "SUCCESS")) continue;
      // A request for work may or may not find some.
      if (exchange.verb === "FETCHWORKFLOW" && ["OK", "SUCCESS"].includes(kind)) continue;
      answers.push(
        `${exchange.verb} ${exchange.fields.join(" ")} was ${exchange.kind}, is ${kind} ${payload}`,
      );
    }
    dealer.close();
    expect(answers).toEqual([]);
  });
});

describe.each(VERSIONS)("replies of %s", (version) => {
  const exchanges = recorded(version).filter(({ kind }) => kind === "OK" || kind === "SUCCESS");
  const router = new Router();
  let client: PrincipalClient;
  let present: Exchange | undefined;
  let serving: Promise<void>;

  beforeAll(async () => {
    await router.bind("tcp://127.0.0.1:*");
    client = new PrincipalClient({
      host: "127.0.0.1",
      port: Number(router.lastEndpoint.split(":").at(-1)),
      timeoutMs: 5000,
    });
    serving = (async () => {
      for await (const parts of router) {
        const [verb] = (parts.at(-1)?.toString() ?? "").split(SEPARATOR);
        const reply =
          present !== undefined && present.verb === verb
            ? encodeReply(present.kind as ReplyKind, present.payload || undefined)
            : encodeReply("CLIENTERROR", `There is no verb "${verb}". Did you mean PING?`);
        await router.send([...parts.slice(0, -1), reply]);
      }
    })();
  });
  afterAll(async () => {
    await client.close();
    router.close();
    await serving;
  });

  const run = "a-run";
  const agent = { agent_id: "a", session_id: "s", running: [], running_tasks: 0, wait_ms: 0 };
  const calls: Readonly<Record<string, () => Promise<unknown>>> = {
    AGENTHEARTBEAT: () => client.call("AGENTHEARTBEAT", agent),
    AGENTREPORT: () => client.call("AGENTREPORT", { ...agent, stream_id: "t", reports: [] }),
    BACKUPDB: () => client.call("BACKUPDB", {}),
    CANCELRUN: () => client.cancelRun(run),
    DRAINAGENT: () => client.drainAgent("a"),
    DROPFILES: () => client.call("DROPFILES", { transfer_id: "t" }),
    EXPORTDB: () => client.call("EXPORTDB", {}),
    FETCHWORKFLOW: () => client.fetchWorkflow("a", { wait_ms: 0, fetch_id: "f" }),
    GETREGISTEREDAGENTS: () => client.registeredAgents(),
    GETRUN: () => client.getRun(run),
    GETWORKFLOW: () => client.getWorkflow("w"),
    ISSUBSCRIBED: () => client.call("ISSUBSCRIBED", { probe: `~${"p".repeat(16)}` }),
    LSEVENTS: () => client.call("LSEVENTS", {}),
    LSRUNS: () => client.listRuns({}),
    LSWORKFLOWS: () => client.listWorkflows(),
    PRINCIPALINFO: () => client.info(),
    QUERYDB: () => client.queryDatabase({ sql: "" }),
    READFILE: () => client.call("READFILE", { transfer_id: "t", name: "n", offset: 0 }),
    REGISTERAGENT: () =>
      client.registerAgent("a", {
        ...agent,
        stream_id: "t",
        host: "h",
        pid: 1,
        version: "0",
        max_concurrent_workflows: 1,
      }),
    RETRYRUN: () => client.retryRun({ workflow_instance_id: run, dedupe_key: "k" }),
    RUNTASK: () => client.runTask("w", { dedupe_key: "k" }),
    SEARCHLOGS: () => client.searchLogs({}),
    WAITRUN: () => client.waitRun(run, 0),
    WATCHWORKFLOWS: () => client.watchWorkflows({ wait_ms: 0 }),
  };

  test.each(exchanges.map((exchange, n) => [`${n} ${exchange.verb}`, exchange] as const))(
    "%s",
    async (_, exchange) => {
      present = exchange;
      const call = calls[exchange.verb];
      if (call === undefined) throw new Error(`this test does not know how a client says ${exchange.verb}`);
      const understood = await call();
      // What the reply says is what the caller gets, with what has been added since.
      if (understood === undefined || exchange.payload === "") return;
      const said = JSON.parse(exchange.payload);
      if (exchange.verb === "WATCHWORKFLOWS") expect(understood).toBe(said.revision);
      else expect(understood).toMatchObject(said);
    },
  );

  test("that does not know a verb: a specific error that names both sides", async () => {
    present = undefined;
    const refusal = await client.call("LSEVENTS", {}).catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(VerbUnknownError);
    expect(String(refusal)).toMatch(/does not know LSEVENTS: it is older than this cdktr \(\d/);
  });
});
