/** Every table on terminals of 60, 80 and 200 columns, with names that are long and wide: no line is wider than the terminal. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { CDKTR, type Cluster, cleanEnvironment, startCluster } from "../support/cdktr.ts";
import { runOver, shellWorkflow } from "./support/fixtures.ts";

const LONG = "a-rather-long-name-as-people-give-them-to-what-they-run-every-night-in-production";
const WIDE = "日本語の長い名前👩‍🚀のワークフロー🎉".repeat(3);
const WORKFLOW = `etl.${LONG}`;

let cluster: Cluster;
let runId: string;
beforeAll(async () => {
  cluster = await startCluster({
    workflows: {
      [`etl/${LONG}.yml`]: shellWorkflow({ [`t_${LONG}`]: { sh: "echo oops >&2; exit 3" } }).replace(
        /^name: .*$/m,
        `name: ${WIDE}\ndescription: ${WIDE}\ncron: "0 30 4 * * MON-FRI"\ntimezone: America/Argentina/ComodRivadavia\nparams: { ${LONG.replaceAll("-", "_")}: ${WIDE} }`,
      ),
    },
  });
  await cluster.cdktr(["keys", "init", "--data-dir", cluster.directory]);
  await cluster.cdktr(["keys", "add", LONG, "--data-dir", cluster.directory]);
  await cluster.cdktr(["join-token", "create", "--data-dir", cluster.directory]);
  await cluster.startAgent(["--suffix", LONG.slice(0, 60), "--label", `${LONG}=${WIDE}`]);
  const created = await cluster.client.runTask(WORKFLOW, { dedupe_key: crypto.randomUUID() });
  runId = created.workflow_instance_id;
  await runOver(cluster.client, runId);
});
afterAll(() => cluster.stop());

/** Runs a command on a terminal of its own; gives the lines that it shows. */
async function onTerminal(columns: number, args: readonly string[]): Promise<string[]> {
  const words = [...CDKTR, ...args].map((word) => `'${word}'`).join(" ");
  const child = Bun.spawn(["script", "-qec", `stty cols ${columns} rows 40; exec ${words}`, "/dev/null"], {
    cwd: cluster.directory,
    env: cleanEnvironment({ ...cluster.env, TERM: "xterm" }),
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
  });
  const text = await new Response(child.stdout).text();
  expect(await child.exited).toBe(0);
  return text.split(/\r?\n/).map((line) => Bun.stripANSI(line));
}

for (const columns of [60, 80, 200]) {
  test(`tables on ${columns} columns`, async () => {
    const commands = [
      ["workflow", "list"],
      ["runs", "list"],
      ["runs", "show", runId],
      ["agents", "list"],
      ["listeners", "list"],
      ["keys", "list", "--data-dir", cluster.directory],
      ["join-token", "list", "--data-dir", cluster.directory],
      ["config", "list"],
      ["docs"],
    ];
    const shown = await Promise.all(commands.map((command) => onTerminal(columns, command)));
    const tooWide = shown.flatMap((lines, i) =>
      // Of a run's page, only the tables: its facts and its timeline are prose.
      lines
        .filter((line) => commands[i]?.[1] !== "show" || /^ {2}(?!\d\d:)\S+ {2,}\S/.test(line))
        .filter((line) => Bun.stringWidth(line) > columns)
        .map((line) => `${commands[i]?.slice(0, 2).join(" ")}: ${line}`),
    );
    expect(tooWide).toEqual([]);
    for (const [i, lines] of shown.entries())
      expect({ command: commands[i], lines: lines.length > 1 }).toEqual({
        command: commands[i],
        lines: true,
      });
  });
}
