/**
 * Makes the pictures of the terminal UI that the README shows: `npm run capture`. A live principal with two agents, real runs of
 * example workflows, the executable in tmux; what the terminal shows is written to src/docs/images/*.svg as it is.
 */
import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { startCluster } from "../test/support/cdktr.ts";
import { screenToSvg } from "./capture/svg.ts";
import { ROOT } from "./support/paths.ts";
import { Tmux } from "./support/tmux.ts";
import { ensureUv } from "./support/tools.ts";

const WIDTH = 120;
const HEIGHT = 32;
const IMAGES = join(ROOT, "src", "docs", "images");

const task = (id: string, sh: string, depends: readonly string[] = []) =>
  `  ${id}:\n    name: ${id}\n    depends: ${JSON.stringify(depends)}\n    config: !Subprocess\n      cmd: sh\n      args: ["-c", ${JSON.stringify(sh)}]\n`;
const rows = (what: string, n: number, pause: number) =>
  `for i in $(seq ${n}); do echo "${what}: batch $i of ${n}, $((i * 4096)) rows"; sleep ${pause}; done`;

const LOAD = `name: Orders into the warehouse
description: Takes yesterday's orders out of the shop, checks them, and loads them.
cron: "0 30 2 * * *"
timezone: Europe/London
params:
  day:
    description: Day to load
    default: yesterday
  region:
    description: eu, us or apac
    default: eu
tasks:
${[
  task("extract", rows("extract", 6, 0.2)),
  task("orders", rows("orders", 24, 0.5), ["extract"]),
  task("customers", rows("customers", 30, 0.5), ["extract"]),
  task("returns", `${rows("returns", 3, 0.3)}; echo "2 rows without an order" >&2`, ["extract"]),
  task("check", "echo 'all sums agree'", ["orders", "customers", "returns"]),
  task("load", rows("load", 8, 0.2), ["check"]),
].join("")}`;
const NIGHTLY = `name: Nightly clean-up\ncron: "0 15 1 * * *"\ntasks:\n${task("clean", "sleep 0.4; echo 3 files removed")}`;
const MIRROR = `name: Mirror\ncron: "0 */10 * * * *"\ntasks:\n${task("pull", "sleep 0.2; echo up to date")}${task("publish", "[ $(( $(date +%s) % 3 )) -ne 0 ] || { echo 'remote closed the connection' >&2; exit 1; }", ["pull"])}`;

const TABLES = `name: Tables into the warehouse
tasks:
  list: {run: "sleep 0.2; echo 480 tables"}
  load:
    depends: [list]
    foreach: [${Array.from({ length: 480 }, (_, i) => `${["orders", "customers", "returns", "stock"][i % 4]}_${String(i >> 2).padStart(3, "0")}`).join(", ")}]
    key: "\${{ item }}"
    max_parallel: 8
    run: |
      sleep 0.$((CDKTR_ITEM_INDEX % 5))
      case "$CDKTR_ITEM" in returns_0?1) echo "column price: not a number" >&2; exit 3;; esac
  check: {depends: {load: ended}, run: "echo checked"}
`;
const DEPLOY = `name: Deploy
tasks:
  build: {run: "sleep 0.3; echo built"}
  go:
    depends: [build]
    config: !Approval
      message: |
        Deploy version 4.2 to the shops in Europe?
        All 312 tests have passed; the last deployment was on Tuesday.
      form:
        share: {type: int, min: 1, max: 100, default: 10, description: Percent of the servers}
        window: {enum: [now, tonight], default: now}
      timeout: 4h
  deploy: {depends: [go], run: "echo deployed"}
`;

const REPORT = `name: Report of the day
cron: "0 0 * * * *"
concurrency: {max_runs: 1}
expect: {max_duration: 1s}
tasks:
  read: {run: "sleep 120", pool: warehouse}
`;
const SETTINGS = `pools: {warehouse: 1}
channels: {chat: {slack: {url: "http://127.0.0.1:9/hook"}}, ops: {command: ["true"]}}
notify: [{on: [late, missed, query], to: [chat, ops]}]
`;
const FAILURES = `name: Failures
severity: critical
every: 10s
query: SELECT workflow_id, count(*) AS runs FROM workflow_runs WHERE status = 'FAILED' GROUP BY workflow_id
summary: \${{ row.workflow_id }} failed \${{ row.runs }} times
to: ops
`;

const path = `${await ensureUv()}:${process.env.PATH}`;
await using cluster = await startCluster({
  workflows: {
    "shop/orders.yml": LOAD,
    "ops/nightly.yml": NIGHTLY,
    "ops/mirror.yml": MIRROR,
    "shop/tables.yml": TABLES,
    "shop/deploy.yml": DEPLOY,
    "shop/report.yml": REPORT,
    "alerts/failures.yml": FAILURES,
    "_cdktr.yml": SETTINGS,
  },
  env: { PATH: path },
});
cpSync(join(ROOT, "workflows"), cluster.workflowDirectory, { recursive: true });
await cluster.startAgent(["--suffix", "gpu", "--label", "gpu=a100", "--label", "zone=b"]);
await cluster.startAgent(["--suffix", "eu-1", "--label", "zone=a"]);

const trigger = async (id: string, params: Record<string, string> = {}) =>
  (await cluster.client.runTask(id, { params, dedupe_key: crypto.randomUUID() })).workflow_instance_id;
const over = async (id: string) => {
  for (let done = false; !done; ) done = (await cluster.client.waitRun(id, 10_000)).finished_at_ms !== null;
};
for (let i = 0; i < 6; i++) {
  const ids = [
    await trigger("ops.mirror"),
    await trigger("ops.nightly"),
    await trigger("hello"),
    await trigger("diamond"),
  ];
  if (i % 3 === 0) ids.push(await trigger("failure"), await trigger("retry"));
  await Promise.all(ids.map(over));
}

const tmux = new Tmux({ width: WIDTH, height: HEIGHT, cwd: cluster.directory, env: { ...cluster.env } });
mkdirSync(IMAGES, { recursive: true });

function capture(name: string, title: string): void {
  const svg = screenToSvg(tmux.screen(true), WIDTH, HEIGHT, title);
  writeFileSync(join(IMAGES, `${name}.svg`), svg);
  console.log(`src/docs/images/${name}.svg`);
}

tmux.type(`${process.env.CDKTR_TEST_BINARY ?? join(ROOT, "dist/cdktr")} ui`);
tmux.keys("Enter");
await tmux.waitFor(/shop\.orders/);
const orders = await trigger("shop.orders", { day: "2026-03-03", region: "apac" });
await tmux.waitFor((screen) => /shop\.orders .*▶ RUNNING/.test(screen) && /2 up/.test(screen));
capture("tui-workflows", "cdktr ui · workflows");

tmux.keys("2");
await tmux.waitFor(/▶ RUNNING +shop\.orders.*[1-3]\/6/);
capture("tui-runs", "cdktr ui · runs");

tmux.keys("Enter");
await tmux.waitFor(/✓ returns/);
tmux.keys("Down", "Down");
await tmux.waitFor(/▶ RUNNING {2}customers/);
capture("tui-run-graph", "cdktr ui · a run, live");

tmux.keys("Right");
await tmux.waitFor(/▶ customers +·+█/);
await Bun.sleep(3000);
capture("tui-run-gantt", "cdktr ui · its tasks in time");

tmux.keys("L");
await tmux.waitFor(/customers: batch 1[0-9]/);
tmux.keys("/");
tmux.type("customers");
tmux.keys("Enter");
await tmux.waitFor(/"customers" \d+\/\d+/);
capture("tui-log", "cdktr ui · its log: followed, searched");

tmux.keys("4");
await tmux.waitFor(/gpu=a100/);
capture("tui-agents", "cdktr ui · agents");

tmux.keys("1");
tmux.type(":workflow shop.orders");
tmux.keys("Enter");
await tmux.waitFor(/Parameters/);
tmux.keys("t");
await tmux.waitFor(/eu, us or apac/);
capture("tui-trigger", "cdktr ui · triggering a workflow with parameters");
tmux.keys("Escape");
await tmux.waitFor((screen) => !/\^S trigger/.test(screen));

const tables = await trigger("shop.tables");
await trigger("shop.deploy");
tmux.type(`:run ${tables}`);
tmux.keys("Enter");
await tmux.waitFor(/▶ load \d+\/480/);
tmux.keys("a");
await tmux.waitFor(/▸ load .* failed/);
tmux.keys("Down", "Space");
await tmux.waitFor(/▾ load .*[2-9] failed/);
tmux.keys("PageDown");
await tmux.waitFor(/\[returns_001\] +✗ FAILED/);
capture("tui-fan-out", "cdktr ui · the items of a fan-out");

tmux.keys("6");
await tmux.waitFor(/shop\.deploy +go/);
tmux.keys("A");
await tmux.waitFor(/Approve go of shop\.deploy/);
capture("tui-approval", "cdktr ui · an approval with its form");
tmux.keys("Escape");

const reports = [await trigger("shop.report"), await trigger("shop.report")];
tmux.keys("7");
await tmux.waitFor(/shop\.report: 1 run held|group shop\.report: 1 run held/);
capture("tui-queue", "cdktr ui · the queue: pools, what waits, what is held");
tmux.keys("8");
await tmux.waitFor(/shop\.report.*●/);
capture("tui-calendar", "cdktr ui · what the schedules will do");
tmux.keys("9");
await tmux.waitFor((screen) =>
  [/late +shop\.report/, /● query/, /1 alert file/].every((part) => part.test(screen)),
);
capture("tui-alerts", "cdktr ui · alerts, channels, alert files");
for (const id of reports) await cluster.client.cancelRun(id).catch(() => {});
await cluster.client.cancelRun(tables).catch(() => {});
await cluster.client.cancelRun(orders).catch(() => {});
tmux.stop();
