/**
 * Goes through the life of a run right after the start, while nobody waits for one: the first run that somebody waits for then finds its
 * statements prepared and its code compiled. It is a unit of work that is undone, so nothing of it is stored, and nobody hears of it.
 */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../clock.ts";
import type { Verb } from "../contract/verbs.ts";
import { encodeFields, encodeReply } from "../contract/wire.ts";
import { errorMessage } from "../errors.ts";
import { BackgroundService } from "../service.ts";
import type { OperationalStore, OperationalTx } from "../storage/operational/store.ts";
import { applyReports } from "./agents/agent-reports.ts";
import { parseRequest, type Request, readRequest } from "./api/requests.ts";
import { Assignments } from "./runs/assignments.ts";
import type { Definitions } from "./runs/definitions.ts";
import type { ProgressOfRuns } from "./runs/progress-of-runs.ts";
import type { RunChanges } from "./runs/run-changes.ts";

/** When it begins after the start, ms: whoever waited for the start comes first. */
const BEGINS_MS = 100;

const NAME = "rehearsal";
const DEFINITION = JSON.stringify({
  id: NAME,
  name: NAME,
  tasks: [
    {
      id: NAME,
      name: NAME,
      config: { type: "Subprocess", cmd: "true", args: [], working_directory: null },
    },
  ],
});

/** Thrown at the end, so that everything is undone. */
class Rehearsed extends Error {}

/** What {@link Rehearsal} needs. */
export interface RehearsalOptions {
  readonly store: OperationalStore;
  readonly changes: RunChanges;
  readonly definitions: Definitions;
  readonly progress: ProgressOfRuns;
  readonly clock: Clock;
  readonly log: ConsolaInstance;
}

/** Rehearses once after each start. */
export class Rehearsal extends BackgroundService<{ rehearsed: boolean }> {
  readonly name = "rehearsal";
  readonly #o: RehearsalOptions;
  readonly #assignments: Assignments;
  readonly #timer = this.timer(() => this.track(this.rehearse()));

  constructor(options: RehearsalOptions) {
    super(options.clock);
    this.#o = options;
    this.#assignments = new Assignments({ ...options, secretVariables: () => [] });
  }

  protected override onStart(): void {
    this.#timer.in(BEGINS_MS);
  }

  /** Returns whether it got to the end. Never rejects: what fails here fails again, and is told, when somebody waits for it. */
  async rehearse(): Promise<boolean> {
    const outcome = await this.#o.store
      .transact(async (tx) => {
        await this.#play(tx);
        throw new Rehearsed();
      })
      .catch((error: unknown) => error);
    const isOver = outcome instanceof Rehearsed;
    if (!isOver) this.#o.log.debug(`The first run will take a little longer: ${errorMessage(outcome)}`);
    this.signals.emit("rehearsed", isOver);
    return isOver;
  }

  async #play(tx: OperationalTx): Promise<void> {
    const { changes, clock, log } = this.#o;
    const id = crypto.randomUUID();
    const now = clock.now();
    const agent = { agent_id: `${NAME}-${id}`, session_id: id };
    const trigger = asked("RUNTASK", NAME, JSON.stringify({ dedupe_key: id })).options;
    asked("WAITRUN", JSON.stringify({ workflow_instance_id: id, wait_ms: 1 }));
    asked("FETCHWORKFLOW", agent.agent_id, JSON.stringify({ session_id: id, fetch_id: id, wait_ms: 1 }));

    await tx.claimKey(`${NAME} ${id}`, id, now);
    const run = await changes.create(tx, {
      workflow_instance_id: id,
      workflow_id: NAME,
      workflow_name: NAME,
      definition_hash: NAME,
      definition: DEFINITION,
      params: trigger.params,
      trigger: trigger.trigger,
      scheduled_time_ms: null,
      retry_of: null,
      trigger_depth: 0,
      tasks_total: 1,
      carried: [],
    });
    await tx.registerAgent(
      {
        ...agent,
        stream_id: id,
        host: NAME,
        pid: null,
        version: NAME,
        protocol: 1,
        oldest_protocol: 1,
        max_concurrent_workflows: 1,
        labels: {},
        status: "UP",
        registered_at_ms: now,
        last_heartbeat_ms: now,
      },
      null,
      1,
    );

    await tx.queueHeads();
    const to = { ...agent, fetch_id: id, offer_ms: 1, assigned_at_ms: now };
    const head = { ...run, slice: 0, position: 0, turn: 0, since_ms: now };
    const claim = await tx.claim({ ...to, head, isHeld: await changes.startsAtOnce(tx, head, to) });
    if (typeof claim === "string") throw new Error(`the claim is ${claim}`);
    const held = { ...claim, ...(await changes.given(tx, claim)) };
    encodeReply("SUCCESS", JSON.stringify(await this.#assignments.of(tx, held)));

    const of = { workflow_id: NAME, workflow_instance_id: id, attempt: 1, timestamp_ms: now };
    const task = { ...of, kind: "task", task_id: NAME, task_instance_id: id, task_attempt: 1 };
    const reports = [
      { ...task, seq: 1, status: "RUNNING" },
      { ...task, seq: 2, status: "COMPLETED", exit_code: 0, cpu_ms: 1, max_rss_kb: 1, duration_ms: 1 },
      { ...of, kind: "run", seq: 3, status: "COMPLETED", log_seq: 0, duration_ms: 1 },
    ];
    const batch = asked("AGENTREPORT", JSON.stringify({ ...agent, stream_id: id, reports }));
    await applyReports(tx, batch, { changes, log, before: null, nowMs: now, aheadMs: 0 });

    await tx.getStream(id);
    await tx.getAgent(agent.agent_id);
    await tx.attemptsToStop(agent.agent_id);
    await tx.getRun(id);
    await tx.listAttempts(id);
    await tx.listTaskStates(id);
  }
}

/** A request as it comes from the network. */
function asked<V extends Verb>(verb: V, ...fields: string[]): ReturnType<typeof parseRequest<V>> {
  return parseRequest(readRequest(encodeFields([verb, ...fields])) as Request<V>);
}
