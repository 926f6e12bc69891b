/**
 * A principal's store, changes of runs and dispatcher, all real, and simulated agents that share its runs. Everything that can go wrong
 * between them does, by chance: agents die, are cut off and come back, replies are lost, reports come twice or late, units of work are
 * repeated or fail, the principal is restarted, runs are cancelled, time out and are retried.
 */
import { expect } from "bun:test";
import type { RunAssignments } from "../../src/contract/messages.ts";
import { InvalidInputError } from "../../src/errors.ts";
import { EventHub } from "../../src/event-hub.ts";
import { StandingOrders } from "../../src/principal/agents/standing-orders.ts";
import { Installation } from "../../src/principal/installation.ts";
import type { PrincipalEvents } from "../../src/principal/principal-events.ts";
import { Definitions } from "../../src/principal/runs/definitions.ts";
import { Dispatcher } from "../../src/principal/runs/dispatcher.ts";
import { ProgressOfRuns } from "../../src/principal/runs/progress-of-runs.ts";
import { retryOf } from "../../src/principal/runs/retries.ts";
import { RunChanges } from "../../src/principal/runs/run-changes.ts";
import { RunQueue } from "../../src/principal/runs/run-queue.ts";
import type { StoredDefinition } from "../../src/principal/runs/workflow-source.ts";
import type { OperationalStore, RunRecord, TaskRunRecord } from "../../src/storage/operational/store.ts";
import { stopReason } from "../../src/workflow/decisions.ts";
import { allTasks, HOOKS } from "../../src/workflow/hooks.ts";
import { nodeId } from "../../src/workflow/item-id.ts";
import { readDefinition, type WorkflowDefinition } from "../../src/workflow/model.ts";
import { planOf } from "../../src/workflow/plan.ts";
import { RUN_TRANSITIONS } from "../../src/workflow/run-state.ts";
import { isTerminal } from "../../src/workflow/status.ts";
import { silent, type TestStores } from "../storage/operational-support.ts";
import { RepeatingStore } from "../storage/repeating-store.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { type ModelEnd, type ModelTask, ReferenceModel } from "../workflow/reference-model.ts";
import { randomDag } from "../workflow/support.ts";
import { AgentPosts, type Post, type PrincipalParts, WAIT_MS } from "./agent-posts.ts";
import { NO_WORKFLOWS } from "./no-workflows.ts";
import type { SimulatedAgent } from "./simulated-agent.ts";

const LABELS: readonly (Readonly<Record<string, string>> | undefined)[] = [
  undefined,
  undefined,
  {},
  { zone: "eu" },
  { zone: "us" },
  { gpu: "true" },
];
/** What the principal does by itself. */
const KINDS: readonly ({ readonly type: string } & Record<string, unknown>)[] = [
  { type: "Workflow", workflow: "child", params: {}, wait: true },
  { type: "Wait", for_ms: 1 },
  { type: "Approval", message: "Go on?", on_timeout: "reject" },
];
/** Why a task does not run in a retry of others. */
const NOT_CHOSEN = "not among the tasks that were retried";
const COMMAND = { type: "Subprocess", cmd: "true", args: [], working_directory: null };
/** What conditions say. */
const VERDICTS: Readonly<Record<string, "skip" | "fail" | null>> = {
  "${{ 1 < 2 }}": null,
  "${{ 1 > 2 }}": "skip",
  "${{ 1 / 0 == 1 }}": "fail",
};

/** What is known of a run besides the store. */
interface Told {
  readonly definition: WorkflowDefinition;
  /** The first stop that was asked for. */
  stop: "cancelled" | "timed out" | null;
}

/** A world. */
export class SharedRunsWorld {
  readonly #random: () => number;
  readonly #stores: TestStores;
  readonly #repeats: boolean;
  readonly #clock = new ManualClock();
  readonly #runs = new Map<string, Told>();
  readonly #agents: AgentPosts;
  readonly #runsWanted: number;
  #parts: PrincipalParts;
  #isCalm = false;
  #stored: StoredDefinition | undefined;
  /** Number of runs that no task has started. */
  #created = 0;
  readonly trace: string[] = [];

  private constructor(stores: TestStores, random: () => number, store: OperationalStore) {
    this.#stores = stores;
    this.#random = random;
    this.#repeats = this.#chance(0.3);
    this.#runsWanted = this.#chance(0.7) ? 1 : 2;
    const agents: [string, Record<string, string>, number][] = [
      ["eu", { zone: "eu" }, 3],
      ["us", { zone: "us" }, 3],
      ["gpu", { zone: "eu", gpu: "true" }, 3],
      ["two", { zone: "us" }, 2],
      ["old", { zone: "eu" }, 1],
    ];
    this.#agents = new AgentPosts(
      agents.map(([id, labels, protocol]) => ({
        id,
        labels,
        protocol,
        capacity: 1 + Math.floor(random() * 3),
      })),
      {
        random,
        clock: this.#clock,
        stores,
        trace: this.trace,
        parts: () => this.#parts,
        isCalm: () => this.#isCalm,
        offered: (assignment) => this.#checkAssignment(assignment),
        starts: (agent, assignment) => this.#checkStart(agent, assignment),
      },
    );
    this.#parts = this.#principal(store);
  }

  static async open(stores: TestStores, random: () => number): Promise<SharedRunsWorld> {
    const world = new SharedRunsWorld(stores, random, await stores.open());
    await world.#parts.dispatcher.start();
    return world;
  }

  /** Chaos, then calm until every run is over; then what has become of each is judged. */
  async play(): Promise<void> {
    const steps = 15 + Math.floor(this.#random() * 60);
    for (let step = 0; step < steps; step++) await this.#step();
    this.#isCalm = true;
    this.#stores.failStatement(null);
    for (let rounds = 0; !(await this.#areAllOver()); rounds++) {
      if (rounds > 150) throw new Error("the runs do not end");
      await this.#calmRound(rounds % 4 === 0);
    }
    // Whatever agents have left to say changes nothing.
    for (const post of this.#agents.posts) {
      await this.#agents.appear(post);
      while (post.agent.outbox.length > 0) await this.#agents.flush(post);
    }
    await this.#judge();
    await this.#parts.dispatcher.stop();
    await this.#parts.store.stop();
  }

  #principal(plain: OperationalStore): PrincipalParts {
    const events: PrincipalEvents = new EventHub();
    const store = this.#repeats ? new RepeatingStore(plain) : plain;
    const definitions = new Definitions();
    const progress = new ProgressOfRuns(definitions);
    const common = { definitions, progress, events, clock: this.#clock };
    const queue = new RunQueue();
    const changes = new RunChanges({
      workflows: { ...NO_WORKFLOWS, get: (id) => (id === "child" ? this.#child() : undefined) },
      ...common,
      queue,
      followUps: { ending: async () => {} },
    });
    const dispatcher = new Dispatcher({ ...common, changes, queue, store, log: silent, offerMs: WAIT_MS });
    const logs = {
      position: () => ({ received: 0, durable: 0 }),
      locate: async () => true,
      agentHoldsFrom: () => {},
      flush: async () => {},
    };
    const installation = new Installation(store);
    const orders = new StandingOrders({ store, logs, principalId: "principal", installation });
    return { plain, store, changes, dispatcher, orders, events };
  }

  /** What tasks run. */
  #child(): StoredDefinition {
    if (this.#stored !== undefined) return this.#stored;
    const definition = this.#definition(true);
    const json = JSON.stringify(definition);
    this.#stored = { definition, json, hash: `${Bun.hash(json)}` };
    return this.#stored;
  }

  async #step(): Promise<void> {
    this.#clock.advance(1);
    const dice = this.#random();
    const post = this.#one(this.#agents.posts);
    if (post === undefined) return;
    if (this.#created < this.#runsWanted && (dice < 0.2 || this.#created === 0)) await this.#create();
    else if (dice < 0.03) await this.#restart();
    else if (dice < 0.07) await this.#agents.lose(post);
    else if (dice < 0.09) this.#agents.kill(post);
    else if (dice < 0.11) await this.#stopRun();
    else if (dice < 0.13) await this.#agents.expire();
    else if (dice < 0.15) this.#stores.failStatement(1 + Math.floor(this.#random() * 40));
    else if (dice < 0.17) this.#agents.handOver(post);
    else if (dice < 0.19) await this.#retry();
    else if (dice < 0.2) await this.#agents.forget(post);
    else if (dice < 0.25) await this.#wait();
    else await this.#live(post);
    if (this.#chance(0.7)) this.#stores.failStatement(null);
    if (this.#chance(0.4)) await this.#checkQueue();
  }

  /** Nothing goes wrong any more. */
  async #calmRound(looks: boolean): Promise<void> {
    this.#clock.advance(1);
    await this.#wait();
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
    await this.#checkQueue();
  }

  /** One thing that an agent does. */
  async #live(post: Post): Promise<void> {
    if (!post.agent.isRegistered) {
      if (this.#chance(0.5)) await this.#agents.appear(post);
      return;
    }
    const dice = this.#random();
    if (dice < 0.15) await this.#agents.obey(post);
    else if (dice < 0.35) {
      this.#agents.fetch(post);
      await this.#agents.settle();
    } else if (dice < 0.5) await this.#agents.receive(post);
    else if (dice < 0.75) await this.#agents.flush(post);
    else {
      const busy = this.#one(post.agent.busy);
      if (busy !== undefined) this.#agents.finish(post, busy.slice, busy.task);
    }
  }

  /** The times come for which tasks wait: some of them, and all when it is calm. */
  async #wait(): Promise<void> {
    this.#stores.failStatement(null);
    const waits = await this.#parts.store.read(async (tx) => {
      const all = await Promise.all([...this.#runs.keys()].map((id) => tx.listWaits(id)));
      return all.flat();
    });
    for (const { workflow_instance_id: id, task, kind, due_ms } of waits) {
      // Nothing is to be done while a child run goes on.
      if ((kind === "run" && due_ms === null) || (!this.#isCalm && this.#chance(0.5))) continue;
      const end = this.#chance(0.8) ? "COMPLETED" : "FAILED";
      await this.#agents.attempt(
        kind === "person" ? `${id} ${task} is answered: ${end}` : `${id} ${task} is due`,
        async (tx) => {
          const [wait, run] = [await tx.getWait(id, task), await tx.getRun(id)];
          if (wait === null || run === null) return;
          if (kind === "person")
            return this.#parts.changes.answered(tx, run, wait, { status: end, error: null });
          await this.#parts.changes.prepare(wait);
          await this.#parts.changes.due(tx, wait);
        },
      );
    }
    await this.#discover();
  }

  /** The runs that tasks have started. */
  async #discover(): Promise<void> {
    await this.#parts.store.read(async (tx) => {
      for (const { workflow_instance_id: id } of await tx.listRuns({ limit: 1000 })) {
        const run = this.#runs.has(id) ? null : await tx.getRun(id);
        const definition = run === null ? null : await tx.getDefinition(run.definition_hash);
        if (definition !== null) this.#runs.set(id, { definition: readDefinition(definition), stop: null });
      }
    });
  }

  async #create(): Promise<void> {
    const id = `run-${this.#created}`;
    const definition = this.#definition();
    await this.#agents.attempt(`create ${id}`, async (tx) => {
      await this.#parts.changes.create(tx, newRun(id, definition));
      tx.afterCommit(() => {
        this.#created++;
        this.#runs.set(id, { definition, stop: null });
      });
    });
  }

  /** As `cdktr runs retry`: what COMPLETED is carried over. */
  async #retry(): Promise<void> {
    const old = this.#one([...this.#runs.keys()]);
    const told = this.#runs.get(old ?? "");
    if (old === undefined || told === undefined || this.#created > this.#runsWanted + 1) return;
    const id = `run-${this.#created}`;
    const picks = this.#chance(0.4);
    await this.#agents.attempt(`retry ${old} as ${id}`, async (tx) => {
      const run = await tx.getRun(old);
      if (run === null || !isTerminal(RUN_TRANSITIONS, run.status) || run.status === "COMPLETED") return;
      const of = { id, now: this.#clock.now() };
      const ids = planOf(told.definition).nodes.flatMap(({ id: task, hook }) =>
        hook === undefined ? [task] : [],
      );
      const tasks = picks ? ids.filter(() => this.#chance(0.2)) : [];
      const fresh = await retryOf(
        tx,
        new Definitions(),
        run,
        { from_start: false, ...(tasks.length === 0 ? {} : { tasks }) },
        of,
      ).catch((error) => {
        // A task on which a chosen one depends has not completed.
        if (error instanceof InvalidInputError) return null;
        throw error;
      });
      if (fresh === null) return;
      await this.#parts.changes.create(tx, fresh.run);
      tx.afterCommit(() => {
        this.#created++;
        this.#runs.set(id, { definition: told.definition, stop: null });
      });
    });
  }

  #definition(isChild = false): WorkflowDefinition {
    const count = 1 + Math.floor(this.#random() ** 3 * (isChild ? 6 : 60));
    const isSplit = this.#chance(0.85);
    const label = () => (isSplit ? this.#one(LABELS) : undefined);
    const isPlain = this.#chance(0.3);
    const tasks = randomDag(this.#random, count, 3).map((task) => {
      const runs_on = label();
      return {
        ...task,
        name: task.id,
        config: COMMAND,
        ...(isPlain ? {} : this.#more(task.depends, isChild ? KINDS.slice(1) : KINDS)),
        ...(runs_on === undefined ? {} : { runs_on }),
      };
    });
    const runs_on = label();
    const hooks = HOOKS.filter(() => !isPlain && this.#chance(0.2)).map((on) => {
      const runs_on = label();
      return [on, { name: on, config: COMMAND, ...(runs_on === undefined ? {} : { runs_on }) }];
    });
    return readDefinition(
      JSON.stringify({
        id: isChild ? "child" : "w",
        name: "W",
        failover: this.#chance(0.9) ? "rerun" : "never",
        ...(runs_on === undefined ? {} : { runs_on }),
        ...(isSplit && this.#chance(0.4) ? { placement: "spread" } : {}),
        ...(JSON.stringify(tasks).includes("${{") ? { language: 2 } : {}),
        tasks,
        ...(hooks.length > 0 ? { hooks: Object.fromEntries(hooks) } : {}),
      }),
    );
  }

  /** Keys of a task beyond the first version of the language. */
  #more(depends: readonly string[], kinds: typeof KINDS): Record<string, unknown> {
    const when = this.#one(Object.keys(VERDICTS));
    const words = ["COMPLETED", "FAILED", "CRASHED", "SKIPPED", "CANCELLED"];
    const accepts = depends
      .filter(() => this.#chance(0.15))
      .map((id) => [id, words.filter(() => this.#chance(0.5))]);
    const kind = this.#chance(0.1)
      ? { config: this.#one(kinds) }
      : this.#chance(0.08)
        ? { repeat: { every_ms: 100, until: "${{ exit_code == 0 }}" } }
        : {};
    const items = Array.from({ length: Math.floor(this.#random() ** 2 * 9) }, (_, n) => `item ${n}`);
    return {
      ...(this.#chance(0.05) ? { when } : {}),
      ...(accepts.length > 0 ? { accepts: Object.fromEntries(accepts) } : {}),
      ...(this.#chance(0.15) ? { allow_failure: true } : {}),
      ...kind,
      ...(!("repeat" in kind) && this.#chance(0.15)
        ? {
            foreach: items,
            ...(this.#chance(0.4) ? { max_parallel: 1 + Math.floor(this.#random() * 3) } : {}),
            ...(this.#chance(0.4) ? { fail_fast: true } : {}),
          }
        : {}),
    };
  }

  /** The process of the principal is another one. */
  async #restart(): Promise<void> {
    this.trace.push("restart");
    this.#stores.failStatement(null);
    await this.#parts.dispatcher.stop();
    await this.#agents.settle();
    this.#parts = this.#principal(await this.#stores.reopen());
    await this.#parts.dispatcher.start();
    await this.#agents.attempt("settle", (tx) => tx.settleSlices());
  }

  async #stopRun(): Promise<void> {
    const id = this.#one([...this.#runs.keys()]) ?? "";
    const told = this.#runs.get(id);
    const kind = this.#chance(0.6) ? "cancelled" : "timed out";
    const hooks = this.#chance(0.5);
    if (told === undefined || this.#chance(0.5)) return;
    await this.#agents.attempt(`${id} ${kind}`, async (tx) => {
      const run = await tx.getRun(id);
      if (run === null || isTerminal(RUN_TRANSITIONS, run.status)) return;
      if (kind === "cancelled") await this.#parts.changes.cancel(tx, run, hooks);
      // Whoever executes a whole run watches its time; nobody does while it waits for its next attempt. Hooks are not limited by it.
      else if (run.started_at_ms === null || (run.revision === 0 && !run.queued)) return;
      else if ((await tx.listSlices(id, "all")).some(({ is_hook }) => is_hook)) return;
      else await this.#parts.changes.timeOut(tx, run);
      tx.afterCommit(() => {
        told.stop ??= kind;
      });
    });
  }

  #checkAssignment({
    workflow_instance_id: id,
    tasks,
    results = {},
    item_results = {},
    completed_tasks,
  }: RunAssignments): void {
    const told = this.#runs.get(id);
    if (told === undefined || tasks === undefined) return;
    for (const task of told.definition.tasks) {
      if (!tasks.includes(task.id)) continue;
      for (const needed of task.depends) {
        if (tasks.includes(needed)) continue;
        const { foreach, config } = told.definition.tasks.find(({ id: other }) => other === needed) ?? {};
        const accepted = task.accepts?.[needed] ?? ["COMPLETED"];
        const status = results[needed]?.status ?? "COMPLETED";
        const isAllowed = results[needed]?.is_allowed === true && accepted.includes("COMPLETED");
        expect(isAllowed || accepted.includes(status)).toBe(true);
        if (status !== "COMPLETED") continue;
        expect(completed_tasks).toContain(needed);
        if (isOfPrincipal(config?.type)) continue;
        if (foreach === undefined) expect(String(results[needed]?.outputs?.of)).toEndWith(` ${needed}`);
        else {
          expect(results[needed]?.items_total).toBe(foreach.length);
          const published = item_results[needed]?.map(({ outputs }) => String(outputs?.of)) ?? [];
          // Those of the run that it retries are kept.
          const named = published.map((text) => text.split(" ").at(-1));
          expect(named).toEqual([...foreach].map((_, n) => `${needed}[${n}]`));
        }
      }
    }
  }

  /** A slice begins: its agent has the lease, and nothing of it has completed that it does not know of. */
  async #checkStart(agent: SimulatedAgent, assignment: RunAssignments): Promise<void> {
    this.#stores.failStatement(null);
    const done = await this.#parts.store.read(async (tx) => {
      const attempt = await tx.getAttempt(assignment);
      if (attempt?.lease !== "HELD" || attempt.agent_id !== agent.id) return null;
      const { workflow_instance_id: id } = assignment;
      return { tasks: await tx.completedTasks(id), items: await tx.completedItems(id) };
    });
    const scope = assignment.tasks ?? assignment.workflow.tasks.map(({ id }) => id);
    for (const task of done?.tasks ?? []) {
      if (scope.includes(task)) expect(assignment.completed_tasks).toContain(task);
    }
    for (const { task_id, item_key } of done?.items ?? []) {
      const given = assignment.items?.[task_id];
      if (!scope.includes(task_id) || assignment.completed_tasks.includes(task_id)) continue;
      if (given !== undefined && !given.some(({ key }) => key === item_key)) continue;
      expect(assignment.item_results?.[task_id]?.map(({ key }) => key)).toContain(item_key);
    }
  }

  /** Nothing waits that an agent which asks for work could take. */
  async #checkQueue(): Promise<void> {
    this.#stores.failStatement(null);
    // After a failure, the dispatcher tries again soon.
    this.#clock.advance(1000);
    for (let turn = 0; turn < 3; turn++) await this.#agents.settle();
    const waiting = this.#agents.posts.filter((post) => post.isWaiting && post.agent.isRegistered);
    if (waiting.length === 0) return;
    const queued = await this.#parts.store.read(async (tx) => {
      const found: { what: string; tasks: readonly string[] | null; told: Told }[] = [];
      for (const [id, told] of this.#runs) {
        const run = await tx.getRun(id);
        if (run?.queued === true) found.push({ what: id, tasks: null, told });
        for (const slice of await tx.listSlices(id, "open")) {
          if (slice.state === "QUEUED")
            found.push({ what: `${id} ${slice.slice}`, tasks: slice.tasks, told });
        }
      }
      return found;
    });
    for (const { what, tasks, told } of queued) {
      const { runs_on } = told.definition;
      const all = allTasks(told.definition);
      const nodes = planOf(told.definition).nodes;
      const isIn = (id: string) =>
        tasks === null || tasks.some((node) => node === id || node.startsWith(`${id}[`));
      const [first] = all.filter(({ id }) => isIn(id));
      const labels = first?.runs_on ?? runs_on ?? {};
      const protocol = Math.max(...nodes.filter(({ id }) => isIn(id)).map((node) => node.protocol ?? 1));
      for (const { agent } of waiting) {
        if (agent.protocol < protocol) continue;
        if (agent.protocol < 2 && (tasks !== null || Object.keys(labels).length > 0)) continue;
        const isFit = Object.entries(labels).every(([label, value]) => agent.labels[label] === value);
        if (isFit) throw new Error(`${what} waits, and ${agent.id} could take it`);
      }
    }
  }

  async #areAllOver(): Promise<boolean> {
    return this.#parts.store.read(async (tx) => {
      for (const id of this.#runs.keys()) {
        const run = await tx.getRun(id);
        if (run !== null && !isTerminal(RUN_TRANSITIONS, run.status)) return false;
      }
      return true;
    });
  }

  async #judge(): Promise<void> {
    for (const [what, times] of this.#agents.deeds.starts) expect(`${what}: ${times}`).toBe(`${what}: 1`);
    for (const [id, told] of this.#runs) {
      const { run, tasks, isOpen } = await this.#parts.store.read(async (tx) => ({
        run: await tx.getRun(id),
        tasks: await tx.listTaskRuns(id),
        isOpen:
          (await tx.listSlices(id, "open")).length > 0 ||
          (await tx.listWaits(id)).length > 0 ||
          (await tx.openAttempts()).some((attempt) => attempt.workflow_instance_id === id),
      }));
      if (run === null) throw new Error(`${id} is gone`);
      expect(isOpen).toBe(false);
      try {
        const stop = told.stop ?? (run.cancel_requested_at_ms === null ? null : "cancelled");
        this.#judgeRun(run, tasks, { ...told, stop });
      } catch (error) {
        const rows = tasks
          .map((t) => `${t.task_id} ${t.slice}/${t.attempt} ${t.status} ${t.error ?? ""}`)
          .join("\n");
        throw new Error(`${id} ${run.status} (${run.error}):\n${rows}\n${String(error)}`, { cause: error });
      }
    }
  }

  #judgeRun(run: RunRecord, rows: readonly TaskRunRecord[], { definition, stop }: Told): void {
    const final = new Map<string, TaskRunRecord>();
    for (const row of rows) {
      const node = nodeId(row.task_id, row.item_key);
      expect(`${row.task_instance_id} ${isTerminal(RUN_TRANSITIONS, row.status)}`).toEndWith("true");
      const truth = this.#agents.deeds.ends.get(row.task_instance_id) ?? [];
      const { config } = definition.tasks.find(({ id }) => id === row.task_id) ?? {};
      const isExecuted =
        !isOfPrincipal(config?.type) &&
        row.error?.startsWith("when: ") !== true &&
        row.error !== stopReason("timed out");
      if (row.items_total === null && isExecuted && (row.status === "COMPLETED" || row.status === "FAILED"))
        expect([node, ...truth]).toContain(row.status);
      if (final.get(node)?.status !== "COMPLETED") final.set(node, row);
      else expect(`${node} ran again: ${row.status === "COMPLETED"}`).toEndWith("false");
    }
    const isWhole = run.revision === 0;
    // The agent of a whole run reports nothing of tasks that it has not begun with.
    if (isWhole && (stop === "timed out" || ["CRASHED", "CANCELLED", "SKIPPED"].includes(run.status))) return;
    const tasks = [...final].filter(([, { item_key }]) => item_key === null).map(([id]) => id);
    expect(tasks.sort()).toEqual(
      allTasks(definition)
        .map(({ id }) => id)
        .sort(),
    );
    for (const { id, fail_fast } of definition.tasks) {
      const ends = [...final.values()].filter(({ task_id, item_key }) => task_id === id && item_key !== null);
      const hasFailed = ends.some(
        ({ status, allowed }) => (status === "FAILED" || status === "CRASHED") && allowed === 0,
      );
      if (stop === null && ends.some(({ status }) => status === "CANCELLED"))
        expect(`${id} has a reason to cancel its items: ${fail_fast === true && hasFailed}`).toEndWith(
          "true",
        );
    }
    const expanded = definition.tasks.filter(({ id }) => {
      const { items_total = null, slice = 0, status } = final.get(id) ?? {};
      // The agent that has expanded it is lost: nothing is known of items that it had not begun.
      return items_total !== null && !(slice > 0 && status === "CRASHED");
    });
    const facts = new Map<string, ModelEnd>();
    for (const [id, { status, allowed, error }] of final) {
      // How a fan-out ended follows from its items.
      const isDerived = expanded.some((task) => task.id === id);
      if ((status !== "SKIPPED" || error === NOT_CHOSEN) && !isDerived)
        facts.set(id, { status, isAllowed: allowed === 1 });
    }
    if (
      stop !== null &&
      [...final.values()].some(({ status }) => status === "CANCELLED" || status === "SKIPPED")
    ) {
      // What had begun depends on when it was stopped; nothing may be left out or be skipped without a reason.
      if (stop === "timed out") expect(["FAILED", "CRASHED", "COMPLETED"]).toContain(run.status);
      return;
    }
    const model = new ReferenceModel(modelOf(definition), facts);
    for (let todo = model.state().todo; todo.size > 0; todo = model.state().todo) {
      const fanOuts = expanded.filter(({ id }) => todo.get(id) === "expand" && !model.items.has(id));
      if (fanOuts.length === 0) break;
      for (const { id, foreach = [] } of fanOuts) {
        const items = [...foreach].map((_, n) => ({ key: String(n), end: facts.get(`${id}[${n}]`) }));
        model.expand(id, items);
      }
    }
    const { over, todo, outcome, finish } = model.state();
    const lines = (ends: Iterable<readonly [string, { readonly status: string }]>): string[] =>
      [...ends].map(([id, { status }]) => `${id} ${status}`).sort();
    expect([...todo]).toEqual([]);
    expect(lines(final)).toEqual(lines(over));
    // A stop may come when nothing is left to be stopped.
    const stopped = stop === "cancelled" ? "CANCELLED" : stop === "timed out" ? "FAILED" : null;
    expect([finish, stopped]).toContain(run.status);
    expect(run.tasks_done).toBe(run.tasks_total);
    if (run.status === finish && !isWhole) expect(run.allowed_failures).toBe(outcome?.allowed ?? 0);
  }

  #chance(of: number): boolean {
    return this.#random() < of;
  }

  #one<T>(list: readonly T[]): T | undefined {
    return list[Math.floor(this.#random() * list.length)];
  }
}

function isOfPrincipal(kind: string | undefined): boolean {
  return KINDS.some(({ type }) => type === kind);
}

/** The tasks of a definition as the model sees them. */
function modelOf(definition: WorkflowDefinition): ModelTask[] {
  return planOf(definition).nodes.map((node, index) => {
    const { when } = definition.tasks[index] ?? {};
    const { id, needs, fanOut, allowsFailure = false, waits, hook } = node;
    return {
      id,
      needs,
      allowsFailure,
      ...(waits === undefined ? {} : { waits }),
      ...(hook === undefined ? {} : { hook }),
      verdict: when === undefined ? null : (VERDICTS[when] ?? null),
      ...(fanOut === undefined ? {} : { fanOut }),
    };
  });
}

function newRun(id: string, definition: WorkflowDefinition) {
  const json = JSON.stringify(definition);
  return {
    workflow_instance_id: id,
    workflow_id: definition.id,
    workflow_name: definition.name,
    definition_hash: `${Bun.hash(json)}`,
    definition: json,
    params: {},
    trigger: "api",
    scheduled_time_ms: null,
    retry_of: null,
    trigger_depth: 0,
    tasks_total: allTasks(definition).length,
    carried: [],
  };
}
