/**
 * A principal whose store, runs, admission and dispatcher are real, simulated agents, and workflows whose runs share groups and pools. By
 * chance, everything happens to them: triggers, retries, child runs, runs in the future, cancels, pauses, other priorities, other sizes of
 * pools, lost agents, failing disks, restarts, an older cdktr. After each unit of work, the {@link Reference} judges the rows.
 */
import { Database } from "bun:sqlite";
import { expect } from "bun:test";
import { join } from "node:path";
import { CdktrError } from "../../src/errors.ts";
import type { StoredDefinition } from "../../src/principal/runs/workflow-source.ts";
import type { WaitRecord } from "../../src/storage/operational/store.ts";
import { parseWorkflow } from "../../src/workflow/parse.ts";
import { planOf } from "../../src/workflow/plan.ts";
import { AgentPosts, type Post } from "../principal/agent-posts.ts";
import type { SimulatedAgent } from "../principal/simulated-agent.ts";
import type { TestStores } from "../storage/operational-support.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { BackfillRows, BEGINS_MS } from "./backfill-rows.ts";
import type { Fault } from "./faults.ts";
import { LimitedPrincipal } from "./limited-principal.ts";
import {
  BrokenPromise,
  type Limits,
  NOTHING,
  type OnConflict,
  Reference,
  snapshot,
} from "./limits-reference.ts";

/** Which parts of the language are played with. */
export interface Parts {
  readonly groups: boolean;
  readonly pools: boolean;
  readonly pauses: boolean;
  readonly priorities: boolean;
  readonly backfills: boolean;
}

const POLICIES: readonly OnConflict[] = ["queue", "queue_latest", "skip", "cancel_running"];
const REGIONS = ["eu", "us"];
/** Unfinished runs at which no more are made. */
const MANY = 25;

/** A workflow of the world. */
interface Flow {
  readonly id: string;
  readonly text: string;
  readonly limits: Limits;
  readonly stored: StoredDefinition;
}

/** A world. */
export class LimitsWorld {
  readonly trace: string[] = [];
  readonly #random: () => number;
  readonly #stores: TestStores;
  readonly #parts: Parts;
  readonly #clock = new ManualClock();
  readonly #flows: ReadonlyMap<string, Flow>;
  readonly #sizes = new Map([
    ["db", 4],
    ["api", 2],
  ]);
  readonly #paused = new Set<string>();
  readonly #reference: Reference;
  readonly #agents: AgentPosts;
  readonly #backfills: BackfillRows;
  readonly #fault: Fault | null;
  #principal: LimitedPrincipal;
  #before = NOTHING;
  /** The newest reason of each run in the rows for the history. */
  readonly #noted = new Map<string, string | null>();
  #lastStatus = 0;
  #isCalm = false;
  #made = 0;

  private constructor(options: {
    stores: TestStores;
    random: () => number;
    parts: Parts;
    fault: Fault | null;
    principal: (
      of: Pick<ConstructorParameters<typeof LimitedPrincipal>[0], "clock" | "flow">,
    ) => LimitedPrincipal;
  }) {
    const { stores, random } = options;
    this.#stores = stores;
    this.#random = random;
    this.#parts = options.parts;
    if (options.parts.backfills) this.#clock.advance(BEGINS_MS);
    this.#fault = options.fault;
    this.#flows = new Map(["one", "two", "three", "child"].map((id) => [id, this.#flow(id)]));
    for (const { text } of this.#flows.values()) this.trace.push(text);
    this.#principal = options.principal({
      clock: this.#clock,
      flow: (id) => this.#flows.get(id)?.stored,
    });
    this.#backfills = new BackfillRows({
      random,
      clock: this.#clock,
      workflows: [...this.#flows.keys()],
      principal: () => this.#principal,
      attempt: (what, deed) => this.#do(what, deed),
    });
    const limits = new Map([...this.#flows].map(([id, flow]) => [id, flow.limits]));
    this.#reference = new Reference(limits, (pool) => this.#sizes.get(pool) ?? null);
    const agents = ["a", "b", "c"].map((id) => ({
      id,
      labels: {},
      protocol: id === "c" && this.#chance(0.3) ? 1 : 4,
      capacity: 1 + Math.floor(random() * 4),
    }));
    this.#agents = new AgentPosts(agents, {
      random,
      clock: this.#clock,
      stores,
      trace: this.trace,
      parts: () => this.#principal.parts,
      isCalm: () => this.#isCalm,
    });
  }

  static async open(
    stores: TestStores,
    random: () => number,
    parts: Parts,
    fault: Fault | null = null,
  ): Promise<LimitsWorld> {
    const store = await stores.open();
    const principal = (of: { clock: ManualClock; flow: (id: string) => StoredDefinition | undefined }) =>
      new LimitedPrincipal({ ...of, store, repeats: random() < 0.2, fault });
    const world = new LimitsWorld({ stores, random, parts, fault, principal });
    await world.#principal.start();
    for (const [pool, size] of world.#sizes) await world.#resize(pool, size);
    return world;
  }

  /** Chaos, then calm until every run is over. */
  async play(steps = 60 + Math.floor(this.#random() * 140)): Promise<void> {
    try {
      for (let step = 0; step < steps; step++) await this.#step();
      await this.#calm();
    } finally {
      await this.#principal.stop();
    }
  }

  async #calm(): Promise<void> {
    this.#isCalm = true;
    this.#stores.failStatement(null);
    await this.#resize("db", 4);
    await this.#resize("api", 2);
    // Also those whose pause was written, and which nobody was told of.
    for (const id of this.#flows.keys()) await this.#resume(id);
    if (this.#parts.backfills) await this.#backfills.resumeAll();
    for (let rounds = 0; this.#unfinished().length > 0 || (await this.#backfills.isOpen()); rounds++) {
      if (rounds > 600) this.#reference.calm(this.#before);
      await this.#calmRound(rounds % 4 === 0);
    }
    for (const post of this.#agents.posts) {
      await this.#agents.appear(post);
      while (post.agent.outbox.length > 0) await this.#agents.flush(post);
    }
    await this.#look();
    this.#reference.calm(this.#before);
    await this.#backfills.calm(this.#before);
  }

  async #calmRound(looks: boolean): Promise<void> {
    this.#clock.advance(60_000);
    await this.#due();
    if (this.#parts.backfills) await this.#backfills.pass();
    if (looks) await this.#agents.expire();
    for (const post of this.#agents.posts) {
      await this.#agents.appear(post);
      if (looks) {
        await this.#agents.obey(post);
        await this.#agents.forget(post);
      }
      if (this.#agents.fetch(post)) await this.#agents.settle();
      await this.#agents.receive(post);
      await this.#agents.flush(post);
      for (const { slice, task } of post.agent.busy) this.#agents.finish(post, slice, task);
      await this.#agents.flush(post);
    }
    await this.#look();
    await this.#lookForStuck();
  }

  async #step(): Promise<void> {
    this.#clock.advance(Math.floor(this.#random() ** 4 * 600_000));
    const deeds: [number, () => Promise<unknown> | unknown][] = [
      [20, () => this.#trigger()],
      [3, () => this.#retry()],
      [4, () => this.#cancel()],
      [3, () => this.#restart()],
      [2, () => this.#agents.lose(this.#post())],
      [2, () => this.#agents.kill(this.#post())],
      [2, () => this.#agents.expire()],
      [2, () => this.#agents.forget(this.#post())],
      [1, () => this.#agents.handOver(this.#post())],
      [5, () => this.#due()],
      [this.#parts.pauses ? 3 : 0, () => this.#pauseOrResume()],
      [this.#parts.pools ? 3 : 0, () => this.#resizeSome()],
      [this.#parts.priorities ? 3 : 0, () => this.#prioritize()],
      [this.#parts.backfills ? 3 : 0, () => this.#backfills.create()],
      [this.#parts.backfills ? 6 : 0, () => this.#backfills.pass()],
      [this.#parts.backfills ? 2 : 0, () => this.#backfills.change()],
      [60, () => this.#live(this.#post())],
    ];
    const all = deeds.flatMap(([weight, deed]) => Array<typeof deed>(weight).fill(deed));
    if (this.#chance(0.08)) this.#stores.failStatement(1 + Math.floor(this.#random() ** 2 * 60));
    await this.#one(all)?.();
    await this.#agents.settle();
    await this.#look();
    if (this.#chance(0.3)) await this.#lookForStuck();
  }

  async #live(post: Post): Promise<void> {
    const { agent } = post;
    if (!agent.isRegistered) return this.#agents.appear(post);
    const dice = this.#random();
    if (dice < 0.1) return this.#agents.obey(post);
    if (dice < 0.35) {
      this.#agents.fetch(post);
      return this.#agents.settle();
    }
    if (dice < 0.5) return this.#agents.receive(post);
    if (dice < 0.75) return this.#agents.flush(post);
    const busy = this.#one(agent.busy);
    if (busy !== undefined) this.#agents.finish(post, busy.slice, busy.task);
  }

  /** The reference judges what has been written since the last look. */
  async #look(): Promise<void> {
    this.#stores.failStatement(null);
    await this.#principal.mend();
    await this.#agents.settle();
    const before = this.#before;
    this.#before = await this.#principal.parts.plain.read((tx) => snapshot(tx, before));
    this.#reference.step(before, this.#before);
    await this.#backfills.step(before, this.#before);
    await this.#lookForReasons();
  }

  /** Whatever is held says why. */
  async #lookForReasons(): Promise<void> {
    const { plain } = this.#principal.parts;
    for (const { id, table, row } of await plain.takeStatuses(this.#lastStatus, 10_000)) {
      this.#lastStatus = id;
      if (table === "workflow_run_status") this.#noted.set(row.workflow_instance_id, row.reason ?? null);
    }
    for (const { id, hold, isOver } of this.#before.runs.values()) {
      if (hold === null || isOver) continue;
      const { holds = [] } = await this.#principal.runs.get(id, false);
      this.#reference.reason(this.#before, id, holds[0]?.reason ?? "", this.#noted.get(id) ?? null);
    }
  }

  /** Nothing waits that an agent which asks for work could take. */
  async #lookForStuck(): Promise<void> {
    // After a failure, the dispatcher tries again soon.
    this.#clock.advance(1000);
    for (let turn = 0; turn < 3; turn++) await this.#agents.settle();
    await this.#look();
    const asking = this.#agents.posts.filter((post) => post.isWaiting && post.agent.isRegistered);
    const up = this.#agents.posts.filter((post) => post.agent.isRegistered);
    const can = (posts: readonly Post[]) => (run: string, tasks: readonly string[] | null) =>
      posts.some(({ agent }) => this.#fits(agent, this.#before.runs.get(run)?.workflow ?? "", tasks));
    this.#reference.stuck(this.#before, can(asking), can(up));
    expect(await this.#principal.sweep()).toBe(0);
  }

  #fits({ protocol }: SimulatedAgent, workflow: string, tasks: readonly string[] | null): boolean {
    const flow = this.#flows.get(workflow);
    if (flow === undefined) return false;
    const { nodes, isWhole } = planOf(flow.stored.definition);
    if (tasks !== null || !isWhole) return protocol >= 4;
    return protocol >= Math.max(...nodes.map((node) => node.protocol ?? 1));
  }

  async #trigger(): Promise<void> {
    if (this.#unfinished().length >= MANY) return;
    const flow = this.#one([...this.#flows.values()]);
    if (flow === undefined) return;
    const params: Record<string, string> = this.#chance(0.5) ? { region: this.#one(REGIONS) ?? "eu" } : {};
    const later = this.#chance(0.15) ? { start_in_ms: 1 + Math.floor(this.#random() * 600_000) } : {};
    const priority =
      this.#parts.priorities && this.#chance(0.2) ? { priority: Math.floor(this.#random() * 10) } : {};
    const key = `trigger ${this.#made++}`;
    const isTwice = this.#chance(0.1);
    const options = {
      params,
      ...later,
      ...priority,
      dedupe_key: key,
      trigger: "api",
      scheduled_time_ms: null,
      trigger_depth: 0,
    };
    await this.#arrives(`${flow.id} is triggered ${JSON.stringify(options)}`, false, async () => {
      const id = await this.#principal.runs.trigger(flow.id, options);
      if (isTwice) expect(await this.#principal.runs.trigger(flow.id, options)).toBe(id);
      return id;
    });
  }

  async #retry(): Promise<void> {
    const over = [...this.#before.runs.values()].filter(
      ({ isOver, status }) => isOver && status !== "COMPLETED",
    );
    const old = this.#one(over);
    if (old === undefined || this.#unfinished().length >= MANY) return;
    const from_start = this.#chance(0.5);
    await this.#arrives(`${old.id} is retried`, true, async () => {
      const { workflow_instance_id } = await this.#principal.runs.retry({
        workflow_instance_id: old.id,
        from_start,
        params: {},
        current_definition: false,
      });
      return workflow_instance_id;
    });
  }

  /** A run is created. */
  async #arrives(what: string, isAsked: boolean, create: () => Promise<string>): Promise<void> {
    const before = this.#before;
    const id = await this.#do(what, create);
    if (id === null) return;
    await this.#look();
    this.#reference.arrived(before, this.#before, id, isAsked);
  }

  async #cancel(): Promise<void> {
    const id = this.#one(this.#unfinished());
    if (id === undefined) return;
    await this.#do(`${id} is cancelled`, () => this.#principal.runs.cancel(id, this.#chance(0.5)));
  }

  /** The times come for which runs and tasks wait: some of them, and all when it is calm. */
  async #due(): Promise<void> {
    const { store } = this.#principal.parts;
    this.#stores.failStatement(null);
    for (const wait of await store.read((tx) => tx.dueWaits(this.#clock.now(), 100)))
      if (this.#isCalm || this.#chance(0.7)) await this.#end(wait);
  }

  async #end(wait: WaitRecord): Promise<void> {
    const { workflow_instance_id: id, task, kind } = wait;
    const { changes } = this.#principal.parts;
    await this.#agents.attempt(`${id} ${task} (${kind}) is due`, async (tx) => {
      const present = await tx.getWait(id, task);
      if (present === null) return;
      await changes.prepare(present);
      await changes.due(tx, present);
    });
  }

  async #pauseOrResume(): Promise<void> {
    const id = this.#one([...this.#flows.keys()]) ?? "one";
    if (this.#paused.has(id)) return this.#resume(id);
    if ((await this.#do(`${id} is paused`, () => this.#principal.pause(id))) !== null) this.#paused.add(id);
  }

  async #resume(id: string): Promise<void> {
    if ((await this.#do(`${id} is resumed`, () => this.#principal.resume(id))) !== null)
      this.#paused.delete(id);
  }

  async #resizeSome(): Promise<void> {
    await this.#resize(this.#chance(0.5) ? "db" : "api", Math.floor(this.#random() * 5));
  }

  async #resize(pool: string, size: number): Promise<void> {
    const before = this.#sizes.get(pool);
    this.#sizes.set(pool, size);
    const done = await this.#do(`pool ${pool} has ${size}`, () => this.#principal.resize(pool, size));
    if (done === null && before !== undefined) this.#sizes.set(pool, before);
  }

  async #prioritize(): Promise<void> {
    const id = this.#one(this.#unfinished());
    const priority = Math.floor(this.#random() * 10);
    if (id !== undefined)
      await this.#do(`${id} has priority ${priority}`, () => this.#principal.prioritize(id, priority));
  }

  /** The process of the principal is another one; perhaps an older cdktr was there in between. */
  async #restart(): Promise<void> {
    this.trace.push("restart");
    this.#stores.failStatement(null);
    await this.#principal.stop();
    await this.#agents.settle();
    if (this.#chance(0.2)) {
      await this.#principal.parts.plain.stop();
      this.#older();
    }
    const store = await this.#stores.reopen();
    this.#principal = new LimitedPrincipal({
      clock: this.#clock,
      flow: (id) => this.#flows.get(id)?.stored,
      store,
      repeats: this.#chance(0.2),
      fault: this.#fault,
    });
    await this.#principal.start();
    await this.#agents.attempt("settle", (tx) => tx.settleSlices());
    for (const wait of await store.read((tx) => tx.waitsForEndedRuns())) await this.#end(wait);
  }

  /** An older cdktr cancels a run that no agent has, and knows nothing of groups. */
  #older(): void {
    const idle = [...this.#before.runs.values()].filter(
      ({ status, revision, isOver }) => status === "PENDING" && revision === 0 && !isOver,
    );
    const run = this.#one(idle);
    if (run === undefined) return;
    this.trace.push(`an older cdktr cancels ${run.id}`);
    const database = new Database(join(this.#stores.directory, "data", "state.db"));
    const now = this.#clock.now();
    database.run(
      "UPDATE runs SET status = 'CANCELLED', queued = 0, finished_at_ms = ?, status_at_ms = ?, cancel_requested_at_ms = ? WHERE workflow_instance_id = ? AND status = 'PENDING'",
      [now, now, now, run.id],
    );
    database.run("DELETE FROM waits WHERE workflow_instance_id = ?", [run.id]);
    database.close();
  }

  #unfinished(): string[] {
    return [...this.#before.runs.values()].filter(({ isOver }) => !isOver).map(({ id }) => id);
  }

  /** Something that may be refused, or fail with the disk. Null then. */
  async #do<T>(what: string, deed: () => Promise<T>): Promise<T | null> {
    this.trace.push(what);
    try {
      const result = await deed();
      await this.#agents.settle();
      return result;
    } catch (error) {
      if (!(error instanceof CdktrError) || error instanceof BrokenPromise) throw error;
      this.trace.push(`  ${error.message}`);
      this.#stores.failStatement(null);
      await this.#agents.settle();
      return null;
    }
  }

  /** A workflow by chance. */
  #flow(id: string): Flow {
    const isIn = this.#parts.groups && this.#chance(0.8);
    const kind = isIn ? this.#one(["own", "shared", "region"]) : "none";
    const maxRuns = 1 + Math.floor(this.#random() ** 2 * 3);
    const onConflict = this.#one(POLICIES) ?? "queue";
    const priority = this.#parts.priorities && this.#chance(0.5) ? Math.floor(this.#random() * 10) : 5;
    const group =
      kind === "shared" ? "group: shared, " : kind === "region" ? "group: '${{ params.region }}', " : "";
    const pools = new Map<string, Record<string, number>>();
    const tasks: string[] = [];
    const count = 1 + Math.floor(this.#random() * 3);
    for (let n = 0; n < count; n++) {
      const pool = this.#parts.pools && this.#chance(0.4) ? this.#pool() : null;
      if (pool !== null) pools.set(`t${n}`, pool);
      const isChild = id !== "child" && this.#chance(0.12);
      if (isChild) pools.delete(`t${n}`);
      const lines = [
        isChild ? "config: !Workflow {workflow: child}" : "run: 'true'",
        ...(n > 0 && this.#chance(0.5) ? [`depends: [t${n - 1}]`] : []),
        ...(pool === null || isChild ? [] : [`pool: ${JSON.stringify(pool)}`]),
        ...(!isChild && this.#chance(0.2) ? ["foreach: [x, y, z]"] : []),
      ];
      tasks.push(`  t${n}:`, ...lines.map((line) => `    ${line}`));
    }
    const text = [
      `params: {region: {enum: [eu, us], default: eu}}`,
      ...(this.#parts.backfills ? ['cron: "0 * * * *"', "timezone: UTC"] : []),
      ...(isIn ? [`concurrency: {${group}max_runs: ${maxRuns}, on_conflict: ${onConflict}}`] : []),
      ...(priority === 5 ? [] : [`priority: ${priority}`]),
      "tasks:",
      ...tasks,
      ...(this.#chance(0.2) ? ["hooks: {on_exit: {run: 'true'}}"] : []),
    ].join("\n");
    const parsed = parseWorkflow(text, { path: `${id}.yml`, id });
    if (!parsed.ok) throw new Error(`${text}\n${JSON.stringify(parsed.diagnostics)}`);
    const { definition } = parsed;
    const json = JSON.stringify(definition);
    return {
      id,
      text,
      stored: { definition, json, hash: `${Bun.hash(json)}` },
      limits: {
        group: ({ region = "eu" }) =>
          kind === "none"
            ? null
            : kind === "own"
              ? `w ${id}`
              : kind === "shared"
                ? "g shared"
                : `g ${region}`,
        maxRuns,
        onConflict,
        priority,
        pools,
      },
    };
  }

  #pool(): Record<string, number> {
    const weight = () => 1 + Math.floor(this.#random() ** 2 * 2);
    return this.#chance(0.3)
      ? { db: weight(), api: weight() }
      : this.#chance(0.6)
        ? { db: 1 + Math.floor(this.#random() * 4) }
        : { api: weight() };
  }

  #post(): Post {
    const post = this.#one(this.#agents.posts);
    if (post === undefined) throw new Error("there are no agents");
    return post;
  }

  #chance(of: number): boolean {
    return this.#random() < of;
  }

  #one<T>(list: readonly T[]): T | undefined {
    return list[Math.floor(this.#random() * list.length)];
  }
}
