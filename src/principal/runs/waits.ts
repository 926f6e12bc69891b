/** Which parts of a run wait for an agent, or for the time at which the run starts; since when, and why. */
import type { Clock } from "../../clock.ts";
import { waitLines } from "../../contract/run-waits.ts";
import { PARKED } from "../../storage/operational/pauses.ts";
import type { OperationalTx, RunNote, RunRecord } from "../../storage/operational/store.ts";
import { holdReason, pauseReason } from "../limits/holds.ts";
import { readNeeds } from "../limits/needs.ts";
import { inOrder } from "../limits/order.ts";
import { type PoolFacts, poolReasons } from "../limits/pool-reasons.ts";
import type { Definitions } from "./definitions.ts";
import { startReason, type WaitReason, waitReasons } from "./wait-reasons.ts";

/** Tasks of a run that wait together. */
export interface Wait extends WaitReason {
  /** Number of their slice; 0 for a whole run. */
  readonly slice: number;
  /** Ids, in the order of the definition. */
  readonly tasks: readonly string[];
  /** Since when, ms since the epoch. */
  readonly since_ms: number;
}

/** Says why something with these needs waits; made by {@link Waits.reasons} for one unit of work. */
export type Reasons = (needs: string) => Promise<WaitReason>;

/** Finds what waits. Its methods are parts of a unit of work. */
export class Waits {
  readonly #definitions: Definitions;
  readonly #givesSecrets: boolean;
  readonly #clock: Pick<Clock, "now">;

  /** @param givesSecrets whether the principal gives secrets of its store to agents */
  constructor(definitions: Definitions, clock: Pick<Clock, "now">, givesSecrets = true) {
    this.#definitions = definitions;
    this.#clock = clock;
    this.#givesSecrets = givesSecrets;
  }

  /** The reasons as of now: reads the agents and their leases, and the pools if something takes slots. */
  async reasons(tx: OperationalTx): Promise<Reasons> {
    const leases = new Map<string, number>();
    for (const { agent_id } of await tx.openAttempts()) leases.set(agent_id, (leases.get(agent_id) ?? 0) + 1);
    const agents = await tx.listAgents();
    const ofAgents = waitReasons(
      agents.map(({ agent_id, status, labels, version, protocol, max_concurrent_workflows }) => ({
        agent_id,
        status,
        labels,
        version,
        protocol,
        leases: leases.get(agent_id) ?? 0,
        max_leases: max_concurrent_workflows,
      })),
      this.#givesSecrets,
    );
    const hasAgent = (needs: string): boolean => ["full", "ready"].includes(ofAgents(needs).kind);
    let ofPools: Promise<ReturnType<typeof poolReasons>> | undefined;
    return async (needs) => {
      const own = ofAgents(needs);
      if (readNeeds(needs).placement.pool === undefined || !hasAgent(needs)) return own;
      ofPools ??= this.#poolFacts(tx).then((facts) => poolReasons(facts, hasAgent));
      const lack = (await ofPools)(needs);
      return lack === null ? own : { kind: "pool", ...lack };
    };
  }

  async #poolFacts(tx: OperationalTx): Promise<PoolFacts> {
    const heads = (await tx.queueHeads()).filter(({ needs }) => !readNeeds(needs).isPaused);
    return {
      sizes: new Map((await tx.listPools()).map(({ name, size }) => [name, size])),
      used: await tx.poolUse(),
      holders: await tx.poolHolders(),
      queue: inOrder(heads, this.#clock.now()),
    };
  }

  /** What of a run waits, in order, and where in the queue; empty when nothing does. */
  async of(tx: OperationalTx, run: RunRecord): Promise<Wait[]> {
    const waits = await this.#placed(tx, run, await this.why(tx, run));
    if (run.revision > 0 || waits.length === 0) return waits;
    const definition = await this.#definitions.of(tx, run);
    const completed = new Set(await tx.completedTasks(run.workflow_instance_id));
    const tasks = (definition?.tasks ?? []).map(({ id }) => id).filter((id) => !completed.has(id));
    return waits.map((wait) => ({ ...wait, tasks }));
  }

  /** Adds to waits for agents that are full how much of the queue goes before them. */
  async #placed(tx: OperationalTx, { workflow_instance_id: id }: RunRecord, waits: Wait[]): Promise<Wait[]> {
    if (!waits.some(({ kind }) => kind === "full")) return waits;
    const entries = (await tx.queueEntries(COUNTED)).filter(({ needs }) => !readNeeds(needs).isPaused);
    const order = inOrder(entries, this.#clock.now());
    return waits.map((wait) => {
      if (wait.kind !== "full") return wait;
      const at = order.findIndex((each) => each.workflow_instance_id === id && each.slice === wait.slice);
      const before = at === -1 ? `more than ${COUNTED} wait` : at === 1 ? "1 waits" : `${at} wait`;
      return at === 0 ? wait : { ...wait, reason: `${wait.reason}; ${before} before it` };
    });
  }

  /** As {@link of}, but without the tasks of a whole run, and without its place. @param reasons read now, if something waits, by default */
  async why(tx: OperationalTx, run: RunRecord, reasons?: Reasons): Promise<Wait[]> {
    if (run.hold !== null && run.finished_at_ms === null)
      return [{ ...whole(run.status_at_ms), ...(await holdReason(tx, run)) }];
    if (run.revision === 0) {
      if (isBeforeStart(run))
        return [{ slice: 0, tasks: [], since_ms: run.created_at_ms, ...startReason(run.start_at_ms) }];
      if (!run.queued) return [];
      if (isParked(run)) return [{ ...whole(run.status_at_ms), ...(await pauseReason(tx, run)) }];
      const reasonOf = reasons ?? (await this.reasons(tx));
      return [{ slice: 0, tasks: [], since_ms: run.status_at_ms, ...(await reasonOf(run.needs)) }];
    }
    const open = await tx.listSlices(run.workflow_instance_id, "open");
    const queued = open.filter(({ state }) => state === "QUEUED");
    if (queued.length === 0) return [];
    const parked = queued.filter(isParked);
    const held = parked.length === 0 ? [] : [{ ...whole(run.status_at_ms), ...(await pauseReason(tx, run)) }];
    if (parked.length === queued.length) return held;
    const reasonOf = reasons ?? (await this.reasons(tx));
    const waits: Wait[] = [...held];
    for (const { slice, tasks, needs, queued_at_ms: since_ms } of queued.filter((each) => !isParked(each)))
      waits.push({ slice, tasks, since_ms, ...(await reasonOf(needs)) });
    return waits;
  }
}

/** A wait of all of a run. */
function whole(since_ms: number): Pick<Wait, "slice" | "tasks" | "since_ms"> {
  return { slice: 0, tasks: [], since_ms };
}

/** Whether it was in the queue when its workflow was paused. */
function isParked({ needs }: Pick<RunRecord, "needs">): boolean {
  return needs.startsWith(PARKED);
}

/** Whether a run waits for the time at which it starts. */
export function isBeforeStart<R extends Pick<RunRecord, "start_at_ms" | "status">>(
  run: R,
): run is R & { readonly start_at_ms: number } {
  return run.start_at_ms !== null && run.status === "PENDING";
}

/** What is written about a run that waits for the time at which it starts, ms since the epoch. */
export function startNote(startMs: number): RunNote {
  return { reason: startReason(startMs).reason, waits: null };
}

/** So much of the queue is looked through for the place of a run. */
const COUNTED = 200;
/** Slices that are named if very many wait. */
const NAMED = 100;

/** A wait for an agent. */
type WaitForAgent = Wait & { readonly kind: Exclude<Wait["kind"], "time" | "pool" | "pause" | "group"> };
/** A wait of a run that is kept from agents. */
type Hold = Wait & { readonly kind: "pause" | "group" };

/** Whether it is an agent that is waited for. Older programs do not know other waits. */
export function isForAgent(wait: Wait): wait is WaitForAgent {
  return wait.kind !== "time" && !isForPool(wait) && !isHold(wait);
}

/** Whether it is for slots of pools. */
export function isForPool(wait: Wait): boolean {
  return wait.kind === "pool";
}

/** Whether a run is kept from agents. */
export function isHold(wait: Wait): wait is Hold {
  return wait.kind === "pause" || wait.kind === "group";
}

/** The waits of a run as replies have them: if there are very many, some of them, at least one for each reason. */
export function named<W extends Wait>(waits: readonly W[]): readonly W[] {
  if (waits.length <= NAMED) return waits;
  const first = new Set(
    Map.groupBy(waits, ({ reason }) => reason)
      .values()
      .map(([wait]) => wait),
  );
  const others = waits.filter((wait) => !first.has(wait));
  const named = new Set([...waits.filter((wait) => first.has(wait)), ...others].slice(0, NAMED));
  return waits.filter((wait) => named.has(wait));
}

/** Reasons that are told in the text of a row of the history. */
const TOLD = 10;
/** Tasks that are named for each reason in the row. */
const TASKS = 100;

/** Why a run waits, as a row of the history has it. */
export function noteOf(now: readonly Wait[]): RunNote {
  const waits = now.map(({ noted, ...wait }) => (noted === undefined ? wait : { ...wait, reason: noted }));
  const lines = waitLines({ waits });
  const more = lines.length - TOLD;
  const reason = [...lines.slice(0, TOLD), ...(more > 0 ? [`${more} more reasons`] : [])].join("; ");
  if (waits.every(({ slice }) => slice === 0)) return { reason, waits: null };
  const groups = [...Map.groupBy(waits, (wait) => wait.reason)].map(([reason, group]) => {
    const tasks = group.flatMap((wait) => wait.tasks);
    const more_tasks = tasks.length - TASKS;
    return {
      reason,
      slices: group.map(({ slice }) => slice),
      tasks: tasks.slice(0, TASKS),
      ...(more_tasks > 0 ? { more_tasks } : {}),
    };
  });
  return { reason, waits: JSON.stringify(groups) };
}

/** Whether two notes give the same reasons, though perhaps for other slices. */
export function areAlike(a: RunNote, b: RunNote): boolean {
  return reasonsIn(a) === reasonsIn(b);
}

function reasonsIn({ reason, waits }: RunNote): string {
  if (waits === null) return reason;
  const groups: { reason: string }[] = JSON.parse(waits);
  return groups
    .map((group) => group.reason)
    .sort()
    .join("\n");
}
