/** What is expected of workflows on the executable: late and missed are shown, settled by runs, and outlive a principal that is killed. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { WorkflowSummary } from "../../src/contract/messages.ts";
import type { AlertForMessage } from "../../src/principal/alerts/senders/sender.ts";
import { type Cluster, freePorts, startCluster } from "../support/cdktr.ts";
import { PATIENT } from "./failures/support.ts";
import { gate, runOver, shellWorkflow, until } from "./support/fixtures.ts";

/** Many commands: on a busy machine each takes seconds. */
const GUARD_MS = 400_000;

let cluster: Cluster;
let metrics = 0;
const path = (name: string) => join(cluster.directory, name);

beforeAll(async () => {
  metrics = (await freePorts(1))[0] ?? 0;
  cluster = await startCluster({
    agents: 1,
    // A principal that is 250 ms late would count as suspended.
    env: { ...PATIENT, CDKTR_AGENT_HEARTBEAT_INTERVAL_MS: "5000", CDKTR_METRICS_PORT: String(metrics) },
    workflows: {
      "quiet.yml": shellWorkflow({ a: { sh: "true" } }, "expect: {at_least_every: 1s}\n"),
      "nightly.yml": shellWorkflow(
        { a: { sh: "true" } },
        'cron: "0 2 * * *"\ntimezone: Europe/London\nexpect: {finish_by: "06:00", max_duration: 2h}\n',
      ),
      "nowhere.yml": shellWorkflow(
        { a: { sh: "true" } },
        "runs_on: {zone: mars}\nexpect: {start_within: 100ms}\n",
      ),
      "plain.yml": shellWorkflow({ a: { sh: "true" } }),
    },
  });
  cluster.writeWorkflow(
    "slow.yml",
    shellWorkflow(
      { a: { sh: gate(path("open")) } },
      "expect: {max_duration: 100ms}\nnotify: {on: [late], to: book}\n",
    ),
  );
  // A message is a file, which is there when it is whole.
  mkdirSync(path("told"));
  const command = `cd ${path("told")} && cat > .$$ && mv .$$ $$.json`;
  cluster.writeWorkflow("_cdktr.yml", `channels: {book: {command: [sh, -c, ${JSON.stringify(command)}]}}\n`);
  await until("they are known", async () => "slow" in (await cluster.client.listWorkflows()));
}, GUARD_MS);
afterAll(() => cluster?.stop());

const cdktr = (...args: string[]) => cluster.cdktr(args);

/** The states of what is expected of a workflow, as soon as they are these. */
async function expected(id: string, ...states: string[]): Promise<WorkflowSummary> {
  let found: WorkflowSummary | undefined;
  await until(
    `${id} is ${states.join(", ")}`,
    async () => {
      found = (await cluster.client.listWorkflows())[id];
      return (found?.expectations ?? []).map(({ state }) => state).join() === states.join();
    },
    GUARD_MS,
  );
  if (found === undefined) throw new Error(`there is no workflow ${id}`);
  return found;
}

test(
  "what is late and what is missed is shown until it is settled, also after a kill",
  async () => {
    const slow = (await cdktr("run", "slow")).stdout.trim();
    const nowhere = (await cdktr("run", "nowhere")).stdout.trim();
    await expected("slow", "late");
    await expected("nowhere", "late");
    await expected("quiet", "missed");

    const list = await cdktr("workflow", "list");
    expect(list.stdout).toMatch(/^ *quiet MISSED /m);
    expect(list.stdout).toMatch(/^ *slow LATE /m);
    expect(list.stdout).toMatch(/^ *nightly +\S/m);
    expect(list.stderr).toMatch(
      /^quiet: missed since .*: no run has completed for too long \(at_least_every\)$/m,
    );
    expect(list.stderr).toContain(`run ${slow} takes too long (max_duration)`);
    expect((await cdktr("workflow", "show", "quiet")).stdout).toMatch(
      /^Missed +since .*\n[\s\S]*^Expects +completes at least every 1s$/m,
    );
    expect((await cdktr("workflow", "show", "nightly")).stdout).toMatch(
      /^Expects +takes at most 2h\n +completed by 06:00 \(Europe\/London\), next by .* \(in .*\)$/m,
    );
    expect((await cdktr("runs", "show", nowhere)).stdout).toMatch(
      /^Late +since .*has not started in time \(start_within\)$/m,
    );
    const page = await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text();
    expect(page).toContain('cdktr_workflows_late{kind="late"} 2\n');
    expect(page).toContain('cdktr_workflow_late{workflow="quiet",kind="missed",rule="at_least_every"} 1\n');

    cluster.principal?.kill("SIGKILL");
    await cluster.principal?.finished;
    writeFileSync(path("open"), "");
    await cluster.startPrincipal();
    expect(await runOver(cluster.client, slow)).toMatchObject({ status: "COMPLETED" });
    // Whoever was told of it, perhaps twice, is told that it is over.
    const told = () =>
      readdirSync(path("told"))
        .filter((name) => name.endsWith(".json"))
        .flatMap((name): AlertForMessage[] => JSON.parse(readFileSync(path(`told/${name}`), "utf8")).alerts);
    const about = () => [...new Set(told().map((alert) => `${alert.about}: ${alert.key}`))].sort();
    await until("both are told", () => about().length >= 2, GUARD_MS);
    expect(about()).toEqual([
      `raised: late slow ${slow} max_duration`,
      `resolved: late slow ${slow} max_duration`,
    ]);
    expect(told().find((alert) => alert.about === "raised")).toMatchObject({
      kind: "late",
      subject: "slow is late: a run has taken longer than 100ms",
      facts: { rule: "max_duration", expected: "takes at most 100ms", status: "RUNNING" },
    });
    await expected("slow");
    await cdktr("runs", "cancel", nowhere);
    await expected("nowhere");
    await expected("nightly", "open");
    expect((await expected("plain")).expectations).toBeUndefined();
    const shown = await cdktr("runs", "show", slow);
    expect(shown.stdout).not.toContain("Late");
  },
  GUARD_MS,
);

test(
  "a pause ends what was missed, and a run does",
  async () => {
    await expected("quiet", "missed");
    await cdktr("workflow", "pause", "quiet");
    await expected("quiet", "held");
    cluster.writeWorkflow(
      "quiet.yml",
      shellWorkflow({ a: { sh: "true" } }, "expect: {at_least_every: 1d}\n"),
    );
    await cdktr("workflow", "resume", "quiet");
    const before = (await expected("quiet", "open")).expectations?.[0]?.due_ms ?? 0;
    const { code } = await cdktr("run", "quiet", "--wait");
    expect(code).toBe(0);
    await until("it counts from that run", async () => {
      const due = (await cluster.client.listWorkflows()).quiet?.expectations?.[0]?.due_ms ?? 0;
      return due > before;
    });
    cluster.writeWorkflow("quiet.yml", shellWorkflow({ a: { sh: "true" } }));
    await expected("quiet");
  },
  GUARD_MS,
);
