import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Exposition, Histogram } from "../../../src/principal/metrics/exposition.ts";
import { shellWorkflow } from "../../cli/support.ts";
import { type Cluster, cdktr, freePorts, startCluster } from "../../support/cdktr.ts";
import { pythonWith } from "../../support/python.ts";

/** The reader that Prometheus's own client library has; it throws on what does not fit the format. */
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

describe("a principal", () => {
  let cluster: Cluster;
  let port = 0;
  const get = (path: string, init?: RequestInit) => fetch(`http://127.0.0.1:${port}${path}`, init);

  beforeAll(async () => {
    port = (await freePorts(1))[0] ?? 0;
    cluster = await startCluster({
      workflows: {
        "good.yml": shellWorkflow("Good", { only: "echo hello" }),
        "bad.yml": shellWorkflow("Bad", { only: "exit 1" }),
        "broken.yml": "name: Broken\n",
      },
      env: { CDKTR_METRICS_PORT: String(port) },
    });
  });
  afterAll(() => cluster.stop());

  test("tells what it has done and what it has before it", async () => {
    const waiting = await cluster.client.runTask("good", { dedupe_key: "waiting" });
    const before = await parsed(await (await get("/metrics")).text());
    expect(value(before, "cdktr_queue_length")).toBe(1);
    expect(value(before, "cdktr_runs", { status: "PENDING" })).toBe(1);
    expect(value(before, "cdktr_dispatch_latency_seconds_count")).toBe(0);

    await cluster.startAgent(["--max-concurrent-workflows", "3"]);
    expect((await cluster.cdktr(["run", "good", "--wait"])).code).toBe(0);
    expect((await cluster.cdktr(["run", "bad", "--wait"])).code).toBe(1);
    for (let status = ""; status !== "COMPLETED"; ) {
      status = (await cluster.client.waitRun(waiting.workflow_instance_id, 5000)).status;
    }
    await cluster.cdktr(["logs", "query", "--workflow", "good"]);

    const response = await get("/metrics");
    expect(response.headers.get("Content-Type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    const after = await parsed(await response.text());
    expect(value(after, "cdktr_queue_length")).toBe(0);
    expect(value(after, "cdktr_runs_ended_total", { status: "COMPLETED" })).toBe(2);
    expect(value(after, "cdktr_runs_ended_total", { status: "FAILED" })).toBe(1);
    expect(value(after, "cdktr_dispatch_latency_seconds_count")).toBe(3);
    expect(value(after, "cdktr_dispatch_latency_seconds_sum")).toBeGreaterThan(0);
    expect(value(after, "cdktr_agents", { status: "UP" })).toBe(1);
    expect(value(after, "cdktr_agents_capacity")).toBe(3);
    expect(value(after, "cdktr_workflows")).toBe(2);
    expect(value(after, "cdktr_workflow_files_invalid")).toBe(1);
    expect(value(after, "cdktr_history_available")).toBe(1);
    expect(value(after, "cdktr_history_flush_seconds_count")).toBeGreaterThan(0);
    expect(value(after, "cdktr_log_lines_published_total")).toBeGreaterThanOrEqual(2);
    expect(value(after, "process_resident_memory_bytes")).toBeGreaterThan(1e6);
    // promtool's rules for names.
    for (const { name, type, help } of after) {
      expect(name).toMatch(/^(cdktr|process)_[a-z_]+$/);
      expect(help).toEndWith(".");
      expect(["counter", "gauge", "histogram"]).toContain(type);
      expect(type === "gauge" && name.endsWith("_total")).toBe(false);
    }
  });

  test("says that it is well, to those who ask properly", async () => {
    const health = await get("/healthz");
    expect(health.status).toBe(200);
    expect(await health.json()).toMatchObject({ status: "ok", history: { ok: true } });
    expect((await get("/metrics", { method: "POST" })).status).toBe(405);
    expect((await get("/")).status).toBe(404);
    expect((await get("/healthz", { method: "HEAD" })).status).toBe(200);
  });

  test("does not start where the port is taken, and says which", async () => {
    const { code, stderr } = await cdktr(["start", "principal"], {
      env: {
        ...cluster.env,
        CDKTR_PRINCIPAL_PORT: String((await freePorts(1))[0]),
        CDKTR_LOGS_LISTENING_PORT: String((await freePorts(1))[0]),
        CDKTR_LOGS_PUBLISHING_PORT: String((await freePorts(1))[0]),
        CDKTR_APP_DATA_DIRECTORY: `${cluster.directory}/other`,
        CDKTR_METRICS_PORT: String(port),
      },
    });
    expect(code).toBe(1);
    expect(stderr).toContain(`127.0.0.1:${port}`);
    expect(stderr).toContain("CDKTR_METRICS_PORT");
  });
});
