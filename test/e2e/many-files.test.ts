/** Thousands of workflow files: what the start of the principal costs, and what it does not read again. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { Cluster, freePorts } from "../support/cdktr.ts";
import { LONG } from "../support/long.ts";
import { COMPILED, until } from "./support/fixtures.ts";

const [FILES, TASKS] = LONG ? [30_000, 30] : [600, 5];
const name = (n: number) => `g${Math.floor(n / 500)}/w${n}.yml`;

function text(title: string): string {
  const tasks = Array.from({ length: TASKS }, (_, n) =>
    [
      `  task${n}:`,
      `    name: Task ${n}`,
      "    description: some words about this task that somebody wrote",
      "    config: !Subprocess",
      "      cmd: 'true'",
      "      args: ['--alpha', 'beta', '--gamma=delta']",
    ].join("\n"),
  );
  return `name: ${title}\ncron: '0 0 3 * * *'\ndescription: ${"text ".repeat(40)}\ntasks:\n${tasks.join("\n")}\n`;
}

const residentMb = (pid: number) =>
  Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1000;

test.if(COMPILED)(
  "many workflow files are parsed in other processes, and those that have not changed not again at the next start",
  async () => {
    const env = { CDKTR_WORKFLOW_DIR_REFRESH_FREQUENCY_S: "86400" };
    await using cluster = new Cluster({ env, readyMs: 120_000 }, await freePorts(3));
    for (let n = 0; n < FILES; n++) cluster.writeWorkflow(name(n), text(`W${n}`));
    const { ctimeMs } = statSync(join(cluster.workflowDirectory, name(FILES - 1)));
    // A file that has just changed is read again at the next start.
    await until("the files are no longer new", () => Date.now() - ctimeMs > 2000);

    const inUse = async () => {
      const began = performance.now();
      const starting = cluster.startPrincipal();
      const { principal } = cluster;
      if (principal === undefined) throw new Error("it was not started");
      await principal.waitFor(new RegExp(` (?:read: )?${FILES} workflows(?: in |$)`, "m"));
      const seconds = (performance.now() - began) / 1000;
      await starting;
      expect(principal.stdout + principal.stderr).not.toContain("No child process can be started");
      return { principal, seconds };
    };

    const first = await inUse();
    const listed = await cluster.client.listWorkflows();
    expect(Object.keys(listed)).toHaveLength(FILES);
    expect(listed["g0.w7"]).toMatchObject({ name: "W7", tasks: TASKS, next_firing_ms: expect.any(Number) });
    cluster.writeWorkflow(name(7), text("Changed"));
    await until(
      "a changed file is in use",
      async () => (await cluster.client.getWorkflow("g0.w7")).summary.name === "Changed",
    );
    const firstMb = LONG ? await settled(first.principal.pid) : 0;
    await first.principal.stop();

    // What is not read again is as it was stored.
    {
      using database = new Database(join(cluster.dataDirectory, "state.db"));
      database.run(`UPDATE workflow_files SET facts = replace(facts, '"W8"', '"As stored"')`);
      database.run(`UPDATE workflow_files SET facts = replace(facts, '"W9"', '"As stored"')`);
    }
    cluster.writeWorkflow(name(9), text("Changed meanwhile"));
    const second = await inUse();
    const again = await cluster.client.listWorkflows();
    expect(["g0.w7", "g0.w8", "g0.w9"].map((id) => again[id]?.name)).toEqual([
      "Changed",
      "As stored",
      "Changed meanwhile",
    ]);
    expect(Object.keys(again)).toHaveLength(FILES);
    if (!LONG) return;
    const secondMb = await settled(second.principal.pid);
    console.log(
      `${FILES} files: ${first.seconds.toFixed(1)} s and ${firstMb.toFixed(0)} MB at the first start, ${second.seconds.toFixed(1)} s and ${secondMb.toFixed(0)} MB at the next`,
    );
    expect(second.seconds).toBeLessThan(first.seconds);
    expect(Math.max(firstMb, secondMb)).toBeLessThan(500);
  },
  900_000,
);

/** The memory of a principal when it has given back what its start needed, MB. */
async function settled(pid: number): Promise<number> {
  let last = residentMb(pid);
  let since = performance.now();
  await until(
    "the memory stays as it is",
    () => {
      const now = residentMb(pid);
      if (Math.abs(now - last) > 5) [last, since] = [now, performance.now()];
      // Nothing says that a process will give nothing back any more: the guard looks again some seconds after it was last busy.
      return performance.now() - since > 8000;
    },
    120_000,
  );
  return last;
}
