/** The examples of the manual, run with stand-ins for the commands that they need. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { LocalHost } from "../../../src/agent/local/local-host.ts";
import { LocalRun } from "../../../src/agent/local/local-run.ts";
import { loadConfig } from "../../../src/config.ts";
import type { RunDetails } from "../../../src/contract/messages.ts";
import { WORKFLOW_EXAMPLES } from "../../../src/docs/examples.ts";
import { resolveParams } from "../../../src/workflow/params.ts";
import { parseWorkflow } from "../../../src/workflow/parse.ts";
import { Cluster, cdktr, cleanEnvironment, freePorts } from "../../support/cdktr.ts";
import { pythonWith } from "../../support/python.ts";
import { runOver, until } from "../support/fixtures.ts";

/** A stand-in without a text of its own says how it was called. */
const COMMANDS: Readonly<Record<string, string>> = {
  pg_dump: 'for word; do case $word in --file=*) echo dump > "$(echo "$word" | cut -d= -f2)";; esac; done',
  psql: "echo 42",
  openssl: "date -u -d '+10 days' '+notAfter=%b %e %T %Y GMT'",
  extract: 'echo "a row of $1"; echo "another row of $1"',
  load: "wc -l",
  "evaluate-model": "echo 0.95",
  sqlite3: "echo '2026-01-01  17  420'",
  "check-health": '[ "$1" != app ] || [ -e "$STATE/restarted" ]',
  systemctl: '[ "$1" != restart ] || touch "$STATE/restarted"; echo "systemctl $*"',
  "migrate-database": "exit 1",
  rsync: "exit 24",
  "check-table": 'echo "check-table $*"; [ "$2" != --range ]',
  git: 'for last; do :; done; mkdir "$last"',
  "export-api":
    "case $1 in start) echo job-7;; state) if [ -e ready ]; then echo ready; else touch ready; echo waits; fi;; fetch) echo {};; esac",
  "unused-accounts": "echo ada; echo grace",
  "disk-usage": 'if [ -e "$STATE/cleaned" ]; then echo 40; else echo 90; fi',
  "remove-old-files": 'touch "$STATE/cleaned"',
  pass: "echo a-token-of-the-provider",
  "my-address": "echo 192.0.2.7",
  "make-invoices": "echo []",
  "invoice-total": "echo 1200",
  "ledger-total": "echo 1200",
};

/** How a run ends; tasks that are not named have COMPLETED. */
interface Expected {
  readonly params?: Readonly<Record<string, string>>;
  /** The firing that the run is for. */
  readonly scheduled?: string;
  readonly status?: string;
  readonly tasks?: Readonly<Record<string, string>>;
  readonly outputs?: Readonly<Record<string, unknown>>;
  /** What is filled in when it asks a person. */
  readonly approve?: Readonly<Record<string, string>>;
}

/** What the example that asks a service asks. */
const service = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: () => Response.json({ state: "ready", version: "1.4" }),
});

const ENDS: Readonly<Record<string, Expected>> = {
  "canary-release": {
    params: { version: "v1.4.0" },
    approve: { share: "50" },
    tasks: { back: "SKIPPED" },
  },
  "data-quality": { tasks: { "plausible-total": "FAILED", on_failure: "SKIPPED" } },
  "database-migration": { status: "FAILED", tasks: { migrate: "FAILED" } },
  "day-by-day": { scheduled: "2026-01-20T01:30:00Z" },
  deploy: { params: { version: "v1.4.0" }, tasks: { rollback: "SKIPPED" } },
  "file-arrives": { params: { path: "/srv/incoming/a b.csv" } },
  "http-check": { params: { url: String(service.url) } },
  "index-search": { tasks: { on_failure: "SKIPPED" } },
  "invoice-batch": { tasks: { alarm: "SKIPPED" } },
  "mirror-sync": { tasks: { sync: "FAILED" } },
  "month-end": { scheduled: "2026-01-31T22:00:00Z" },
  nightly: { outputs: { rows: "42" } },
  "restart-service": { tasks: { healthy: "FAILED" } },
  "user-cleanup": { params: { lock: "true" } },
};

/** Words that are commands of this host as well as of the examples. */
const REAL = /^(tar|find|gzip|wc|sort|tail|date|df|cat|hostname|python3|rm|mv|mkdir|ls|cut|test|true)$/;

let cluster: Cluster;
let environment: Readonly<Record<string, string>>;

/** An example with its absolute paths below another directory. */
const below = (root: string, text: string) =>
  text.replaceAll(/(?<![\w.:/])\/(srv|etc|var|opt|run)\//g, `${root}/$1/`);

/** An example as the test runs it. */
const testable = (root: string, text: string) => below(root, text).replace("for: 10m", "for: 100ms");

function place(path: string, text: string, mode = 0o644): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  chmodSync(path, mode);
}

/** What the examples find on their host. */
function furnish(root: string): void {
  for (const directory of ["state", "srv/images", "var/log/app", "var/lib", "var/backups"])
    mkdirSync(join(root, directory), { recursive: true });
  place(join(root, "srv/data/a file"), "data\n");
  place(join(root, "srv/images/one.jpg"), "");
  place(join(root, "srv/incoming/orders.csv"), "1\n");
  place(join(root, "run/secrets/pg-backup"), "a-password-of-the-test\n", 0o600);
  place(join(root, "etc/default/old-script"), "GREETING=hello\n");
  place(
    join(root, "opt/old-script/greet"),
    '#!/bin/sh\nwhile read -r name; do echo "$GREETING $name"; done\n',
    0o755,
  );
}

beforeAll(async () => {
  cluster = new Cluster({}, await freePorts(3));
  const root = join(cluster.directory, "root");
  const commands = join(cluster.directory, "commands");
  const words = new Set(WORKFLOW_EXAMPLES.flatMap(({ text }) => text.match(/[a-z][\w-]*/g) ?? []));
  const named = [...words].filter((word) => /-/.test(word) || NAMED.has(word));
  for (const name of new Set([...Object.keys(COMMANDS), ...named])) {
    if (!REAL.test(name))
      place(join(commands, name), `#!/bin/sh\n${COMMANDS[name] ?? `echo "${name} $*"`}\n`, 0o755);
  }
  furnish(root);
  for (const { name, text } of WORKFLOW_EXAMPLES) cluster.writeWorkflow(`${name}.yml`, testable(root, text));
  cluster.writeWorkflow("_cdktr.yml", "pools: {warehouse: 4}\n");
  // Those that travel with a run.
  place(join(cluster.directory, "workflows/queries/orders.sql"), "SELECT 1\n");
  const uv = dirname(await pythonWith(["uv"]));
  environment = {
    PATH: `${commands}:${process.env.PATH}:${uv}`,
    STATE: join(root, "state"),
    EXPORT_TOKEN: "a-token-of-the-test",
    CDKTR_AGENT_MAX_TASKS: "8",
  };
  await cluster.startPrincipal([], { env: { PUSH_SECRET: "a-secret-of-the-test" } });
  await cluster.startAgent(["--label", "gpu=true"], { env: environment });
}, 240_000);
afterAll(async () => {
  await cluster?.stop();
  await service.stop(true);
});

/** Commands without a dash in their names. */
const NAMED = new Set([
  "createdb",
  "dropdb",
  "pg_restore",
  "certbot",
  "nginx",
  "mail",
  "make",
  "balancer",
  "convert",
  "usermod",
  "curl",
]);

test("each is valid, and begins with what it is for", async () => {
  const { code, stdout, stderr } = await cdktr(["workflow", "validate", cluster.workflowDirectory]);
  expect(`${stdout}${stderr}`).not.toMatch(/error|warning/);
  expect(code).toBe(0);
  for (const { about } of WORKFLOW_EXAMPLES) expect(about).toMatch(/^[A-Z].{20,160}\.$/);
});

/** The end of a run, and how it should be. */
function endOf(name: string, run: RunDetails): { readonly end: unknown; readonly expected: unknown } {
  const { status = "COMPLETED", tasks = {} } = ENDS[name] ?? {};
  const each = (value: (task: RunDetails["tasks"][number]) => unknown) =>
    Object.fromEntries(run.tasks.map((task) => [task.task_id, value(task)]));
  return {
    end: {
      name,
      status: run.status,
      tasks: each(({ status, error }) => `${status}${status === "FAILED" ? ` ${error}` : ""}`),
    },
    expected: {
      name,
      status,
      tasks: each(({ task_id }) => {
        const status = tasks[task_id] ?? "COMPLETED";
        return status === "FAILED" ? expect.stringMatching(/^FAILED /) : status;
      }),
    },
  };
}

function paramsOf(name: string, root: string): Record<string, string> {
  return Object.fromEntries(
    Object.entries(ENDS[name]?.params ?? {}).map(([key, value]) => [key, below(root, value)]),
  );
}

test("each runs as it is meant to", async () => {
  await until(
    "all are loaded",
    async () => Object.keys(await cluster.client.listWorkflows()).length === WORKFLOW_EXAMPLES.length,
  );
  const runs = await Promise.all(
    WORKFLOW_EXAMPLES.map(async ({ name }) => {
      const { workflow_instance_id } = await cluster.client.runTask(name, {
        params: paramsOf(name, join(cluster.directory, "root")),
        dedupe_key: name,
        ...(ENDS[name]?.scheduled === undefined
          ? {}
          : { scheduled_time_ms: Date.parse(ENDS[name].scheduled) }),
      });
      return { name, id: workflow_instance_id };
    }),
  );
  const ends = await Promise.all(
    runs.map(async ({ name, id }) => {
      const params = ENDS[name]?.approve;
      if (params !== undefined) {
        const asks = async () => ((await cluster.client.getRun(id)).approvals ?? []).length > 0;
        await until(`${name} asks`, asks);
        const answer = { workflow_instance_id: id, answer: "approve", params, dedupe_key: name } as const;
        await cluster.client.answerApproval(answer);
      }
      return endOf(name, await runOver(cluster.client, id));
    }),
  );
  expect(ends.map(({ end }) => end)).toEqual(ends.map(({ expected }) => expected));
}, 240_000);

test("each ends in the same way without a principal", async () => {
  const root = join(cluster.directory, "alone");
  furnish(root);
  const host = new LocalHost({
    config: loadConfig().values,
    output: { addLines: () => {}, room: () => undefined },
    cleaner: null,
    own: { ...cleanEnvironment(environment), STATE: join(root, "state") },
    directory: cluster.directory,
    parent: root,
  });
  const workflows = new Map(
    WORKFLOW_EXAMPLES.map(({ name, text }) => {
      const { scheduled } = ENDS[name] ?? {};
      // There is no firing of a schedule.
      const dated = text.replaceAll("run.scheduled_time", `timestamp("${scheduled}")`);
      const own = testable(root, scheduled === undefined ? text : dated);
      const parsed = parseWorkflow(own, { path: `${name}.yml`, id: name });
      if (!parsed.ok) throw new Error(`${name} is not valid`);
      return [name, { definition: parsed.definition, directory: cluster.workflowDirectory }];
    }),
  );
  const runs = [...workflows].map(([name, { definition, directory }]) => {
    const run = new LocalRun(host, {
      definition,
      directory,
      workflow_instance_id: crypto.randomUUID(),
      created_at_ms: Date.now(),
      params: resolveParams(definition, paramsOf(name, root)),
      trigger: "cli",
      workflows,
      asker: async () => ({ answer: "approve", params: ENDS[name]?.approve ?? {}, note: "", by: "ada" }),
    });
    run.start();
    return { name, run };
  });
  const ends = await Promise.all(runs.map(async ({ name, run }) => endOf(name, await run.over)));
  await host.idle;
  await host.close();
  expect(ends.map(({ end }) => end)).toEqual(ends.map(({ expected }) => expected));
}, 240_000);

test("one is printed as it is, for a file", async () => {
  const { stdout } = await cdktr(["docs", "examples", "hello"]);
  expect(stdout).toBe(WORKFLOW_EXAMPLES.find(({ name }) => name === "hello")?.text as string);
  const unknown = await cdktr(["docs", "examples", "helo"]);
  expect([unknown.code, unknown.stderr]).toEqual([4, expect.stringContaining("Did you mean 'hello'?")]);
});
