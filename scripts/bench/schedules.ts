/** What schedules cost: many workflow files that wait for their times, and many workflows that fire at the same time. */
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PrincipalClient } from "../../src/protocol/client.ts";
import { BINARY } from "../support/paths.ts";
import { freePorts } from "../support/ports.ts";
import { killGroup } from "../support/run.ts";
import { cpuMs, residentMb } from "./fleet.ts";
import { type Measure, quantile } from "./measure.ts";

/** How long a start may take, ms. */
const PATIENCE_MS = 900_000;

const ZONES = Intl.supportedValuesOf("timeZone")
  .filter((_, n) => n % 10 === 0)
  .slice(0, 40);
/** 500 times of a day. They are not due while this runs, except by chance. */
const times = Array.from({ length: 500 }, (_, n) => `${n % 60} ${(n * 7) % 24} ${1 + (n % 28)} * *`);

/** A principal alone, with workflow files, whose data outlives it. */
class Alone {
  readonly directory = mkdtempSync(join(tmpdir(), "cdktr-bench-"));
  readonly #log = join(this.directory, "log");
  #child: ReturnType<typeof Bun.spawn> | undefined;
  client: PrincipalClient | undefined;

  constructor(workflows: Iterable<readonly [path: string, text: string]>) {
    for (const [path, text] of workflows) {
      const file = join(this.directory, "workflows", path);
      mkdirSync(join(file, ".."), { recursive: true });
      writeFileSync(file, text);
    }
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** How often its log has said something. */
  count(pattern: RegExp): number {
    return readFileSync(this.#log, "utf8").match(new RegExp(pattern, "g"))?.length ?? 0;
  }

  async until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
    const deadline = performance.now() + PATIENCE_MS;
    while (!(await isSo())) {
      if (performance.now() > deadline) throw new Error(`not ${what}:\n${readFileSync(this.#log, "utf8")}`);
      await Bun.sleep(20);
    }
  }

  async start(): Promise<void> {
    const [api = 0, listening = 0, publishing = 0] = await freePorts(3);
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith("CDKTR_"));
    appendFileSync(this.#log, "");
    const output = openSync(this.#log, "a");
    this.#child = Bun.spawn([BINARY, "start", "principal"], {
      cwd: this.directory,
      env: {
        ...Object.fromEntries(inherited),
        CDKTR_PRINCIPAL_PORT: String(api),
        CDKTR_LOGS_LISTENING_PORT: String(listening),
        CDKTR_LOGS_PUBLISHING_PORT: String(publishing),
        CDKTR_METRICS_PORT: "0",
        CDKTR_APP_DATA_DIRECTORY: join(this.directory, "data"),
        CDKTR_DB_PATH: join(this.directory, "data", "app.db"),
        CDKTR_WORKFLOW_DIR: join(this.directory, "workflows"),
      },
      stdin: "ignore",
      stdout: output,
      stderr: output,
      detached: true,
    });
    this.client = new PrincipalClient({ host: "127.0.0.1", port: api, timeoutMs: 60_000 });
  }

  async stop(): Promise<void> {
    await this.client?.close();
    this.#child?.kill("SIGTERM");
    await Promise.race([this.#child?.exited, Bun.sleep(30_000)]);
    if (this.#child !== undefined) killGroup(this.#child.pid, "SIGKILL");
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

const alone = { against: null, baseline: null } as const;

/** Many files with schedules: start, memory, rest, and what a changed file costs. */
export async function manySchedules(files: number, restMs: number): Promise<Measure[]> {
  const text = (n: number) =>
    `cron: "${times[n % times.length]}"\ntimezone: ${ZONES[n % ZONES.length]}\ntasks:\n  a: {run: "true"}\n`;
  const principal = new Alone(
    Array.from({ length: files }, (_, n) => [`d${n % 100}/w${n}.yml`, text(n)] as const),
  );
  const measures: Measure[] = [];
  const name = (what: string) => `${files.toLocaleString("en")} scheduled files, ${what}`;
  const all = new RegExp(`${files} workflows have schedules`);
  try {
    for (const [nth, what] of [
      [1, "first start until all wait for their times"],
      [2, "later start until then"],
    ] as const) {
      const began = performance.now();
      await principal.start();
      await principal.until("armed", () => principal.count(all) === nth);
      measures.push({ name: name(what), unit: "ms", cdktr: performance.now() - began, ...alone });
      if (nth === 2) break;
      // All files have been read, and what they are is in the state.
      await principal.stop();
    }
    await atRestFor(principal.pid, 2 * restMs);
    const memory = residentMb(principal.pid);
    measures.push({ name: name("memory of the principal"), unit: "MB", cdktr: memory, ...alone });
    const before = cpuMs(principal.pid);
    const began = performance.now();
    await Bun.sleep(restMs);
    const share = (100 * (cpuMs(principal.pid) - before)) / (performance.now() - began);
    measures.push({ name: name("processor at rest"), unit: "% of a core", cdktr: share, ...alone });
    const used = cpuMs(principal.pid);
    const path = join(principal.directory, "workflows", "d0", "w0.yml");
    writeFileSync(path, text(1));
    await principal.until("read", () => principal.count(/Workflow d0\.w0 changed/) === 1);
    await principal.until("at rest", () => isAtRest(principal.pid));
    measures.push({
      name: name("processor time for one that changes"),
      unit: "ms",
      cdktr: cpuMs(principal.pid) - used,
      ...alone,
    });
  } finally {
    await principal.stop();
    principal.remove();
  }
  return measures;
}

/** Whether a process uses less than 5 % of a processor for a second. */
async function isAtRest(pid: number): Promise<boolean> {
  const before = cpuMs(pid);
  await Bun.sleep(1000);
  return cpuMs(pid) - before < 50;
}

/** Resolves when a process has been at rest for so long: what a start leaves is collected up to half a minute later, once. */
async function atRestFor(pid: number, ms: number): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  for (let since = performance.now(); performance.now() - since < ms; ) {
    if (performance.now() > deadline) throw new Error("the principal does not come to rest");
    if (!(await isAtRest(pid))) since = performance.now();
  }
}

/** Workflows that all fire in the same second: how late their runs are created, and are on disk. */
export async function firings(workflows: number, rounds: number): Promise<Measure[]> {
  const every = 15;
  const text = `cron: "*/${every} * * * * *"\ncatchup: all\ntasks:\n  a: {run: "true"}\n`;
  const principal = new Alone(Array.from({ length: workflows }, (_, n) => [`w${n}.yml`, text] as const));
  const late: number[] = [];
  const stored: number[] = [];
  try {
    await principal.start();
    const all = new RegExp(`${workflows} workflows have schedules`);
    await principal.until("armed", () => principal.count(all) === 1);
    const { client } = principal;
    const newest = async (limit: number) => (await client?.listRuns({ limit })) ?? [];
    const known = new Set<string>();
    // The first one warms up.
    for (let round = 0; round <= rounds; round++) {
      const due = (Math.floor(Date.now() / 1000 / every) + 1) * every * 1000;
      await Bun.sleep(due - Date.now() - 5);
      let found = await newest(1);
      // The runs of one time are one commit: when one can be seen, all can.
      while (found.every((run) => known.has(run.workflow_instance_id))) {
        await Bun.sleep(2);
        found = await newest(1);
      }
      const seen = Date.now() - due;
      await principal.until(
        "all runs of a time",
        async () => (await newest(10_000)).length >= workflows * (round + 1),
      );
      for (const run of await newest(workflows)) {
        known.add(run.workflow_instance_id);
        if (round > 0) late.push(run.created_at_ms - due);
      }
      if (round > 0) stored.push(seen);
    }
  } finally {
    await principal.stop();
    principal.remove();
  }
  const name = (what: string) => `${workflows.toLocaleString("en")} firings in one second, ${what}`;
  return [
    { name: name("runs created after, p50"), unit: "ms", cdktr: quantile(late, 0.5), ...alone },
    { name: name("runs created after, p99"), unit: "ms", cdktr: quantile(late, 0.99), ...alone },
    {
      name: name("runs on disk after, median of rounds"),
      unit: "ms",
      cdktr: quantile(stored, 0.5),
      ...alone,
    },
  ];
}
