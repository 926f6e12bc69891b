/** Other users of the host cannot read logs and parameters, whatever the mode of the data directory. */
import { expect, test } from "bun:test";
import { chmodSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { startCluster } from "../../support/cdktr.ts";
import { runOver, shellWorkflow } from "../support/fixtures.ts";

/** The files and directories below a directory that others can access. */
function open(directory: string): string[] {
  return readdirSync(directory, { recursive: true })
    .map(String)
    .filter((name) => (statSync(join(directory, name)).mode & 0o077) !== 0)
    .toSorted();
}

test("files in a data directory that others can enter are their owner's alone; tasks keep the umask of the agent", async () => {
  await using cluster = await startCluster({
    workflows: {
      "made.yml": shellWorkflow({ umask: { sh: "umask" } }, 'cron: "0 0 3 * * *"\n'),
    },
  });
  await cluster.principal?.stop();
  chmodSync(cluster.dataDirectory, 0o755);
  for (const name of ["app.db", "state.db"]) chmodSync(join(cluster.dataDirectory, name), 0o644);
  // An operator's own file is not ours to change.
  mkdirSync(join(cluster.dataDirectory, "mine"));
  chmodSync(join(cluster.dataDirectory, "mine"), 0o755);
  const before = process.umask(0o022);
  try {
    const principal = await cluster.startPrincipal();
    await principal.waitFor(/Other users of this host had access to .*app\.db/);
    await cluster.startAgent();
  } finally {
    process.umask(before);
  }
  const { workflow_instance_id } = await cluster.client.runTask("made", { dedupe_key: "1" });
  expect((await runOver(cluster.client, workflow_instance_id)).status).toBe("COMPLETED");
  const { rows } = await cluster.client.searchLogs({ workflow_instance_id });
  expect(rows.map((row) => row[7])).toEqual(["0022"]);
  expect(open(cluster.dataDirectory)).toEqual(["mine"]);
});
