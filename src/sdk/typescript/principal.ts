/** The principal's API for listeners and other programs. */
import { mkdir, open } from "node:fs/promises";
import { dirname, resolve, sep } from "node:path";
import { loadConfig } from "../../config.ts";
import type {
  ApprovalAnswered,
  ApprovalSummary,
  ArtifactsSummary,
  ItemSummary,
  RunDetails,
  RunRetried,
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

/** A client of a principal. It connects on the first request and reconnects by itself. */
export class Principal extends PrincipalClient {
  readonly #timeoutMs: number;

  /** @param options omitted ones come from the settings: `CDKTR_PRINCIPAL_HOST` and so on */
  constructor(options: Partial<ClientOptions> = {}) {
    const role = options.curve === undefined ? "client" : { keys: options.curve };
    const complete = clientOptions(loadConfig().values, role, {
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
    const { params, trigger = "api", dedupeKey = crypto.randomUUID(), startAt, startInMs } = options;
    return this.runTask(
      workflowId,
      {
        params: paramTexts(params),
        trigger,
        dedupe_key: dedupeKey,
        ...(startAt === undefined ? {} : { start_at_ms: Math.round(Number(startAt)) }),
        ...(startInMs === undefined ? {} : { start_in_ms: Math.round(startInMs) }),
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
