/**
 * Records what an executable says to its principal and what that answers, one of each kind, as JSON lines:
 *
 *     CDKTR_TEST_BINARY=/path/to/cdktr bun test/upgrade/record-wire.ts test/upgrade/protocol-2/wire.jsonl
 *
 * Under `unshare --uts`, with another host name, if that of this machine is nobody's business. Run it with each release that says
 * something new, into a file of its own; what is there already stays as it is.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { decodeReply, SEPARATOR } from "../../src/contract/wire.ts";
import { Dealer, Router } from "../../src/zmq/index.ts";
import { shellWorkflow, until } from "../e2e/support/fixtures.ts";
import { CdktrProcess, type Finished, startCluster } from "../support/cdktr.ts";
import { SHARED } from "./support.ts";

/** A request and its reply. */
export interface Exchange {
  readonly verb: string;
  readonly fields: readonly string[];
  readonly kind: string;
  readonly payload: string;
}

/** Longer texts are cut: what counts is what kind they are of. */
const LONGEST_TEXT = 300;
const LONGEST_LIST = 12;

const [target = "wire.jsonl"] = process.argv.slice(2);
await using cluster = await startCluster({
  workflows: {
    "good.yml": shellWorkflow({ one: { sh: "echo one" }, two: { sh: "echo two", depends: ["one"] } }),
    "bad.yml": shellWorkflow({ only: { sh: "exit 3" } }),
    "slow.yml": shellWorkflow({ wait: { sh: "sleep 60" } }, 'cron: "0 0 0 1 1 *"\n'),
    "shared.yml": SHARED,
    "broken.yml": "name: broken\n",
  },
  env: { CDKTR_AGENT_HEARTBEAT_INTERVAL_MS: "500" },
});

const front = new Router();
await front.bind("tcp://127.0.0.1:*");
const back = new Dealer();
back.connect(`tcp://127.0.0.1:${cluster.ports.api}`);
const asked = new Map<string, string>();
const exchanges = new Map<string, Exchange>();
const forward = async () => {
  for await (const parts of front) {
    asked.set(envelopeOf(parts), parts.at(-1)?.toString() ?? "");
    await back.send(parts);
  }
};
const answer = async () => {
  for await (const parts of back) {
    const [verb = "", ...fields] = (asked.get(envelopeOf(parts)) ?? "").split(SEPARATOR);
    const { kind, payload } = decodeReply(parts.at(-1) ?? new Uint8Array());
    const exchange = { verb, fields: fields.map(shortened), kind, payload: shortened(payload) };
    const shape = JSON.stringify([verb, fields.map(shapeOf), kind, shapeOf(payload)]);
    if (!exchanges.has(shape)) exchanges.set(shape, exchange);
    await front.send(parts);
  }
};
const proxying = Promise.all([forward(), answer()]);

const env = { ...cluster.env, CDKTR_PRINCIPAL_PORT: String(front.lastEndpoint.split(":").at(-1)) };
const run = (...args: string[]): Promise<Finished> => cluster.cdktr(args, { env });
const agent = new CdktrProcess(["start", "agent", "--suffix", "agent-1", "--label", "zone=b"], { env });
await agent.waitFor(/is registered/);
const listeners = new CdktrProcess(["start", "listeners", "--port", "0"], { env });
const good = JSON.parse(
  (await run("run", "good", "--wait", "--follow", "--json")).stdout.split("\n").at(-2) ?? "{}",
);
const bad = JSON.parse((await run("run", "bad", "--wait", "--json")).stdout);
const shared = JSON.parse((await run("run", "shared", "--wait", "--json")).stdout);
const slow = JSON.parse((await run("run", "slow", "--json")).stdout);
await until(
  "it runs",
  async () => (await cluster.client.getRun(slow.workflow_instance_id)).status === "RUNNING",
);
for (const command of [
  ["runs", "list", "--json"],
  ["runs", "list", "--status", "FAILED", "--workflow", "bad", "-n", "3"],
  ["runs", "show", bad.workflow_instance_id],
  ["runs", "show", slow.workflow_instance_id],
  ["runs", "show", shared.workflow_instance_id],
  ["runs", "show", "no-such-run"],
  ["runs", "retry", bad.workflow_instance_id],
  ["runs", "cancel", slow.workflow_instance_id],
  ["logs", "query", "--run", String(good.workflow_instance_id ?? "none")],
  ["logs", "query", "--workflow", "good", "--level", "INFO", "--last", "1h", "--grep", "o", "-n", "5"],
  ["workflow", "list"],
  ["workflow", "show", "good"],
  ["agents", "list"],
  ["db", "query", "SELECT count(*) AS n FROM logstore"],
  ["db", "export", join(cluster.directory, "export")],
  ["db", "backup", join(cluster.directory, "copy.db")],
  ["doctor"],
]) {
  await run(...command);
}
const ui = Bun.spawn(["timeout", "3", "script", "-qec", `${process.env.CDKTR_TEST_BINARY} ui`, "/dev/null"], {
  env: { ...process.env, ...env, TERM: "xterm-256color" },
  stdin: "pipe",
  stdout: "ignore",
});
await ui.exited;
await run("agents", "drain", JSON.parse((await run("agents", "list", "--json")).stdout)[0].agent_id);
await agent.finished;
await listeners.stop();
front.close();
back.close();
await proxying;
const lines = [...exchanges.values()].sort((a, b) => (a.verb < b.verb ? -1 : a.verb > b.verb ? 1 : 0));
writeFileSync(target, lines.map((exchange) => `${JSON.stringify(exchange)}\n`).join(""));
console.log(`${lines.length} exchanges, ${new Set(lines.map(({ verb }) => verb)).size} verbs`);

function envelopeOf(parts: readonly Uint8Array[]): string {
  return parts
    .slice(0, -1)
    .map((part) => Buffer.from(part).toString("hex"))
    .join(" ");
}

/** What distinguishes one kind of text from another: names and types, and few elements of a list. */
function shapeOf(text: string): unknown {
  const json = parsed(text);
  return json === undefined ? typeof text : shape(json);
}

function shape(value: unknown): unknown {
  if (Array.isArray(value))
    return [...new Set(value.map((one) => JSON.stringify(shape(one))))].sort().slice(0, 3);
  if (value === null || typeof value !== "object") return value === null ? "null" : typeof value;
  return Object.fromEntries(
    Object.entries(value)
      .map(([name, one]) => [name, shape(one)])
      .sort(),
  );
}

function shortened(text: string): string {
  const json = parsed(text);
  return json === undefined || typeof json !== "object" ? text : JSON.stringify(short(json));
}

function short(value: unknown): unknown {
  if (Array.isArray(value)) return value.slice(0, LONGEST_LIST).map(short);
  if (typeof value === "string") {
    const path = value.replaceAll(cluster.directory, "/srv/cdktr");
    return path.length > LONGEST_TEXT ? path.slice(0, LONGEST_TEXT) : path;
  }
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, short(one)]));
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
