/** Several principals over PostgreSQL: one is killed; who takes over, and what stays for its agents, commands and clients. */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { CdktrProcess } from "../support/cdktr.ts";
import { Installation } from "../support/installation.ts";
import { until } from "../support/until.ts";
import { runOver, shellWorkflow } from "./support/fixtures.ts";

const LINES = 400;

test("the leader is killed: its agent keeps its task, a tail goes on, and each line is there once, in order", async () => {
  await using installation = await Installation.start(3, {
    workflows: {
      "hello.yml": shellWorkflow({ greet: { sh: "echo hello" } }),
      "count.yml": shellWorkflow({
        count: {
          sh: `for i in $(seq 1 ${LINES}); do echo $i; if [ $i = 100 ]; then until [ -e "$GATE" ]; do sleep 0.05; done; fi; done`,
        },
      }).replace("tasks:", `env: {GATE: "\${{ params.gate }}"}\nparams: {gate: ""}\ntasks:`),
    },
  });
  const leader = await installation.leader();
  const [witness, other] = await installation.followers();
  if (witness === undefined || other === undefined) throw new Error("there are no followers");
  // The agent and the tail know one address, the leader's, and learn the others, which it must know before they ask.
  await until("the leader knows all", async () => (await leader.client.info()).members?.length === 3);
  await installation.startAgent([leader]);
  const gate = join(installation.directory, "gate");
  const tail = new CdktrProcess(["logs", "tail", "--workflow", "count", "--last", "1h", "--json"], {
    cwd: witness.directory,
    env: {
      ...witness.env,
      CDKTR_STORE_URL: undefined,
      CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "3000",
      CDKTR_PRINCIPALS: `127.0.0.1:${leader.port}`,
    },
  });
  const before = await leader.client.runTask("hello", { dedupe_key: "before" });
  expect((await runOver(other.client, before.workflow_instance_id)).status).toBe("COMPLETED");
  const run = await witness.client.runTask("count", { dedupe_key: "count", params: { gate } });
  const seen = () =>
    tail.stdout
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => (JSON.parse(line) as { payload: string }).payload);
  await until("the tail has the lines before the gate", () => seen().length >= 100);

  leader.process.kill("SIGKILL");
  writeFileSync(gate, "");
  // While nobody leads, a follower keeps the request until somebody does.
  const after = await other.client.runTask("hello", { dedupe_key: "after" });
  expect((await runOver(other.client, after.workflow_instance_id)).status).toBe("COMPLETED");
  expect((await other.client.getRun(before.workflow_instance_id)).status).toBe("COMPLETED");
  const next = await installation.leader();
  expect([witness.name, other.name]).toContain(next.name);
  const { status, attempt } = await runOver(witness.client, run.workflow_instance_id);
  expect([status, attempt]).toEqual(["COMPLETED", 1]);
  await until("the tail has the others", () => seen().length >= LINES);
  const all = Array.from({ length: LINES }, (_, i) => String(i + 1));
  expect(seen()).toEqual(all);
  const { rows } = await witness.client.searchLogs({ workflow_instance_id: run.workflow_instance_id });
  expect(rows.map((row) => row[7])).toEqual(all);
  tail.kill("SIGINT");
  await tail.finished;
  expect(seen()).toEqual(all);

  // A command passes by the one that is gone.
  const { code, stdout } = await installation.cdktr(witness, ["principals", "list", "--json"], {
    env: { CDKTR_PRINCIPALS: `127.0.0.1:${leader.port},127.0.0.1:${witness.port}` },
  });
  expect(code).toBe(0);
  const listed = JSON.parse(stdout) as { name: string; role: string; epoch: number | null }[];
  expect(listed.find(({ name }) => name === next.name)).toMatchObject({ role: "leader", epoch: 2 });
}, 240_000);

test("principals that are restarted one after the other, the leader last: no request fails, each run and each line is there once", async () => {
  await using installation = await Installation.start(3, {
    workflows: { "hello.yml": shellWorkflow({ greet: { sh: "echo hello" } }) },
  });
  const { members } = installation;
  await installation.startAgent();
  const leader = await installation.leader();
  const runs: string[] = [];
  let restarting = members.find((member) => member !== leader);
  let isOver = false;
  const triggering = (async () => {
    for (let n = 0; !isOver; n++) {
      const asked = members.filter((member) => member !== restarting)[n % 2];
      const { workflow_instance_id: id } =
        (await asked?.client.runTask("hello", { dedupe_key: `${n}` })) ?? {};
      if (id !== undefined) runs.push(id);
      // As often as people and programs ask.
      await Bun.sleep(20);
    }
  })();
  for (const member of [...(await installation.followers()), leader]) {
    restarting = member;
    const before = runs.length;
    await until("it is asked nothing any more", () => runs.length > before + 1);
    member.process.kill("SIGTERM");
    expect((await member.process.finished).code).toBe(0);
    await installation.startAgain(member);
  }
  isOver = true;
  await triggering;
  const last = await installation.leader();
  expect(last).not.toBe(leader);
  for (const id of runs) expect((await runOver(last.client, id)).status).toBe("COMPLETED");
  expect(new Set(runs).size).toBe(runs.length);
  expect(await last.client.call("LSRUNS", { limit: 1000 })).toHaveLength(runs.length);
  // What its agent has, and the history not yet, is on the way.
  const rows = await until("all lines have arrived", async () => {
    const found = await last.client.call("QUERYDB", {
      sql: "SELECT workflow_instance_id, count(*) FROM logstore GROUP BY 1",
      max_rows: 10_000,
    });
    return found.rows.length >= runs.length && found.rows;
  });
  expect(rows.filter(([, count]) => Number(count) !== 1)).toEqual([]);
  expect(rows).toHaveLength(runs.length);
}, 240_000);
