/** An agent dies while it shares a run with others. */
import { expect, test } from "bun:test";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { Cluster, freePorts } from "../../support/cdktr.ts";
import { linesOf, processesWith, runOver, until } from "../support/fixtures.ts";
import { PATIENT, trigger } from "./support.ts";

const SIDES = ["a", "b", "c"] as const;

/** For each side: a task, and one after it that waits until the file `open` exists. They are on the agent of that side. */
function sharedRun(witness: string, open: string): string {
  const task = (id: string, depends: string[], sh: string, side?: string) =>
    `  ${id}:\n    name: ${id}\n    depends: ${JSON.stringify(depends)}\n${side === undefined ? "" : `    runs_on: {side: ${side}}\n`}` +
    `    config: !Subprocess\n      cmd: sh\n      args: ["-c", ${JSON.stringify(sh)}]\n`;
  const say = `echo "$CDKTR_TASK_ID $CDKTR_RUN_ATTEMPT" >> ${witness}`;
  return `name: shared\ntasks:\n${[
    task("top", [], `${say}; echo n=1 > "$CDKTR_OUTPUT"`),
    ...SIDES.flatMap((side) => [
      task(
        `first-${side}`,
        ["top"],
        `${say}; cat "$CDKTR_INPUTS/top.json"; echo by=$CDKTR_RUN_ATTEMPT > "$CDKTR_OUTPUT"`,
        side,
      ),
      task(
        `second-${side}`,
        [`first-${side}`],
        `${say}; cat "$CDKTR_INPUTS/first-${side}.json"; until [ -e ${open} ]; do sleep 0.02; done`,
        side,
      ),
    ]),
    task(
      "bottom",
      SIDES.map((side) => `second-${side}`),
      say,
    ),
  ].join("")}`;
}

test("KILL for one of three agents that share a run: only its slice runs again, without what had completed", async () => {
  await using cluster = new Cluster({ env: PATIENT }, await freePorts(3));
  const [witness, open] = [join(cluster.directory, "witness"), join(cluster.directory, "open")];
  cluster.writeWorkflow("shared.yml", sharedRun(witness, open));
  await cluster.startPrincipal();
  const start = (side: string) => cluster.startAgent(["--suffix", side, "--label", `side=${side}`]);
  const agents = Object.fromEntries(
    await Promise.all(SIDES.map(async (side) => [side, await start(side)] as const)),
  );
  const run = await trigger(cluster, "shared");
  const begun = (...more: string[]) =>
    until("the tasks have begun", () => {
      const said = new Set(linesOf(witness));
      return [...SIDES.map((side) => `second-${side} 1`), ...more].every((line) => said.has(line));
    });
  await begun();
  await until("the principal knows what has completed", async () => {
    const { tasks } = await cluster.client.getRun(run);
    return tasks.filter(({ status }) => status === "COMPLETED").length === 1 + SIDES.length;
  });
  agents.b?.kill("SIGKILL");
  await agents.b?.finished;
  await start("b");
  await begun("second-b 2");
  writeFileSync(open, "");
  const over = await runOver(cluster.client, run);
  expect(over).toMatchObject({ status: "COMPLETED", error: null });

  expect(linesOf(witness).sort()).toEqual(
    [
      "top 1",
      ...SIDES.flatMap((side) => [`first-${side} 1`, `second-${side} 1`]),
      "second-b 2",
      "bottom 1",
    ].sort(),
  );
  const agentOf = Object.fromEntries(over.tasks.map((task) => [task.task_id, task.agent_id]));
  for (const side of SIDES)
    for (const task of ["first", "second"]) expect(agentOf[`${task}-${side}`]).toBe(`${hostname()}-${side}`);
  // One slice has two attempts, the first of which crashed; the others have one.
  const bySlice = Map.groupBy(over.attempts, ({ slice }) => slice);
  expect([...bySlice.values()].map((attempts) => attempts.map(({ status }) => status).join()).sort()).toEqual(
    ["COMPLETED", "COMPLETED", "COMPLETED", "COMPLETED", "CRASHED,COMPLETED"],
  );
  // What the first attempt has published is there for the second one, whose line is the only one if the agent died before it wrote the first.
  const { rows } = await cluster.client.searchLogs({ workflow_instance_id: run });
  const inputs = rows.map((row) => `${row[3]} ${row[7]}`).filter((line) => line.includes("{"));
  expect([...new Set(inputs)].sort()).toEqual(
    SIDES.flatMap((side) => [`first-${side} {"n":"1"}`, `second-${side} {"by":"1"}`]).sort(),
  );
  const files = SIDES.map((side) => join(cluster.dataDirectory, "agents", `${hostname()}-${side}`, "tasks"));
  await until("the files of the tasks are removed", () =>
    files.every((directory) => existsSync(directory) && readdirSync(directory).length === 0),
  );
  expect(processesWith(`CDKTR_WORKFLOW_INSTANCE_ID=${run}`)).toEqual([]);
});
