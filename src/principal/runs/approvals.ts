/**
 * Tasks that wait for a person. What is asked is stored when a task begins to wait; an answer ends the task in the commit in which it is
 * stored. So each task is answered once, whoever asks how often, and an answer that was acknowledged is not lost.
 */
import type { Clock } from "../../clock.ts";
import type {
  AnswerApproval,
  ApprovalAnswered,
  ApprovalSummary,
  ListApprovals,
} from "../../contract/messages.ts";
import type { Role } from "../../contract/roles.ts";
import { InvalidInputError, NotFoundError, UnprocessableError } from "../../errors.ts";
import type {
  OperationalStore,
  OperationalTx,
  RunRecord,
  TaskRunState,
  WaitRecord,
} from "../../storage/operational/store.ts";
import { didYouMean } from "../../terminal/did-you-mean.ts";
import { quote } from "../../terminal/foreign-text.ts";
import { answered, type Question } from "../../workflow/answers.ts";
import { nodeId } from "../../workflow/item-id.ts";
import { factsOf } from "../../workflow/kinds/index.ts";
import { RUN_TRANSITIONS } from "../../workflow/run-state.ts";
import { isTerminal } from "../../workflow/status.ts";
import { isEnding } from "../../workflow/task-state.ts";
import { type Audit, unaudited } from "../audit/audit.ts";
import type { Definitions } from "./definitions.ts";
import { nameOfTask, personal, readable, summaryOf } from "./questions.ts";
import type { RunChanges } from "./run-changes.ts";
import { lookUpRun, unknownRun } from "./run-finder.ts";

/** Whoever sends a request. */
export interface Asker {
  /** The name of the key, or without keys that of the user; null where neither is known. */
  readonly name: string | null;
  /** The role of the key; null without keys. */
  readonly role: Role | null;
}

/** What {@link Approvals} needs. */
export interface ApprovalsOptions {
  readonly store: OperationalStore;
  readonly changes: RunChanges;
  readonly definitions: Definitions;
  readonly clock: Clock;
}

/** Lists and answers what waits for a person. */
export class Approvals {
  readonly #o: ApprovalsOptions;

  constructor(options: ApprovalsOptions) {
    this.#o = options;
  }

  /** What waits, oldest first. @throws NotFoundError for a run that there is not */
  list(
    { workflow_instance_id, workflow_id, limit }: ListApprovals,
    asker: Asker,
  ): Promise<ApprovalSummary[]> {
    return this.#o.store.read(async (tx) => {
      const waits =
        workflow_instance_id === undefined
          ? await tx.waitsOfKind("person", limit, workflow_id)
          : personal(await tx.listWaits((await this.#find(tx, workflow_instance_id)).workflow_instance_id));
      const summaries: ApprovalSummary[] = [];
      for (const wait of waits.slice(0, limit)) {
        const run = await tx.getRun(wait.workflow_instance_id);
        if (run === null || (workflow_id !== undefined && run.workflow_id !== workflow_id)) continue;
        const question = readable(wait);
        if (question === null) continue;
        const refusal = refusalOf(await behind(tx, run, question), wait.task, question, asker);
        summaries.push({
          ...(await summaryOf(tx, run, wait, question)),
          ...(refusal === null ? {} : { refusal }),
        });
      }
      return summaries;
    });
  }

  /**
   * Answers what a task waits for.
   * @throws NotFoundError when nothing waits that could be meant, UnprocessableError when it does not wait any more, or not yet
   * @throws InvalidInputError when several wait, when whoever asks may not answer, and for values that do not fit the form
   */
  answer(request: AnswerApproval, asker: Asker, audit: Audit = unaudited): Promise<ApprovalAnswered> {
    return this.#o.store.transact(async (tx) => {
      const run = await this.#find(tx, request.workflow_instance_id);
      const waits = personal(await tx.listWaits(run.workflow_instance_id));
      const meant = waits.filter(
        ({ task }) =>
          request.task_id === undefined || task === nodeId(request.task_id, request.item_key ?? null),
      );
      const [wait] = meant.length === 1 ? meant : [];
      if (request.dedupe_key !== undefined) {
        const fresh = wait?.task_instance_id ?? crypto.randomUUID();
        const key = `ANSWERAPPROVAL ${run.workflow_instance_id} ${request.dedupe_key}`;
        const known = await tx.claimKey(key, fresh, this.#o.clock.now());
        if (known !== fresh) return this.#answered(tx, run, known);
      }
      if (wait === undefined) throw await this.#notOne(tx, run, request, waits);
      const question: Question = JSON.parse(wait.data);
      const refusal = refusalOf(await behind(tx, run, question), wait.task, question, asker);
      if (refusal !== null) throw new InvalidInputError(refusal);
      const { answer, params, note } = request;
      const end = answered(wait.task, question, {
        answer,
        params,
        note: note.trim(),
        by: asker.name ?? "somebody",
      });
      const { workflow_instance_id: subject, workflow_id } = run;
      await audit(tx, { subject, detail: { workflow_id, task: wait.task } });
      await this.#o.changes.answered(tx, run, wait, end);
      return this.#answered(tx, run, wait.task_instance_id ?? "");
    });
  }

  async #find(tx: OperationalTx, runId: string): Promise<RunRecord> {
    const run = await lookUpRun(tx, runId);
    if (run === null) throw unknownRun(runId);
    return run;
  }

  async #answered(tx: OperationalTx, run: RunRecord, taskInstanceId: string): Promise<ApprovalAnswered> {
    const task = await tx.getTaskRun(run.workflow_instance_id, taskInstanceId);
    if (task === null) throw new NotFoundError("The task that was answered is not known any more.");
    return {
      workflow_id: run.workflow_id,
      workflow_instance_id: run.workflow_instance_id,
      ...nameOfTask(task),
      status: task.status === "COMPLETED" ? "COMPLETED" : "FAILED",
    };
  }

  /** Why it is not one task that is meant. @param waits all of the run */
  async #notOne(
    tx: OperationalTx,
    run: RunRecord,
    { task_id, item_key }: AnswerApproval,
    waits: readonly WaitRecord[],
  ): Promise<NotFoundError | InvalidInputError | UnprocessableError> {
    const { workflow_instance_id: id } = run;
    const waiting = waits.map(({ task }) => task);
    if (task_id === undefined) {
      if (waits.length > 1)
        return new InvalidInputError(
          `Run ${id} waits for ${waits.length} approvals (${shortened(waiting)}): name one of them.`,
        );
      const state = isTerminal(RUN_TRANSITIONS, run.status) ? `: it is over, ${run.status}` : "";
      return new NotFoundError(`No task of run ${id} waits for an approval${state}.`);
    }
    const name = nodeId(task_id, item_key ?? null);
    const items = waits.filter(({ task }) => task.startsWith(`${task_id}[`)).map(({ task }) => task);
    if (item_key === undefined && items.length > 0)
      return new InvalidInputError(`"${task_id}" is a fan-out: name one of its items, ${shortened(items)}.`);
    const definition = await this.#o.definitions.of(tx, run);
    const tasks = definition?.tasks ?? [];
    const approvals = tasks.filter(({ config }) => factsOf(config).waitsFor === "person");
    const task = tasks.find((each) => name === each.id || name.startsWith(`${each.id}[`));
    if (task === undefined) {
      const hint = didYouMean(
        task_id,
        approvals.map((each) => each.id),
      );
      return new NotFoundError(`Run ${id} has no task ${quote(name)}.`, hint === undefined ? {} : { hint });
    }
    if (!approvals.includes(task)) return new NotFoundError(`Task "${task.id}" asks nobody for an approval.`);
    const known = (await tx.listTaskRuns(id)).filter((each) => nodeId(each.task_id, each.item_key) === name);
    const last = known.at(-1);
    if (last === undefined || !isEnding(last.status))
      return new UnprocessableError(
        `Task "${name}" does not wait for an answer yet: what it depends on is not over.`,
        { hint: `cdktr runs why ${id} says for what it waits.` },
      );
    const when = last.finished_at_ms === null ? "" : ` at ${iso(last.finished_at_ms)}`;
    const who = how(last);
    return new UnprocessableError(
      `Task "${name}" is over already: ${last.status}${when}${who === null ? "" : `, ${who}`}.`,
    );
  }
}

/** How an approval ended, as far as it says so. */
function how({
  error,
  outputs,
}: Pick<TaskRunState, "error"> & { readonly outputs: string | null }): string | null {
  if (error !== null) return error;
  const by: unknown = outputs === null ? undefined : JSON.parse(outputs).approved_by;
  return typeof by === "string" ? `approved by ${by}` : null;
}

/** Maximum number of runs that a run is followed back to. */
const MOST_BEFORE = 100;

/** Who has triggered a run, and those that it retries or that have started it: the run's own actor first. Only looked up for four eyes. */
async function behind(tx: OperationalTx, run: RunRecord, { four_eyes }: Question): Promise<string[]> {
  const actors = new Set<string>();
  const ahead = [run];
  const seen = new Set<string>();
  for (let each = ahead.pop(); each !== undefined && four_eyes === true; each = ahead.pop()) {
    if (each.actor !== null) actors.add(each.actor);
    seen.add(each.workflow_instance_id);
    for (const id of [each.parent_run, each.retry_of]) {
      const before = id === null || seen.has(id) || seen.size > MOST_BEFORE ? null : await tx.getRun(id);
      if (before !== null) ahead.push(before);
    }
  }
  return [...actors];
}

/** Why somebody may not answer; null if they may. Without keys there is one user only, whose roles nobody has limited. */
function refusalOf(
  actors: readonly string[],
  task: string,
  { roles, four_eyes }: Question,
  { name, role }: Asker,
): string | null {
  const allowed: readonly string[] | undefined = roles;
  if (allowed !== undefined && role !== null && !allowed.includes(role))
    return `"${task}" is answered with a key that has the role ${allowed.join(" or ")}; the key ${name} has the role ${role}.`;
  if (four_eyes !== true || actors.length === 0 || (name !== null && !actors.includes(name))) return null;
  const more =
    role === null
      ? " Without keys everybody here is the same user: cdktr docs security says how to set them up."
      : "";
  const what = name === null || name === actors[0] ? "this run" : "a run that this one goes back to";
  return `${name ?? "You"} triggered ${what}, and "${task}" asks for four eyes: somebody else has to answer.${more}`;
}

const NAMED = 8;

function shortened(names: readonly string[]): string {
  const more = names.length - NAMED;
  return `${names.slice(0, NAMED).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

function iso(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, "Z");
}
