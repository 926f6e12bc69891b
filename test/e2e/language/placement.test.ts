/** Labels with expressions, and a task on every host, on the compiled binary with three agents. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ItemSummary } from "../../../src/contract/messages.ts";
import { type CdktrProcess, Cluster, freePorts } from "../../support/cdktr.ts";
import { PATIENT } from "../failures/support.ts";
import { runOver, until } from "../support/fixtures.ts";

let cluster: Cluster;
/** What items wait for. */
let gate: string;
let b: CdktrProcess | undefined;

const EVERYWHERE = `
params: {gate: "", role: web}
tasks:
  role: {run: 'echo "role=$CDKTR_PARAM_ROLE" >> "$CDKTR_OUTPUT"'}
  clean:
    depends: [role]
    foreach: '\${{ agents({"role": tasks.role.outputs.role}) }}'
    key: \${{ item.labels.site }}
    runs_on: {site: "\${{ item.labels.site }}"}
    max_parallel: 1
    run: |
      touch "$CDKTR_PARAM_GATE.$CDKTR_ITEM_KEY"
      until [ -e "$CDKTR_PARAM_GATE" ]; do sleep 0.05; done
  many:
    depends: {clean: ended}
    when: \${{ size(agents({"role":"web"})) == 3 }}
    run: echo many
hooks:
  on_exit:
    runs_on: {site: "\${{ run.status == 'COMPLETED' ? 'b' : 'c' }}"}
    run: echo over
`;

const CHOSEN = `
params: {site: b}
runs_on: {site: "\${{ params.site }}"}
tasks:
  first: {run: 'echo "site=c" >> "$CDKTR_OUTPUT"'}
  second: {depends: [first], run: echo second}
  there: {depends: [first], runs_on: {site: "\${{ tasks.first.outputs.site }}"}, run: echo there}
  nowhere: {depends: [first], allow_failure: true, runs_on: {site: "\${{ tasks.first.outputs.zone }}"}, run: echo nowhere}
`;

const start = (site: string) =>
  cluster.startAgent(["--suffix", site, "--label", `site=${site}`, "--label", "role=web"]);

beforeAll(async () => {
  cluster = new Cluster({ env: PATIENT }, await freePorts(3));
  gate = join(cluster.directory, "gate");
  cluster.writeWorkflow("everywhere.yml", EVERYWHERE);
  cluster.writeWorkflow("chosen.yml", CHOSEN);
  await cluster.startPrincipal();
  [, b] = await Promise.all(["a", "b", "c"].map(start));
}, 60_000);
afterAll(() => cluster?.stop());

async function trigger(workflow: string, params: Record<string, string> = {}): Promise<string> {
  const run = await cluster.client.runTask(workflow, { dedupe_key: crypto.randomUUID(), params });
  return run.workflow_instance_id;
}

const nameOf = (agent: string | null | undefined) => agent?.split("-").at(-1);

async function itemsOf(id: string): Promise<Record<string, string>> {
  const shown = await cluster.cdktr(["runs", "show", id, "--items", "clean", "--json"]);
  const items: ItemSummary[] = JSON.parse(shown.stdout);
  return Object.fromEntries(items.map((item) => [item.item_key, `${item.status} ${nameOf(item.agent_id)}`]));
}

test("one task for each agent; one that leaves is waited for, also by a principal that was killed", async () => {
  const id = await trigger("everywhere", { gate });
  await until("the first item runs", () => existsSync(`${gate}.a`));
  expect((await b?.stop())?.code).toBe(0);
  writeFileSync(gate, "");
  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  await cluster.startPrincipal();
  await until("its item waits, and says for what", async () => {
    const { stdout } = await cluster.cdktr(["runs", "why", id]);
    return stdout.includes("no agent that is up has site=b");
  });
  await start("b");
  const run = await runOver(cluster.client, id);
  expect(run.status).toBe("COMPLETED");
  expect(await itemsOf(id)).toEqual({ a: "COMPLETED a", b: "COMPLETED b", c: "COMPLETED c" });
  const tasks = Object.fromEntries(run.tasks.map((task) => [task.task_id, task]));
  expect(tasks.many?.status).toBe("COMPLETED");
  expect(nameOf(tasks.on_exit?.agent_id)).toBe("b");
}, 60_000);

test("labels from parameters and outputs; one without a value fails its task", async () => {
  const run = await runOver(cluster.client, await trigger("chosen"));
  const tasks = Object.fromEntries(
    run.tasks.map(({ task_id, status, agent_id }) => [task_id, `${status} ${nameOf(agent_id)}`]),
  );
  expect(run).toMatchObject({ status: "COMPLETED", allowed_failures: 1 });
  expect(tasks).toEqual({
    first: "COMPLETED b",
    second: "COMPLETED b",
    there: "COMPLETED c",
    nowhere: "FAILED undefined",
  });
  expect(run.tasks.find(({ task_id }) => task_id === "nowhere")?.error).toBe(
    'runs_on.site: tasks.first.outputs.zone has no value: "first" published no "zone"',
  );
  const other = await runOver(cluster.client, await trigger("chosen", { site: "a" }));
  expect(nameOf(other.tasks.find(({ task_id }) => task_id === "second")?.agent_id)).toBe("a");
}, 60_000);
