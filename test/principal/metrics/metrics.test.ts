import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Exposition, Histogram } from "../../../src/metrics/exposition.ts";
import { shellWorkflow } from "../../cli/support.ts";
import { gate, runOver, until } from "../../e2e/support/fixtures.ts";
import { type Cluster, freePorts, startCluster } from "../../support/cdktr.ts";
import { unpacked } from "../../support/debian.ts";
import { lockOf } from "../../support/file-lock.ts";
import { pythonWith } from "../../support/python.ts";

/** The parser of Prometheus's own client library; it throws on format errors. */
const PARSE = `
import json, sys
from prometheus_client.parser import text_string_to_metric_families
print(json.dumps([
  {"name": f.name, "type": f.type, "help": f.documentation,
   "samples": [[s.name, s.labels, s.value] for s in f.samples]}
  for f in text_string_to_metric_families(sys.stdin.read())]))
`;

interface Family {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  readonly samples: readonly [string, Record<string, string>, number][];
}

async function parsed(text: string): Promise<Family[]> {
  const python = await pythonWith(["prometheus_client==0.22.1"]);
  const child = Bun.spawn([python, "-c", PARSE], {
    stdin: Buffer.from(text),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err, status] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (status !== 0) throw new Error(err);
  return JSON.parse(out) as Family[];
}

/** What the tool of Prometheus itself has against a page; "" when there is nothing. */
async function lint(text: string): Promise<string> {
  const promtool = join(await unpacked(["prometheus"]), "usr/bin/promtool");
  const child = Bun.spawn([promtool, "check", "metrics"], {
    stdin: Buffer.from(text),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err, status] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return status === 0 ? `${out}${err}` : `status ${status}: ${out}${err}`;
}

function value(
  families: readonly Family[],
  sample: string,
  labels: Record<string, string> = {},
): number | undefined {
  for (const family of families) {
    for (const [name, has, number] of family.samples) {
      if (name === sample && Bun.deepEquals(has, labels)) return number;
    }
  }
  return undefined;
}

describe("the format", () => {
  test("survives labels and help with everything that must be escaped", async () => {
    const page = new Exposition();
    page.gauge("odd", 'a "help"\nwith \\ two lines', [[{ label: 'a"b\\c\nd,{}' }, 1.5]]);
    const families = await parsed(page.toString());
    expect(families).toHaveLength(1);
    expect(value(families, "odd", { label: 'a"b\\c\nd,{}' })).toBe(1.5);
  });

  test("histograms are cumulative and end with +Inf", async () => {
    const histogram = new Histogram([0.1, 1]);
    for (const each of [0.05, 0.1, 0.5, 7]) histogram.observe(each);
    const page = new Exposition();
    page.histogram("wait_seconds", "Waiting.", histogram);
    const families = await parsed(page.toString());
    expect(families[0]?.type).toBe("histogram");
    expect(value(families, "wait_seconds_bucket", { le: "0.1" })).toBe(2);
    expect(value(families, "wait_seconds_bucket", { le: "1" })).toBe(3);
    expect(value(families, "wait_seconds_bucket", { le: "+Inf" })).toBe(4);
    expect(value(families, "wait_seconds_count")).toBe(4);
    expect(value(families, "wait_seconds_sum")).toBeCloseTo(7.65);
  });
});

/** The labels of metrics of single workflows. */
const OF_WORKFLOWS = ["workflow", "workflow,status", "workflow,le"];

const GOOD = shellWorkflow("Good", { only: "echo hello" });

describe("a principal", () => {
  let cluster: Cluster;
  let port = 0;
  const get = (path: string, init?: RequestInit) => fetch(`http://127.0.0.1:${port}${path}`, init);

  beforeAll(async () => {
    port = (await freePorts(1))[0] ?? 0;
    cluster = await startCluster({
      workflows: {
        "good.yml": GOOD,
        "gated.yml": shellWorkflow("Gated", { only: gate("gate") }),
        "bad.yml": shellWorkflow("Bad", { only: "exit 1" }),
        "broken.yml": "name: Broken\n",
      },
      env: {
        CDKTR_METRICS_PORT: String(port),
        // No heartbeat tells anything in time: what is counted, the principal knows by itself.
        CDKTR_AGENT_HEARTBEAT_INTERVAL_MS: "50000",
        CDKTR_AGENT_HEARTBEAT_TIMEOUT_MS: "120000",
      },
    });
  });
  afterAll(() => cluster.stop());

  test("tells what it has done and what it has before it", async () => {
    const asked = performance.now();
    const waiting = await cluster.client.runTask("good", { dedupe_key: "waiting" });
    const accepted = performance.now();
    const before = await parsed(await (await get("/metrics")).text());
    expect(value(before, "cdktr_queue_length")).toBe(1);
    expect(value(before, "cdktr_runs", { status: "PENDING" })).toBe(1);
    expect(value(before, "cdktr_agents", { status: "UP" })).toBe(0);
    expect(value(before, "cdktr_dispatch_latency_seconds_count")).toBe(0);

    const spawned = performance.now();
    await cluster.startAgent(["--max-concurrent-workflows", "3"]);
    await runOver(cluster.client, waiting.workflow_instance_id);
    const over = performance.now();
    const first = await parsed(await (await get("/metrics")).text());
    // A run that waited for its agent waited as long as that took, no shorter and no longer (in whole milliseconds).
    const waited = value(first, "cdktr_dispatch_latency_seconds_sum") ?? 0;
    expect(waited).toBeGreaterThanOrEqual((spawned - accepted - 1) / 1000);
    expect(waited).toBeLessThanOrEqual((over - asked + 1) / 1000);
    expect(value(first, "cdktr_dispatch_latency_seconds_count")).toBe(1);

    const began = performance.now();
    expect((await cluster.cdktr(["run", "good", "--wait"])).code).toBe(0);
    expect((await cluster.cdktr(["run", "bad", "--wait"])).code).toBe(1);
    const took = (performance.now() - began) / 1000;
    await cluster.cdktr(["logs", "query", "--workflow", "good"]);

    const response = await get("/metrics");
    expect(response.headers.get("Content-Type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    const text = await response.text();
    const after = await parsed(text);
    expect(value(after, "cdktr_queue_length")).toBe(0);
    expect(value(after, "cdktr_runs_ended_total", { status: "COMPLETED" })).toBe(2);
    expect(value(after, "cdktr_runs_ended_total", { status: "FAILED" })).toBe(1);
    expect(value(after, "cdktr_dispatch_latency_seconds_count")).toBe(3);
    expect((value(after, "cdktr_dispatch_latency_seconds_sum") ?? 0) - waited).toBeLessThan(took);
    expect(value(after, "cdktr_dispatch_latency_seconds_bucket", { le: "+Inf" })).toBe(3);
    expect(value(after, "cdktr_agents", { status: "UP" })).toBe(1);
    expect(value(after, "cdktr_agents_capacity")).toBe(3);
    expect(value(after, "cdktr_workflows")).toBe(3);
    expect(value(after, "cdktr_workflow_files_invalid")).toBe(1);
    expect(value(after, "cdktr_history_available")).toBe(1);
    expect(value(after, "cdktr_history_flush_seconds_count")).toBeGreaterThan(0);
    expect(value(after, "cdktr_log_lines_published_total")).toBeGreaterThanOrEqual(2);
    expect(value(after, "process_resident_memory_bytes")).toBeGreaterThan(1e6);
    expect(await lint(text)).toBe("");
    for (const { name, help, samples } of after) {
      expect(name).toMatch(/^(cdktr|process)_[a-z_]+$/);
      expect(help).toEndWith(".");
      // What users choose (ids, names, labels) is in no label but that of workflows, whose number is bounded.
      for (const [, labels] of samples) {
        expect(["", "status", "by", "le", "version", "kind", "part", ...OF_WORKFLOWS]).toContain(
          Object.keys(labels).join(),
        );
      }
    }
    expect(value(after, "cdktr_workflow_runs_total", { workflow: "good", status: "COMPLETED" })).toBe(2);
    expect(value(after, "cdktr_workflow_runs_total", { workflow: "bad", status: "FAILED" })).toBe(1);
    expect(value(after, "cdktr_workflow_duration_seconds_count", { workflow: "good" })).toBe(2);
    const succeeded =
      value(after, "cdktr_workflow_last_success_timestamp_seconds", { workflow: "good" }) ?? 0;
    expect(Math.abs(succeeded - Date.now() / 1000)).toBeLessThan(3600);
    expect(
      value(after, "cdktr_workflow_last_success_timestamp_seconds", { workflow: "bad" }),
    ).toBeUndefined();
  });

  test("runs are counted while they run, and while they wait for a full or lost agent", async () => {
    const started: string[] = [];
    for (let i = 0; i < 5; i++)
      started.push((await cluster.client.runTask("gated", { dedupe_key: `g${i}` })).workflow_instance_id);
    // Before any heartbeat could tell of it.
    await until("three runs and their tasks run", async () => {
      const [agent] = await cluster.client.registeredAgents();
      return agent?.running_workflows === 3 && agent.running_tasks === 3;
    });
    const full = await parsed(await (await get("/metrics")).text());
    expect(value(full, "cdktr_runs_held", { by: "group" })).toBe(0);
    expect(value(full, "cdktr_queue_length")).toBe(2);
    expect(value(full, "cdktr_runs", { status: "RUNNING" })).toBe(3);
    expect(value(full, "cdktr_runs", { status: "PENDING" })).toBe(2);
    expect(value(full, "cdktr_agents_running_runs")).toBe(3);

    writeFileSync(join(cluster.directory, "gate"), "");
    for (const run of started) await runOver(cluster.client, run);
    const [idle] = await cluster.client.registeredAgents();
    expect([idle?.running_workflows, idle?.running_tasks]).toEqual([0, 0]);

    await cluster.agents[0]?.stop();
    for (let i = 0; i < 4; i++) await cluster.client.runTask("good", { dedupe_key: `s${i}` });
    const gone = await parsed(await (await get("/metrics")).text());
    expect(value(gone, "cdktr_queue_length")).toBe(4);
    expect(value(gone, "cdktr_agents", { status: "UP" })).toBe(0);
    expect(value(gone, "cdktr_agents_capacity")).toBe(0);
  });

  test("the lag of the log grows with the clock while DuckDB is locked, and is over with the lock", async () => {
    await cluster.principal?.stop();
    await using lock = await lockOf(join(cluster.dataDirectory, "app.db"));
    await cluster.startPrincipal();
    const lag = async () => {
      const asked = performance.now() / 1000;
      const text = await (await get("/metrics")).text();
      const answered = performance.now() / 1000;
      const page = await parsed(text);
      return {
        asked,
        answered,
        lag: value(page, "cdktr_log_lag_seconds") ?? -1,
        lines: value(page, "cdktr_log_held_lines"),
        available: value(page, "cdktr_history_available"),
        failures: value(page, "cdktr_history_flush_failures_total") ?? 0,
      };
    };
    expect(await lag()).toMatchObject({ lag: 0, lines: 0, available: 0 });
    await cluster.startAgent();
    const run = (await cluster.client.runTask("good", { dedupe_key: "locked" })).workflow_instance_id;
    await runOver(cluster.client, run);
    const one = await until("the lines are here", async () => {
      const now = await lag();
      return (now.lines ?? 0) > 0 && now.failures > 0 && now;
    });
    const two = await until("time passes", async () => {
      const now = await lag();
      return now.asked - one.answered > 1 && now;
    });
    // Each was measured between its question and its answer; it is told in ms.
    const grown = two.lag - one.lag;
    expect(grown).toBeGreaterThan(two.asked - one.answered - 0.002);
    expect(grown).toBeLessThan(two.answered - one.asked + 0.002);
    expect(two.available).toBe(0);
    expect(await (await get("/healthz")).json()).toMatchObject({ status: "ok", history: { ok: false } });

    await lock[Symbol.asyncDispose]();
    // The database is open before what was held is in it.
    const healed = await until("the lines are in DuckDB", async () => {
      const now = await lag();
      return now.available === 1 && now.lines === 0 && now;
    });
    expect(healed).toMatchObject({ lag: 0, lines: 0 });
    // What this process has not seen, the history has told it by now.
    const [page] = await until("the history has told what it knows of workflows", async () => {
      const known = await parsed(await (await get("/metrics")).text());
      return value(known, "cdktr_workflow_last_success_timestamp_seconds", { workflow: "gated" }) ===
        undefined
        ? false
        : ([known] as const);
    });
    expect(
      value(page, "cdktr_workflow_last_run_duration_seconds", { workflow: "bad" }),
    ).toBeGreaterThanOrEqual(0);
    expect(value(page, "cdktr_workflow_runs_total", { workflow: "gated", status: "COMPLETED" })).toBe(0);
  });

  test("says that it is well, to those who ask properly", async () => {
    const health = await get("/healthz");
    expect(health.status).toBe(200);
    expect(await health.json()).toMatchObject({ status: "ok", history: { ok: true } });
    expect((await get("/metrics", { method: "POST" })).status).toBe(405);
    expect((await get("/")).status).toBe(404);
    expect((await get("/healthz", { method: "HEAD" })).status).toBe(200);
  });

  test("a port in use does not prevent the start, and is bound when it is free", async () => {
    // Not cdktr: any program may be first.
    const [taken = 0] = await freePorts(1);
    const other = Bun.serve({ hostname: "127.0.0.1", port: taken, fetch: () => new Response("other") });
    const env = { CDKTR_METRICS_PORT: String(other.port) };
    await using second = await startCluster({ agents: 1, workflows: { "good.yml": GOOD }, env });
    const warning = await second.principal?.waitFor(
      /cannot be served at (\S+): another program has the port/,
    );
    expect(warning?.[1]).toBe(`127.0.0.1:${other.port}`);
    expect((await second.cdktr(["run", "good", "--wait"])).code).toBe(0);
    await other.stop(true);
    await second.principal?.waitFor(/has \/healthz and \/metrics now/);
    const health = await fetch(`http://127.0.0.1:${env.CDKTR_METRICS_PORT}/healthz`);
    expect(await health.json()).toMatchObject({ status: "ok" });
  });
});
