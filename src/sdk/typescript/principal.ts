/** The principal's API for listeners and other programs. */
import { mkdir, open } from "node:fs/promises";
import { dirname, resolve, sep } from "node:path";
import { loadConfig } from "../../config.ts";
import type {
  AlertSummary,
  ApprovalAnswered,
  ApprovalSummary,
  ArtifactsSummary,
  AuditEntry,
  BackfillPlan,
  BackfillSummary,
  Forecast,
  ItemSummary,
  RunDetails,
  RunRetried,
  WorkflowPaused,
  WorkflowResumed,
} from "../../contract/messages.ts";
import { CdktrError } from "../../errors.ts";
import { readArtifactFile } from "../../protocol/artifact-files.ts";
import {
  type ClientOptions,
  PrincipalClient,
  type RequestOptions,
  RequestUnprocessableError,
} from "../../protocol/client.ts";
import { clientOptions } from "../../protocol/connect.ts";
import { LogSubscription } from "../../protocol/log-subscription.ts";
import { itemFileName, nodeId } from "../../workflow/item-id.ts";
import { paramTexts } from "../../workflow/param-types.ts";
import { RUN_TRANSITIONS } from "../../workflow/run-state.ts";
import { isTerminal, type RunStatus } from "../../workflow/status.ts";
import { LogTail } from "./log-tail.ts";

/** Duration of one long poll, ms: a dead principal is noticed within this time. */
const POLL_MS = 10_000;

/** How long an answer is waited for that takes the principal a while: many firings, thousands of runs; ms. */
const LONG_TIMEOUT_MS = 60_000;

/** Items that are asked for at once. */
const ITEMS_PER_PAGE = 1000;
/** Approvals that are listed at most. */
const MOST_APPROVALS = 1000;

/** Options of a trigger. */
export interface RunWorkflowOptions {
  /** Text is passed as it is, anything else as JSON. */
  readonly params?: Readonly<Record<string, unknown>>;
  /** Idempotency key: the same event always has the same key, so that it starts one run however often it is sent. */
  readonly dedupeKey?: string;
  /** `api`, or `listener:NAME`. */
  readonly trigger?: string;
  /** When the run starts, ms since the epoch; it is stored now. */
  readonly startAt?: Date | number;
  /** The same as a time from now, ms. */
  readonly startInMs?: number;
  /** From 0 to 9, which goes first; by default that of the workflow. */
  readonly priority?: number;
}

/** A time: `Date`, or ms since the epoch. */
type Time = Date | number;

/** Options of a pause. */
export interface PauseOptions extends RequestOptions {
  readonly reason?: string;
  /** When the workflow goes on by itself; never by default. */
  readonly until?: Time;
  /** The same as a time from now, ms. */
  readonly forMs?: number;
}

/** Which firings a backfill is about. */
export interface BackfillScope {
  /** A day, `2026-01-31`, which is all of it in the zone of the schedule, or a time; both ends are inclusive. */
  readonly from: string | Date;
  /** Now by default. */
  readonly to?: string | Date;
  readonly reverse?: boolean;
  readonly reprocess?: "none" | "failed" | "all";
  /** Text is passed as it is, anything else as JSON. */
  readonly params?: Readonly<Record<string, unknown>>;
}

/** Options of a backfill. */
export interface BackfillOptions extends BackfillScope {
  readonly maxActive?: number;
  readonly priority?: number;
  readonly dedupeKey?: string;
}

/** The span of a forecast. */
export interface ForecastOptions extends RequestOptions {
  readonly from?: Time;
  readonly to?: Time;
  readonly workflowIds?: readonly string[];
  readonly limit?: number;
}

/** Options of a retry. */
export interface RetryOptions extends RequestOptions {
  readonly fromStart?: boolean;
  readonly tasks?: readonly string[];
  readonly currentDefinition?: boolean;
  /** Other parameters; text is passed as it is, anything else as JSON. */
  readonly params?: Readonly<Record<string, unknown>>;
  readonly dedupeKey?: string;
}

/** Which items are listed. */
export interface ItemOptions extends RequestOptions {
  readonly status?: RunStatus;
  readonly outputs?: boolean;
}

/** Which alerts are listed. */
export interface AlertFilter {
  /** Those that are open, those of which a message was given up, or all; by default the open ones. */
  readonly which?: "open" | "dead" | "all";
  readonly kind?: string;
  readonly workflowId?: string;
  readonly limit?: number;
}

/** Which rows of the audit log are read; `*` in a text stands for anything. */
export interface AuditFilter {
  readonly since?: Time;
  readonly until?: Time;
  readonly actor?: string;
  readonly action?: string;
  readonly subject?: string;
  readonly limit?: number;
}

/** Which approvals are listed. */
export interface ApprovalFilter {
  readonly runId?: string;
  readonly workflowId?: string;
}

/** An answer to what waits for a person. */
export interface AnswerOptions extends RequestOptions {
  /** May be left out if only one task of the run waits for a person. */
  readonly taskId?: string;
  readonly itemKey?: string;
  /** The values of the form; text is passed as it is, anything else as JSON. */
  readonly params?: Readonly<Record<string, unknown>>;
  readonly note?: string;
  readonly dedupeKey?: string;
}

/** What a run has published. */
export interface RunOutputs {
  readonly run: Readonly<Record<string, unknown>>;
  readonly tasks: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** Options of a tail. */
export interface TailOptions {
  /** Ends the iteration. */
  readonly signal?: AbortSignal;
}

/** Options of a client. */
interface PrincipalOptions extends ClientOptions {
  /** Where the principals of an installation with several are, `HOST:PORT` each. */
  readonly principals: readonly string[];
}

/** A client of a principal, or of one of several. It connects on the first request and reconnects by itself. */
export class Principal extends PrincipalClient {
  readonly #timeoutMs: number;

  /**
   * @param options omitted ones come from the settings: `CDKTR_PRINCIPALS`, `CDKTR_PRINCIPAL_HOST` and so on
   * @throws ConfigError when one of `principals` is not an address
   */
  constructor({ principals, ...options }: Partial<PrincipalOptions> = {}) {
    const role = options.curve === undefined ? "client" : { keys: options.curve };
    const config = loadConfig({ CDKTR_PRINCIPALS: principals?.join(",") }).values;
    const complete = clientOptions(config, role, {
      ...options,
      attempts: options.attempts ?? 3,
    });
    super(complete);
    this.#timeoutMs = complete.timeoutMs;
  }

  /** Triggers a workflow; resolves when the run is on the principal's disk. */
  runWorkflow(
    workflowId: string,
    options: RunWorkflowOptions = {},
    request?: RequestOptions,
  ): Promise<{ workflow_instance_id: string }> {
    const {
      params,
      trigger = "api",
      dedupeKey = crypto.randomUUID(),
      startAt,
      startInMs,
      priority,
    } = options;
    return this.runTask(
      workflowId,
      {
        params: paramTexts(params),
        trigger,
        dedupe_key: dedupeKey,
        ...(startAt === undefined ? {} : { start_at_ms: Math.round(Number(startAt)) }),
        ...(startInMs === undefined ? {} : { start_in_ms: Math.round(startInMs) }),
        ...(priority === undefined ? {} : { priority }),
      },
      request,
    );
  }

  /** @throws RequestUnprocessableError when they are too many for one reply, or only the history has them */
  async outputs(runId: string, request: RequestOptions = {}): Promise<RunOutputs> {
    const run = await this.getRun(runId, { ...request, outputs: true });
    if (run.outputs_left_out === true) {
      throw new RequestUnprocessableError(
        `The outputs of run ${runId} have more than 8 MiB together, or only the history has them.`,
        { hint: "The column outputs of task_runs in the history has those of each task." },
      );
    }
    const tasks = run.tasks.flatMap((task) =>
      task.outputs == null ? [] : [[task.task_id, task.outputs] as const],
    );
    return { run: run.outputs ?? {}, tasks: Object.fromEntries(tasks) };
  }

  /** The items of a fan-out in order, read page by page. */
  async *items(runId: string, taskId: string, options: ItemOptions = {}): AsyncGenerator<ItemSummary> {
    const { status, outputs, ...request } = options;
    for (let after: number | undefined; ; ) {
      const page = await this.listItems(
        {
          ...{ workflow_instance_id: runId, task_id: taskId, limit: ITEMS_PER_PAGE },
          ...(after === undefined ? {} : { after_index: after }),
          ...(status === undefined ? {} : { status }),
          ...(outputs === true ? { outputs } : {}),
        },
        request,
      );
      yield* page;
      after = page.at(-1)?.item_index;
      if (after === undefined) return;
    }
  }

  /** The tasks that wait for a person, the oldest first. */
  approvals(filter: ApprovalFilter = {}, request?: RequestOptions): Promise<ApprovalSummary[]> {
    const { runId, workflowId } = filter;
    return this.listApprovals(
      {
        limit: MOST_APPROVALS,
        ...(runId === undefined ? {} : { workflow_instance_id: runId }),
        ...(workflowId === undefined ? {} : { workflow_id: workflowId }),
      },
      request,
    );
  }

  /** Alerts with who is told of them, the newest first. */
  alerts(filter: AlertFilter = {}, request?: RequestOptions): Promise<AlertSummary[]> {
    const { which = "open", kind, workflowId, limit } = filter;
    return this.call(
      "LSALERTS",
      {
        which,
        ...(kind === undefined ? {} : { kind }),
        ...(workflowId === undefined ? {} : { workflow_id: workflowId }),
        ...(limit === undefined ? {} : { limit }),
      },
      request,
    );
  }

  /** Who did what: the newest rows that match, the oldest of them first. */
  async audit(filter: AuditFilter = {}, request?: RequestOptions): Promise<AuditEntry[]> {
    const { since, until, ...rest } = filter;
    const page = await this.call(
      "LSAUDIT",
      {
        ...(since === undefined ? {} : { since_ms: Math.round(Number(since)) }),
        ...(until === undefined ? {} : { until_ms: Math.round(Number(until)) }),
        ...rest,
      },
      request,
    );
    return page.rows;
  }

  /** Approves a task that waits for a person; the values of its form become its outputs. */
  approve(runId: string, answer: AnswerOptions = {}): Promise<ApprovalAnswered> {
    return this.#answer("approve", runId, answer);
  }

  /** Rejects a task that waits for a person: it becomes FAILED. */
  reject(runId: string, answer: Omit<AnswerOptions, "params"> = {}): Promise<ApprovalAnswered> {
    return this.#answer("reject", runId, answer);
  }

  #answer(
    answer: "approve" | "reject",
    runId: string,
    { taskId, itemKey, params, note = "", dedupeKey = crypto.randomUUID(), ...request }: AnswerOptions,
  ): Promise<ApprovalAnswered> {
    return this.answerApproval(
      {
        ...{ workflow_instance_id: runId, answer, note, params: paramTexts(params), dedupe_key: dedupeKey },
        ...(taskId === undefined ? {} : { task_id: taskId }),
        ...(itemKey === undefined ? {} : { item_key: itemKey }),
      },
      request,
    );
  }

  /** The files that the tasks of a run left. */
  artifacts(runId: string, request?: RequestOptions): Promise<ArtifactsSummary[]> {
    return this.call("LSARTIFACTS", { workflow_instance_id: runId }, request);
  }

  /**
   * Writes the files that the tasks of a run left to `directory/TASK`, those of items to `directory/TASK/KEY`; never over a file that exists.
   * @returns their paths
   */
  async downloadArtifacts(
    runId: string,
    directory: string,
    { taskId, ...request }: RequestOptions & { readonly taskId?: string } = {},
  ): Promise<string[]> {
    const written: string[] = [];
    for (const { task_id, item_key, hash, files } of await this.artifacts(runId, request)) {
      if (taskId !== undefined && taskId !== task_id && taskId !== nodeId(task_id, item_key)) continue;
      const root = resolve(directory, task_id, item_key === null ? "" : itemFileName(item_key));
      for (const file of files) {
        const path = resolve(root, file.path);
        if (!path.startsWith(root + sep))
          throw new CdktrError(`${file.path} is not a path below its task's directory.`);
        await mkdir(dirname(path), { recursive: true });
        const target = await open(path, "wx");
        try {
          for await (const piece of readArtifactFile(this, { runId, hash, file }, request))
            await target.write(piece);
        } finally {
          await target.close();
        }
        written.push(path);
      }
    }
    return written;
  }

  /** A new run from the failed tasks of one that is over, from chosen ones, or from the beginning. */
  retry(runId: string, options: RetryOptions = {}): Promise<RunRetried> {
    const { fromStart = false, tasks, currentDefinition, params, ...rest } = options;
    const { dedupeKey = crypto.randomUUID(), ...request } = rest;
    return this.retryRun(
      {
        workflow_instance_id: runId,
        from_start: fromStart,
        ...(tasks === undefined ? {} : { tasks: [...tasks] }),
        ...(currentDefinition === undefined ? {} : { current_definition: currentDefinition }),
        ...(params === undefined ? {} : { params: paramTexts(params) }),
        dedupe_key: dedupeKey,
      },
      request,
    );
  }

  /** Pauses a workflow: its schedules and events make no runs, and runs that are asked for are held. */
  pause(workflowId: string, options: PauseOptions = {}): Promise<WorkflowPaused> {
    const { reason, until, forMs, ...request } = options;
    return this.call(
      "PAUSEWORKFLOW",
      {
        workflow_id: workflowId,
        ...(reason === undefined ? {} : { reason }),
        ...(until === undefined ? {} : { until_ms: Math.round(Number(until)) }),
        ...(forMs === undefined ? {} : { for_ms: Math.round(forMs) }),
      },
      { timeoutMs: LONG_TIMEOUT_MS, ...request },
    );
  }

  /** Lets a workflow go on; what it has missed follows its `catchup`. */
  resume(workflowId: string, request?: RequestOptions): Promise<WorkflowResumed> {
    return this.call(
      "RESUMEWORKFLOW",
      { workflow_id: workflowId },
      { timeoutMs: LONG_TIMEOUT_MS, ...request },
    );
  }

  /** What {@link backfill} would do now, firing by firing, read page by page. */
  async *planBackfill(
    workflowId: string,
    scope: BackfillScope,
    request?: RequestOptions,
  ): AsyncGenerator<BackfillPlan["firings"][number]> {
    for (let after: NonNullable<BackfillPlan["next"]> | undefined; ; ) {
      const page = await this.call(
        "PLANBACKFILL",
        { ...scopeOf(workflowId, scope), ...(after === undefined ? {} : { after }) },
        request,
      );
      yield* page.firings;
      if (page.next === null) return;
      after = page.next;
    }
  }

  /** Runs the firings of a workflow's schedules in a stretch of time. */
  async backfill(
    workflowId: string,
    options: BackfillOptions,
    request?: RequestOptions,
  ): Promise<BackfillSummary> {
    const { maxActive, priority, dedupeKey = crypto.randomUUID(), ...scope } = options;
    const { backfill } = await this.call(
      "CREATEBACKFILL",
      {
        ...scopeOf(workflowId, scope),
        ...(maxActive === undefined ? {} : { max_active: maxActive }),
        ...(priority === undefined ? {} : { priority }),
        dedupe_key: dedupeKey,
      },
      request,
    );
    return backfill;
  }

  /** Backfills, newest first, with their progress. */
  backfills(
    filter: { readonly workflowId?: string; readonly open?: boolean } = {},
    request?: RequestOptions,
  ): Promise<BackfillSummary[]> {
    const { workflowId, open = false } = filter;
    return this.call(
      "LSBACKFILLS",
      { open, ...(workflowId === undefined ? {} : { workflow_id: workflowId }) },
      request,
    );
  }

  /** A backfill with its progress. */
  async getBackfill(backfillId: string, request?: RequestOptions): Promise<BackfillSummary> {
    return (await this.call("GETBACKFILL", { backfill_id: backfillId, limit: 0 }, request)).backfill;
  }

  /** Pauses a backfill, lets it go on, or ends it and cancels its runs that are not over. */
  async changeBackfill(
    backfillId: string,
    to: "ACTIVE" | "PAUSED" | "CANCELLED",
    request?: RequestOptions,
  ): Promise<BackfillSummary> {
    return (await this.call("CHANGEBACKFILL", { backfill_id: backfillId, to }, request)).backfill;
  }

  /** What the schedules will do, by default in the next 24 hours. */
  override forecast(options: ForecastOptions = {}): Promise<Forecast> {
    const { from, to, workflowIds, limit, ...request } = options;
    return this.call(
      "FORECAST",
      {
        ...(from === undefined ? {} : { from_ms: Math.round(Number(from)) }),
        ...(to === undefined ? {} : { to_ms: Math.round(Number(to)) }),
        ...(workflowIds === undefined ? {} : { workflow_ids: [...workflowIds] }),
        ...(limit === undefined ? {} : { limit }),
      },
      { timeoutMs: LONG_TIMEOUT_MS, ...request },
    );
  }

  /** Resolves with the run when it is over. */
  async wait(runId: string, request?: RequestOptions): Promise<RunDetails> {
    for (;;) {
      const run = await this.waitRun(runId, POLL_MS, request);
      if (isTerminal(RUN_TRANSITIONS, run.status)) return run;
    }
  }

  /** Live lines of one workflow or of all, as an async iterable. When this resolves, the subscription is active: no later line is missed. */
  async tailLogs(workflowId?: string, options: TailOptions = {}): Promise<LogTail> {
    const info = await this.info({ signal: options.signal });
    const subscription = new LogSubscription({
      client: this,
      port: info.logs_publishing_port,
      workflowId,
    });
    options.signal?.addEventListener("abort", () => subscription.close(), { once: true });
    await subscription.connect(this.#timeoutMs);
    return new LogTail(this, subscription, workflowId);
  }
}

function scopeOf(
  workflow_id: string,
  { from, to, reverse = false, reprocess = "none", params }: BackfillScope,
) {
  const bound = (time: string | Date) => (typeof time === "string" ? time : time.toISOString());
  return {
    ...{ workflow_id, from: bound(from), reverse, reprocess, params: paramTexts(params) },
    ...(to === undefined ? {} : { to: bound(to) }),
  };
}
