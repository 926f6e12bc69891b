/**
 * Cleans up after tasks. When an agent was killed, its next start (or that of any agent with the same data directory on this host)
 * ends the processes of its tasks. While an agent runs, it ends processes that outlive their task, such as daemons.
 *
 * A process is recognized by its group, whose leader the outbox records by pid and start time, or by the marker that cdktr puts into
 * the environment of every task. A task that wants to leave something running starts it in its own session without that marker:
 * `env -u CDKTR_TASK_INSTANCE_ID -u CDKTR_AGENT_STREAM_ID setsid PROGRAM`.
 */

import { Database } from "bun:sqlite";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { bootId } from "../host/boot.ts";
import { log } from "../log.ts";
import { BackgroundService } from "../service.ts";
import { AGENT_MARKER, TASK_MARKER } from "./environment.ts";
import { reap } from "./libc.ts";
import type { Outbox, ProcessRecord } from "./outbox.ts";
import { formerOf, OUTBOX_FILE, placeOf } from "./outbox-file.ts";
import { isAlive, listPids, type ProcessStat, readEnvironment, readStat } from "./proc-files.ts";
import { describeProcesses, endProcesses, processesMarked } from "./process-group.ts";
import { describeSurvivors, type Survivor, type Survivors, survivorOf } from "./survivors.ts";
import type { TaskLog } from "./task-log.ts";

/** How long after the end of a run the agent looks for leftovers, ms. */
const SWEEP_DELAY_MS = 1000;

/** Interval of the looks for zombies, ms. */
const REAP_MS = 1000;

/** What a {@link StraySweep} knows of the agent. */
export interface SweepOptions {
  /** Task runs that currently have a process; evaluated on each look. */
  readonly liveTasks: ReadonlySet<string>;
  /** Logs of the task runs that have ended since the last look. */
  readonly endedTasks: Map<string, Pick<TaskLog, "remark">>;
  readonly survivors: Survivors;
  /** Time between TERM and KILL, ms. */
  readonly graceMs: number;
}

/** Tasks of an agent that no longer exists. */
export interface Legacy {
  readonly streamId: string;
  readonly processes: readonly ProcessRecord[];
}

/**
 * Ends the leftovers of killed agents: the previous process of this one, and agents whose data directories are next to its own and
 * not in use. Resolves when they are gone.
 * @param agentsDirectory contains the data directories of all agents on this host
 * @returns the processes that could not be ended
 */
export async function endOrphans(
  outbox: Outbox,
  agentsDirectory: string,
  graceMs: number,
): Promise<Survivor[]> {
  const records = outbox.processes();
  const legacies: Legacy[] = [
    // In a copied directory they belong to the original agent, which may be running.
    ...(outbox.former.in_place ? [{ streamId: outbox.streamId, processes: records }] : []),
    ...abandoned(agentsDirectory),
  ];
  const survivors = await endLegacies(legacies, graceMs, "An agent");
  const groups = new Set(survivors.map(({ group }) => group));
  for (const { pid } of records) if (!groups.has(pid)) outbox.forgetProcess(pid);
  return survivors;
}

/**
 * Ends the processes of tasks that nobody watches any more.
 * @param graceMs time between TERM and KILL, ms
 * @param who was killed, for the log
 * @returns those that could not be ended
 */
export async function endLegacies(
  legacies: readonly Legacy[],
  graceMs: number,
  who: string,
): Promise<Survivor[]> {
  const find = () => findOrphans(legacies);
  const found = find();
  if (found.length === 0) return [];
  log.warn(
    `${who} that was killed left processes of its tasks running: ${describeProcesses(found)}. They will be ended.`,
  );
  if (await endProcesses(find, graceMs)) return [];
  const survivors = find().map(survivorOf);
  if (survivors.length > 0) log.error(`${describeSurvivors(survivors)}.`);
  return survivors;
}

/** The neighbouring outboxes that no process holds. */
function abandoned(agentsDirectory: string): Legacy[] {
  const legacies: Legacy[] = [];
  for (const name of readdirSync(agentsDirectory)) {
    const path = join(agentsDirectory, name, OUTBOX_FILE);
    if (!existsSync(path)) continue;
    try {
      const db = new Database(path, { readwrite: true, create: false });
      try {
        const stream = db.query<{ stream_id: string }, []>("SELECT stream_id FROM stream").get();
        const processes = db.query<ProcessRecord, []>("SELECT * FROM processes").all();
        if (stream !== null && isInPlace(db, path)) legacies.push({ streamId: stream.stream_id, processes });
      } finally {
        db.close();
      }
    } catch {
      // In use, as a running agent's outbox is, or unreadable: leave it alone.
    }
  }
  return legacies;
}

/** Whether a neighbouring outbox is still where its agent used it. An outbox of an older cdktr does not record its place. */
function isInPlace(db: Database, path: string): boolean {
  const table = db.query("SELECT 1 FROM sqlite_schema WHERE name = 'owner'").get();
  return table === null || formerOf(db, placeOf(path)).in_place;
}

function findOrphans(legacies: readonly Legacy[]): ProcessStat[] {
  const boot = bootId();
  const markers = new Set(legacies.map(({ streamId }) => `${AGENT_MARKER}=${streamId}`));
  // Groups whose leader is still the recorded process. A zombie leader keeps its pid and start time too.
  const groups = new Set<number>();
  for (const { processes } of legacies) {
    for (const record of processes) {
      if (record.boot_id === boot && readStat(record.pid)?.startTicks === record.start_ticks)
        groups.add(record.pid);
    }
  }
  const own = ancestry();
  const found: ProcessStat[] = [];
  for (const pid of listPids()) {
    if (own.has(pid)) continue;
    const stat = readStat(pid);
    if (stat === undefined || !isAlive(stat)) continue;
    if (groups.has(stat.group) || readEnvironment(pid).some((entry) => markers.has(entry))) found.push(stat);
  }
  return found;
}

/** This process and its ancestors: an agent may have been started by a task of its previous process. */
function ancestry(): Set<number> {
  const pids = new Set<number>();
  for (let pid = process.pid; pid > 0 && !pids.has(pid); pid = readStat(pid)?.parent ?? 0) pids.add(pid);
  return pids;
}

/** Ends processes that outlive the task run that started them. Only looks after a run has ended. */
export class StraySweep extends BackgroundService {
  readonly name = "sweep of stray processes";
  readonly #stream: { readonly streamId: string };
  readonly #o: SweepOptions;
  readonly #soon = this.timer(() => this.#sweepNow());
  #isDue = false;
  #sweeping: Promise<void> = Promise.resolve();

  constructor(stream: { readonly streamId: string }, options: SweepOptions) {
    super();
    this.#stream = stream;
    this.#o = options;
  }

  /** A run has ended: schedules one look for all runs that end in the meantime. */
  schedule(): void {
    this.#isDue = true;
    this.#soon.within(SWEEP_DELAY_MS);
  }

  #sweepNow(): void {
    this.#isDue = false;
    this.#sweeping = this.sweep();
  }

  protected override onStart(): void {}

  /** Looks for leftovers now; resolves when those found are gone. */
  async sweep(): Promise<void> {
    const { survivors, graceMs, endedTasks } = this.#o;
    const logs = new Map(endedTasks);
    endedTasks.clear();
    const own = ancestry();
    const find = () =>
      processesMarked((environment) => this.#isStray(environment)).filter(
        (found) => !own.has(found.pid) && !survivors.has(found),
      );
    const found = find();
    if (found.length === 0) return;
    log.warn(
      `Processes outlived the tasks that started them: ${describeProcesses(found)}. They will be ended.`,
    );
    for (const [task, left] of Map.groupBy(found, ({ pid }) => markerOf(readEnvironment(pid))))
      logs
        .get(task ?? "")
        ?.remark(
          "WARN",
          `The task had left processes running: ${describeProcesses(left)}. They will be ended.`,
        );
    if (await endProcesses(find, graceMs)) return;
    const left = find().map(survivorOf);
    if (left.length === 0) return;
    survivors.add(left);
    log.error(`${describeSurvivors(left)}.`);
  }

  /** Looks a last time if a look is due. */
  protected override async onStop(): Promise<void> {
    await this.#sweeping;
    if (this.#isDue) this.#sweepNow();
    await this.#sweeping;
  }

  #isStray(environment: readonly string[]): boolean {
    if (!environment.includes(`${AGENT_MARKER}=${this.#stream.streamId}`)) return false;
    const task = markerOf(environment);
    return task !== undefined && !this.#o.liveTasks.has(task);
  }
}

/** The task run to which a process belongs, from its environment. */
function markerOf(environment: readonly string[]): string | undefined {
  return environment.find((entry) => entry.startsWith(`${TASK_MARKER}=`))?.slice(TASK_MARKER.length + 1);
}

/**
 * Reaps what tasks left, if this process is the init of a container: orphans become its children, and nobody else waits for them. The
 * children that the runtime started are reaped by it as soon as they end; what is a zombie for two looks in a row is not one of them.
 */
export class ZombieReaper extends BackgroundService<Record<never, never>> {
  readonly name = "zombie reaper";
  readonly #look = this.timer(() => this.#reap());
  #seen = new Set<number>();

  protected override onStart(): void {
    if (process.pid === 1) this.#look.every(REAP_MS);
  }

  #reap(): void {
    const zombies = new Set<number>();
    for (const pid of listPids()) {
      const stat = readStat(pid);
      if (stat?.parent !== process.pid || stat.state !== "Z") continue;
      if (this.#seen.has(pid)) reap(pid);
      else zombies.add(pid);
    }
    this.#seen = zombies;
  }
}
