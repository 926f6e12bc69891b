/** Two agents with the same id. */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { startCluster } from "../../support/cdktr.ts";
import { gate, runOver, shellWorkflow, TemporaryDirectory, until } from "../support/fixtures.ts";
import { IMPATIENT, trigger } from "./support.ts";

test("the second one ends with status 1 and says who has the id; the first one works on; a lost one's id is free", async () => {
  using directory = new TemporaryDirectory();
  await using cluster = await startCluster({
    env: IMPATIENT,
    workflows: { "gated.yml": shellWorkflow({ a: { sh: gate(directory.path("gate")) } }) },
  });
  const start = ["start", "agent", "--suffix", "twin"];
  const first = await cluster.startAgent(["--suffix", "twin"]);
  const run = await trigger(cluster, "gated");
  await until("the task runs", async () => (await cluster.client.getRun(run)).tasks.length === 1);

  // On the same host, with the same data directory: it does not even get to its outbox.
  const here = await cluster.cdktr(start);
  expect(here.code).toBe(1);
  expect(here.stderr).toMatch(
    new RegExp(`An agent with the id ".*-twin" runs on this host already \\(pid ${first.pid}\\)`),
  );
  expect(here.stderr).toContain("--suffix");

  // As from another host: only the principal can know.
  const elsewhere = ["--data-dir", directory.path("elsewhere")];
  const there = await cluster.cdktr([...start, ...elsewhere]);
  expect(there.code).toBe(1);
  expect(there.stderr).toMatch(
    new RegExp(`agent id in use by .* pid ${first.pid}; give this one another with --suffix`),
  );

  expect((await cluster.client.registeredAgents()).map((agent) => agent.status)).toEqual(["UP"]);
  first.kill("SIGKILL");
  await first.finished;
  await until("it is lost", async () => {
    const [agent] = await cluster.client.registeredAgents();
    return agent?.status === "LOST";
  });
  await cluster.startAgent(["--suffix", "twin", ...elsewhere]);
  writeFileSync(directory.path("gate"), "");
  expect(await runOver(cluster.client, run)).toMatchObject({ status: "COMPLETED", attempt: 2 });
}, 60_000);
