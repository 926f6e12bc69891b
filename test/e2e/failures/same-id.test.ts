/** Two agents with the same id. */
import { expect, test } from "bun:test";
import { cpSync, writeFileSync } from "node:fs";
import { startCluster } from "../../support/cdktr.ts";
import { gate, runOver, shellWorkflow, TemporaryDirectory, until } from "../support/fixtures.ts";
import { IMPATIENT, PATIENT, trigger } from "./support.ts";

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
    new RegExp(`An agent with the id ".*-twin" is already running on this host \\(pid ${first.pid}\\)`),
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

test("with a copy of a data directory, only one agent keeps running, even if it was copied while running; a restart in place is not a copy", async () => {
  using directory = new TemporaryDirectory();
  await using cluster = await startCluster({
    env: PATIENT,
    workflows: { "gated.yml": shellWorkflow({ a: { sh: gate(directory.path("gate")) } }) },
  });
  const { principal } = cluster;
  const copy = (name: string) => {
    cpSync(`${cluster.dataDirectory}/agents`, `${directory.path(name)}/agents`, { recursive: true });
    return ["start", "agent", "--suffix", "twin", "--data-dir", directory.path(name)];
  };
  const isRefused = async (words: readonly string[]) => {
    const clone = await cluster.cdktr(words);
    expect(clone.code).toBe(1);
    expect(clone.stderr).toMatch(/the data directory of agent ".*-twin" is in use twice: .* pid \d+ answers/);
    expect(clone.stderr).toContain("--suffix");
  };
  const trained = await cluster.startAgent(["--suffix", "twin"]);
  expect((await trained.stop()).code).toBe(0);
  const image = copy("image");
  const first = await cluster.startAgent(["--suffix", "twin"]);
  const run = await trigger(cluster, "gated");
  await until("the task runs", async () => (await cluster.client.getRun(run)).tasks.length === 1);
  await isRefused(image);
  await isRefused(copy("live"));
  expect(principal?.stderr.match(/-twin registered/g)?.length).toBe(2);
  await principal?.waitFor(/is refused: the data directory of agent ".*-twin" is in use twice/);

  // Its runs go on: the copies have changed nothing.
  writeFileSync(directory.path("gate"), "");
  expect(await runOver(cluster.client, run)).toMatchObject({ status: "COMPLETED", attempt: 1 });

  // It follows the one that was killed at once, long before that one is lost.
  first.kill("SIGKILL");
  await first.finished;
  const next = await cluster.startAgent(["--suffix", "twin"]);
  expect(next.stderr).not.toContain("yet");
}, 60_000);
