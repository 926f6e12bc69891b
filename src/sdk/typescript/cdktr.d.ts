/**
 * Types of what `import … from "cdktr"` provides in a file that `cdktr listen FILE.ts` runs. Written by `cdktr sdk typescript DIR`;
 * the implementation is inside the executable.
 */
declare module "cdktr" {
  /**
   * The parameters of workflows by their ids, as `cdktr sdk typescript DIR --workflows WORKFLOWS` writes them. Without that, any id and any
   * parameters are accepted here; the principal checks them.
   */
  export interface WorkflowParams {}

  /** The id of a workflow: a known one, or any other. */
  export type WorkflowId = keyof WorkflowParams | (string & Record<never, never>);

  /** The parameters of a workflow. */
  export type ParamsOf<W> = W extends keyof WorkflowParams
    ? WorkflowParams[W]
    : Readonly<Record<string, unknown>>;

  /** The options of a trigger, which may be left out unless the workflow has parameters that must be given, and what follows them. */
  export type OptionsFor<W, Options, More extends readonly unknown[] = []> =
    Record<never, never> extends ParamsOf<W>
      ? [options?: Options & { readonly params?: ParamsOf<W> }, ...more: More]
      : [options: Options & { readonly params: ParamsOf<W> }, ...more: More];

  /** Options of a trigger; `params` have text as it is, anything else as JSON. */
  export interface RunOptions {
    /** Idempotency key: the same event always has the same key, so that it starts one run however often it is sent. */
    readonly dedupeKey?: string;
    /** The scheduled time, ms since the epoch. */
    readonly scheduledTimeMs?: number;
    /** What to do with the trigger if the principal was away for long; by default it is delivered however late it is. */
    readonly late?: LatePolicy;
  }

  /** What to do with a trigger that could not be delivered in time. */
  export interface LatePolicy {
    /** The trigger is late when this many ms have passed since `scheduledTimeMs`, or since it was sent. */
    readonly afterMs: number;
    /** Which late triggers of a workflow to deliver: all, only the latest unless a newer one waits, or none. */
    readonly keep: "all" | "latest" | "none";
  }

  /** Where a trigger is when `runWorkflow` has resolved. */
  export interface Triggered {
    /** The run; null while the trigger is buffered on this host's disk because the principal is away, or when it was dropped as too late. */
    readonly workflow_instance_id: string | null;
    readonly dedupe_key: string;
    /** Whether it is buffered on this host's disk; it becomes a run when the principal is back. */
    readonly buffered: boolean;
    /** `paused`: its workflow is paused; whether it becomes this run when the workflow is resumed is up to the workflow's `catchup`. Absent otherwise. */
    readonly missed?: "paused";
  }

  /** Waits for events and runs workflows for them. Base class of the default export of a file that `cdktr listen` runs. */
  export abstract class EventListener {
    /** Runs have the trigger `listener:NAME`; by default the name of the class. */
    readonly name: string;
    /** The principal's API. */
    get client(): PrincipalApi;
    /** Aborts when the listener should stop. */
    get signal(): AbortSignal;
    constructor();
    /** Waits for events; resolves when there will be no more. Should return when `signal` aborts. */
    abstract startListening(): Promise<void>;
    /** Called when the listener should stop, for listeners that must close something to return from `startListening`. */
    stopListening(): Promise<void>;
    /**
     * Triggers a workflow; resolves when the trigger is safe: as a run on the principal's disk or, while the principal is
     * away, in the buffer on this host's disk, from which it is delivered in order. Blocks while that buffer is full.
     * @throws RequestRefusedError when there is no such workflow or the parameters do not fit
     * @throws TriggerNotSafeError when neither the disk nor the principal accepts it
     */
    runWorkflow<W extends WorkflowId>(
      workflowId: W,
      ...options: OptionsFor<W, RunOptions>
    ): Promise<Triggered>;
  }

  /** Options of a single request. */
  export interface RequestOptions {
    /** How long one attempt waits for its reply, ms. */
    readonly timeoutMs?: number;
    readonly attempts?: number;
    /** Aborts the request. */
    readonly signal?: AbortSignal;
  }

  // Replies of the principal.
  export type RunStatus =
    | "PENDING"
    | "RUNNING"
    | "WAITING"
    | "COMPLETED"
    | "FAILED"
    | "CRASHED"
    | "SKIPPED"
    | "CANCELLED";

  export interface Workflow {
    readonly id: string;
    readonly name: string;
    readonly description: string | null;
    readonly path: string;
    readonly cron: string | null;
    readonly timezone: string | null;
    readonly start_time: string | null;
    readonly start_time_ms: number | null;
    readonly catchup: "none" | "latest" | "all";
    readonly schedule_cursor_ms: number | null;
    readonly schedule_timezone?: string;
    readonly next_firing_ms?: number | null;
    readonly previous_firing_ms?: number | null;
    readonly params: Readonly<Record<string, unknown>>;
    readonly reads_event?: readonly string[] | null;
    readonly on?: Readonly<Record<string, unknown>>;
    readonly schedules?: readonly {
      readonly cron: string;
      readonly timezone: string | null;
      readonly start_time_ms: number | null;
      readonly catchup: string;
      readonly end_time_ms?: number | undefined;
      readonly catchup_window_ms?: number | undefined;
      readonly calendar?: string | undefined;
      readonly jitter_ms?: number | undefined;
      readonly params?: Readonly<Record<string, string>> | undefined;
    }[];
    readonly tasks: number;
    readonly paused?: Pause;
    readonly expectations?: readonly Expectation[];
    readonly dag?: Readonly<Record<string, unknown>>;
    readonly error: string | null;
    readonly trigger_problems?: readonly string[];
    readonly refused?: {
      readonly trigger: string;
      readonly timestamp_ms: number;
      readonly message: string;
    } | null;
  }

  export interface Run {
    readonly workflow_id: string;
    readonly workflow_instance_id: string;
    readonly status: RunStatus;
    readonly trigger: string;
    readonly agent_id: string | null;
    readonly agents?: number;
    readonly attempt: number;
    readonly created_at_ms: number;
    readonly start_at_ms?: number;
    readonly started_at_ms: number | null;
    readonly finished_at_ms: number | null;
    readonly duration_ms?: number | null;
    readonly tasks_total?: number;
    readonly tasks_done?: number;
    readonly allowed_failures?: number;
    readonly parent?: {
      readonly workflow_instance_id: string;
      readonly task_id: string;
    };
    readonly priority?: number;
    readonly hold?: "pause" | "group";
    readonly group?: string;
    readonly backfill_id?: string;
  }

  export interface TaskRun {
    readonly task_id: string;
    readonly task_instance_id: string;
    readonly slice: number;
    readonly attempt: number;
    readonly task_attempt: number;
    readonly status: RunStatus;
    readonly exit_code: number | null;
    readonly signal: string | null;
    readonly error: string | null;
    readonly cpu_ms: number | null;
    readonly max_rss_kb: number | null;
    readonly started_at_ms: number | null;
    readonly finished_at_ms: number | null;
    readonly duration_ms?: number | null;
    readonly agent_id: string | null;
    readonly outputs?: Readonly<Record<string, unknown>> | null;
    readonly next_attempt_ms?: number;
    readonly is_allowed?: boolean;
    readonly items?: {
      readonly total: number;
      readonly by_status: Readonly<Record<string, number>>;
    };
    readonly hook?: boolean;
    readonly child?: {
      readonly workflow_id: string;
      readonly workflow_instance_id: string;
      readonly status: RunStatus;
      readonly tasks_total: number;
      readonly tasks_done: number;
    };
  }

  export interface Item extends TaskRun {
    readonly item_key: string;
    readonly item_index: number;
  }

  export interface RunAttempt {
    readonly slice: number;
    readonly attempt: number;
    readonly agent_id: string | null;
    readonly status: RunStatus;
    readonly started_at_ms: number | null;
    readonly finished_at_ms: number | null;
    readonly error: string | null;
  }

  export interface SliceWait {
    readonly slice: number;
    readonly tasks: readonly string[];
    readonly kind: "no agent" | "draining" | "labels" | "version" | "full" | "ready";
    readonly reason: string;
    readonly hint: string | null;
    readonly since_ms: number;
  }

  export interface RunDetails extends Run {
    readonly workflow_name: string;
    readonly scheduled_time_ms: number | null;
    readonly params: Readonly<Record<string, string>>;
    readonly error: string | null;
    readonly retry_of: string | null;
    readonly actor?: string;
    readonly outputs?: Readonly<Record<string, unknown>>;
    readonly attempts: readonly RunAttempt[];
    readonly tasks: readonly TaskRun[];
    readonly waits?: readonly SliceWait[];
    readonly waiting_slices?: number;
    readonly pool_waits?: readonly {
      readonly slice: number;
      readonly tasks: readonly string[];
      readonly kind: string;
      readonly reason: string;
      readonly hint: string | null;
      readonly since_ms: number;
    }[];
    readonly pool_waiting_slices?: number;
    readonly holds?: readonly {
      readonly kind: "pause" | "group";
      readonly reason: string;
      readonly hint: string | null;
      readonly since_ms: number;
    }[];
    readonly expectations?: readonly Expectation[];
    readonly approvals?: readonly Approval[];
    readonly outputs_left_out?: boolean;
    readonly definition: Readonly<Record<string, unknown>> | null;
  }

  export interface Approval {
    readonly workflow_id: string;
    readonly workflow_instance_id: string;
    readonly task_id: string;
    readonly item_key?: string;
    readonly task_instance_id: string;
    readonly message: string;
    readonly form: Readonly<Record<string, unknown>>;
    readonly since_ms: number;
    readonly due_ms: number | null;
    readonly on_timeout: "reject" | "approve";
    readonly roles?: readonly string[];
    readonly four_eyes: boolean;
    readonly triggered_by: string | null;
    readonly refusal?: string;
  }

  export interface Artifacts {
    readonly task_id: string;
    readonly item_key: string | null;
    readonly task_instance_id: string;
    readonly hash: string;
    readonly bytes: number;
    readonly files: readonly {
      readonly path: string;
      readonly bytes: number;
      readonly offset: number;
    }[];
  }

  export interface Agent {
    readonly agent_id: string;
    readonly last_ping_timestamp: number;
    readonly running_tasks: number;
    readonly host: string;
    readonly status: "UP" | "DRAINING" | "LOST";
    readonly running_workflows: number;
    readonly max_concurrent_workflows: number;
    readonly last_heartbeat_ms: number;
    readonly silent_ms?: number;
    readonly labels: Readonly<Record<string, string>>;
    readonly version: string;
    readonly protocol?: number;
    readonly survivors?: readonly Survivor[];
    readonly run_ids?: readonly string[];
    readonly clock_ahead_ms?: number;
  }

  export interface Survivor {
    readonly pid: number;
    readonly name: string;
    readonly user: string;
    readonly reason: string;
  }

  export interface Expectation {
    readonly rule: string;
    readonly state: "open" | "held" | "late" | "missed";
    readonly due_ms: number | null;
    readonly workflow_instance_id?: string;
  }

  export interface Pause {
    readonly at_ms: number;
    readonly by: string | null;
    readonly reason: string | null;
    readonly until_ms: number | null;
    readonly auto: boolean;
  }

  export interface WorkflowPaused {
    readonly workflow_id: string;
    readonly paused: Pause;
    readonly was_paused: boolean;
    readonly held_runs: number;
    readonly begun_runs: number;
  }

  export interface WorkflowResumed {
    readonly workflow_id: string;
    readonly was_paused: boolean;
    readonly held_runs: number;
    readonly event_runs: number;
    readonly firings?: {
      readonly missed: number;
      readonly run: number;
      readonly catchup?: "none" | "latest" | "all" | undefined;
    };
  }

  export interface Pool {
    readonly name: string;
    readonly size: number | null;
    readonly source: "command" | "file" | null;
    readonly file_size: number | null;
    readonly used: number;
    readonly waiting: number;
    readonly holders: readonly {
      readonly workflow_id: string;
      readonly workflow_instance_id: string;
      readonly task_id: string;
      readonly slots: number;
      readonly agent_id: string;
      readonly since_ms: number;
    }[];
    readonly changed_by: string | null;
  }

  export interface Queue {
    readonly entries: readonly {
      readonly workflow_id: string;
      readonly workflow_instance_id: string;
      readonly slice: number;
      readonly tasks: readonly string[];
      readonly priority: number;
      readonly since_ms: number;
      readonly kind: string;
      readonly reason: string;
      readonly hint: string | null;
    }[];
    readonly queued: number;
    readonly held: readonly {
      readonly workflow_id: string;
      readonly workflow_instance_id: string;
      readonly kind: "pause" | "group";
      readonly group?: string | undefined;
      readonly priority: number;
      readonly since_ms: number;
      readonly reason: string;
      readonly hint: string | null;
    }[];
  }

  export interface BackfillPlan {
    readonly workflow_id: string;
    readonly total?: number;
    readonly firings: readonly {
      readonly scheduled_time_ms: number;
      readonly entry: string;
      readonly timezone: string;
      readonly params?: Readonly<Record<string, string>> | undefined;
      readonly present?:
        | {
            readonly workflow_instance_id: string;
            readonly status?: RunStatus | undefined;
          }
        | undefined;
    }[];
    readonly next: {
      readonly scheduled_time_ms: number;
      readonly entry: string;
    } | null;
  }

  export interface Backfill {
    readonly backfill_id: string;
    readonly workflow_id: string;
    readonly state: "ACTIVE" | "PAUSED" | "CANCELLED" | "DONE";
    readonly from: string;
    readonly to: string;
    readonly reverse: boolean;
    readonly reprocess: "none" | "failed" | "all";
    readonly max_active: number;
    readonly priority: number | null;
    readonly params: Readonly<Record<string, string>>;
    readonly actor: string | null;
    readonly created_at_ms: number;
    readonly finished_at_ms: number | null;
    readonly total: number;
    readonly present: number;
    readonly active: number;
    readonly by_status: Readonly<Record<string, number>>;
    readonly note: string | null;
    readonly median_ms: number | null;
    readonly at_once: number;
    readonly interval_ms: number | null;
    readonly left_ms: number | null;
  }

  export interface Forecast {
    readonly now_ms: number;
    readonly from_ms: number;
    readonly to_ms: number;
    readonly firings: readonly {
      readonly at_ms: number;
      readonly workflow_id: string;
      readonly cron: string;
      readonly timezone: string;
      readonly outcome:
        | "runs"
        | "cancels"
        | "cancelled"
        | "skipped"
        | "paused"
        | "dropped"
        | "waits"
        | "refused";
      readonly starts_ms: number | null;
      readonly ends_ms: number | null;
      readonly expected_ms: number | null;
      readonly p90_ms: number | null;
      readonly known_runs: number;
      readonly waits: readonly {
        readonly kind: "group" | "pool" | "agents" | "pause" | "jitter";
        readonly name: string | null;
        readonly for_ms: number;
      }[];
      readonly overlaps: readonly {
        readonly workflow_instance_id: string | null;
        readonly at_ms: number;
        readonly until_ms: number | null;
      }[];
      readonly dst: "skipped hour" | "repeated hour" | null;
      readonly note: string | null;
    }[];
    readonly left_out: number;
    readonly workflows: readonly {
      readonly workflow_id: string;
      readonly firings: number;
      readonly expected_ms: number | null;
      readonly is_paused: boolean;
      readonly starts: readonly number[];
      readonly running: readonly number[];
    }[];
    readonly load: {
      readonly bucket_ms: number;
      readonly runs: readonly number[];
      readonly places: readonly number[];
      readonly room: number;
      readonly pools: Readonly<
        Record<
          string,
          {
            readonly size: number;
            readonly used: readonly number[];
          }
        >
      >;
    };
    readonly peaks: {
      readonly runs: {
        readonly most: number;
        readonly at_ms: number;
      } | null;
      readonly places: {
        readonly most: number;
        readonly at_ms: number;
      } | null;
      readonly pools: Readonly<
        Record<
          string,
          {
            readonly most: number;
            readonly at_ms: number;
          }
        >
      >;
    };
    readonly truncated_at_ms: number | null;
    readonly warning: string | null;
  }

  export interface Alert {
    readonly alert_id: string;
    readonly kind: string;
    readonly key: string;
    readonly workflow_id: string | null;
    readonly workflow_instance_id: string | null;
    readonly subject: string;
    readonly raised_at_ms: number;
    readonly resolved_at_ms: number | null;
    readonly deliveries: readonly {
      readonly channel: string;
      readonly about: string;
      readonly state: string;
      readonly attempts: number;
      readonly due_ms: number | null;
      readonly message_id: string | null;
      readonly error: string | null;
      readonly changed_at_ms: number;
    }[];
  }

  export interface AlertQuery {
    readonly file: string;
    readonly name: string;
    readonly severity: string;
    readonly to: readonly string[];
    readonly every_ms: number;
    readonly evaluated_at_ms: number | null;
    readonly next_ms: number | null;
    readonly rows: number;
    readonly raised: number;
    readonly pending: number;
    readonly error: string | null;
    readonly problem: string | null;
  }

  export interface AuditEntry {
    readonly timestamp_ms: number;
    readonly actor: string | null;
    readonly role: string | null;
    readonly action: string;
    readonly subject: string | null;
    readonly detail: string | null;
    readonly outcome: string;
    readonly source: string | null;
  }
  // End of the replies of the principal.

  /** A line that a task printed; the columns of `logstore`. */
  export interface LogLine {
    readonly workflow_id: string;
    readonly workflow_name: string;
    readonly workflow_instance_id: string;
    readonly task_name: string;
    readonly task_instance_id: string;
    readonly timestamp_ms: number;
    readonly level: "DEBUG" | "INFO" | "WARN" | "ERROR";
    readonly payload: string;
  }

  /** Requests that every client can make. */
  export interface PrincipalApi {
    /** @throws PrincipalUnreachableError when the principal does not answer */
    ping(options?: RequestOptions): Promise<void>;
    /** All workflows by id. */
    listWorkflows(options?: RequestOptions): Promise<Record<string, Workflow>>;
    /** Newest first. */
    listRuns(
      filter: { limit?: number; workflow_id?: string; status?: RunStatus },
      options?: RequestOptions,
    ): Promise<Run[]>;
    /** With `outputs`, the tasks have what they published, unless that has more than 8 MiB together. */
    getRun(runId: string, options?: RequestOptions & { readonly outputs?: boolean }): Promise<RunDetails>;
    cancelRun(runId: string, options?: RequestOptions): Promise<RunDetails>;
    /** Lines of the history, as text; omitted options do not filter. */
    queryLogs(
      filter: { endMs?: number; startMs?: number; workflowId?: string; runId?: string; verbose?: boolean },
      options?: RequestOptions,
    ): Promise<string[]>;
    registeredAgents(options?: RequestOptions): Promise<Agent[]>;
  }

  /** The principal's public key and the key pair of this client, each as 40 characters of Z85 text. */
  export interface CurveClientKeys {
    readonly serverKey: string;
    readonly publicKey: string;
    readonly secretKey: string;
  }

  /** Where the principal is; omitted options come from the settings: `CDKTR_PRINCIPALS`, `CDKTR_PRINCIPAL_HOST` and so on. */
  export interface ClientOptions {
    readonly host: string;
    readonly port: number;
    /** Instead of both, where the principals of an installation with several are, `HOST:PORT` each: another is used when one does not answer. */
    readonly principals?: readonly string[];
    /** How long one attempt waits for its reply, ms. */
    readonly timeoutMs: number;
    readonly attempts?: number;
    readonly curve?: CurveClientKeys;
  }

  /** Options of a trigger of a client; `params` have text as it is, anything else as JSON. */
  export interface TriggerOptions {
    readonly dedupeKey?: string;
    readonly trigger?: string;
    /** When the run starts, ms since the epoch; it is stored now, and can be cancelled until then. */
    readonly startAt?: Date | number;
    /** The same as a time from now, ms. */
    readonly startInMs?: number;
    /** From 0 to 9, which goes first; by default that of the workflow. */
    readonly priority?: number;
  }

  /** Options of a pause. */
  export interface PauseOptions extends RequestOptions {
    readonly reason?: string;
    /** When the workflow goes on by itself, ms since the epoch if it is a number; never by default. */
    readonly until?: Date | number;
    /** The same as a time from now, ms. */
    readonly forMs?: number;
  }

  /** Which firings a backfill is about. */
  export interface BackfillScope {
    /** A day, `2026-01-31`, which is all of it in the zone of the schedule, or a time; both ends are inclusive. */
    readonly from: string | Date;
    /** Now by default. */
    readonly to?: string | Date;
    /** The newest firing first. */
    readonly reverse?: boolean;
    /** Firings that have had a run already: none of them, those that failed, or all. */
    readonly reprocess?: "none" | "failed" | "all";
    /** Text is passed as it is, anything else as JSON. */
    readonly params?: Readonly<Record<string, unknown>>;
  }

  /** Options of a backfill. */
  export interface BackfillOptions extends BackfillScope {
    /** How many of its runs are under way at once; 3 by default. */
    readonly maxActive?: number;
    readonly priority?: number;
    readonly dedupeKey?: string;
  }

  /** The span of a forecast: by default the next 24 hours. */
  export interface ForecastOptions extends RequestOptions {
    readonly from?: Date | number;
    readonly to?: Date | number;
    /** Only firings of these. */
    readonly workflowIds?: readonly string[];
    /** At most this many firings. */
    readonly limit?: number;
  }

  /** Options of a retry: by default the failed tasks run again, and what depends on them. */
  export interface RetryOptions extends RequestOptions {
    readonly fromStart?: boolean;
    /** Instead of the failed tasks: these tasks and items, `load` or `load[KEY]`, and what depends on them. */
    readonly tasks?: readonly string[];
    /** With the workflow as it is now, instead of as it was. */
    readonly currentDefinition?: boolean;
    /** Other parameters; text is passed as it is, anything else as JSON. */
    readonly params?: Readonly<Record<string, unknown>>;
    readonly dedupeKey?: string;
  }

  /** The new run, and what whoever asked for it should know. */
  export interface Retried {
    readonly workflow_instance_id: string;
    readonly notes?: readonly string[];
  }

  /** An answer to what waits for a person. */
  export interface Answer extends RequestOptions {
    /** May be left out if only one task of the run waits for a person. */
    readonly taskId?: string;
    /** Of an item of a fan-out; `taskId` is needed then. */
    readonly itemKey?: string;
    /** Kept with the answer. */
    readonly note?: string;
    readonly dedupeKey?: string;
  }

  /** What has become of a task that waited for a person: COMPLETED, or FAILED if it was rejected. */
  export interface Answered {
    readonly workflow_id: string;
    readonly workflow_instance_id: string;
    readonly task_id: string;
    readonly item_key?: string;
    readonly status: "COMPLETED" | "FAILED";
  }

  /** What a run has published. */
  export interface Outputs {
    /** Those of the workflow, once it has COMPLETED. */
    readonly run: Readonly<Record<string, unknown>>;
    /** Those of the tasks that have published something. */
    readonly tasks: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  }

  /** A client of a principal. It connects on the first request and reconnects by itself. */
  export interface Principal extends PrincipalApi {}
  export class Principal {
    constructor(options?: Partial<ClientOptions>);
    /** Triggers a workflow; resolves when the run is on the principal's disk. */
    runWorkflow<W extends WorkflowId>(
      workflowId: W,
      ...options: OptionsFor<W, TriggerOptions, [request?: RequestOptions]>
    ): Promise<{ workflow_instance_id: string }>;
    /** What a run and its tasks published so far. */
    outputs(runId: string, request?: RequestOptions): Promise<Outputs>;
    /** The items of a fan-out in order, read page by page while they are iterated over. */
    items(
      runId: string,
      taskId: string,
      options?: RequestOptions & {
        readonly status?: RunStatus;
        /** With what the items published. */
        readonly outputs?: boolean;
      },
    ): AsyncGenerator<Item>;
    /** The tasks that wait for a person, the oldest first: of a run, of a workflow, or all. */
    approvals(
      filter?: { readonly runId?: string; readonly workflowId?: string },
      request?: RequestOptions,
    ): Promise<Approval[]>;
    /** Alerts with who is told of them, the newest first: by default those that are open. */
    alerts(
      filter?: {
        /** Those that are open, those of which a message was given up, or all. */
        readonly which?: "open" | "dead" | "all";
        readonly kind?: string;
        readonly workflowId?: string;
        readonly limit?: number;
      },
      request?: RequestOptions,
    ): Promise<Alert[]>;
    /** The alert files in use, and how their queries do. */
    alertQueries(request?: RequestOptions): Promise<AlertQuery[]>;
    /** Who did what: the newest rows that match, the oldest of them first. In texts, `*` stands for anything. */
    audit(
      filter?: {
        /** `Date`, or ms since the epoch. */
        readonly since?: Date | number;
        readonly until?: Date | number;
        readonly actor?: string;
        readonly action?: string;
        readonly subject?: string;
        readonly limit?: number;
      },
      request?: RequestOptions,
    ): Promise<AuditEntry[]>;
    /** Approves a task that waits for a person; the values of its form become its outputs. */
    approve(
      runId: string,
      answer?: Answer & { readonly params?: Readonly<Record<string, unknown>> },
    ): Promise<Answered>;
    /** Rejects a task that waits for a person: it becomes FAILED. */
    reject(runId: string, answer?: Answer): Promise<Answered>;
    /** The files that the tasks of a run left. */
    artifacts(runId: string, request?: RequestOptions): Promise<Artifacts[]>;
    /**
     * Writes the files that the tasks of a run left to `directory/TASK`, those of items to `directory/TASK/KEY`; never over a file that
     * exists. Resolves with their paths.
     */
    downloadArtifacts(
      runId: string,
      directory: string,
      options?: RequestOptions & { readonly taskId?: string },
    ): Promise<string[]>;
    /** A new run from the failed tasks of one that is over, from chosen ones, or from the beginning. */
    retry(runId: string, options?: RetryOptions): Promise<Retried>;
    /** Pauses a workflow: its schedules and events make no runs, and runs that are asked for are held. */
    pause(workflowId: string, options?: PauseOptions): Promise<WorkflowPaused>;
    /** Lets a workflow go on; what it has missed follows its `catchup`. */
    resume(workflowId: string, request?: RequestOptions): Promise<WorkflowResumed>;
    /** The pools: their sizes, how many slots are taken and by whom, and how much waits for them. */
    pools(request?: RequestOptions): Promise<Pool[]>;
    /** Sets the size of a pool; null: what `_cdktr.yml` says counts again. */
    setPool(
      name: string,
      size: number | null,
      request?: RequestOptions,
    ): Promise<{ readonly size: number | null; readonly used: number }>;
    /** What waits for agents, in order, and the runs that are held, each with the reason. */
    queue(limit: number, request?: RequestOptions): Promise<Queue>;
    /** Gives a run that is not over another priority, from 0 to 9, which goes first. */
    setPriority(runId: string, priority: number, request?: RequestOptions): Promise<RunDetails>;
    /** What `backfill` would do now, firing by firing, read page by page while it is iterated over. */
    planBackfill(
      workflowId: string,
      scope: BackfillScope,
      request?: RequestOptions,
    ): AsyncGenerator<BackfillPlan["firings"][number]>;
    /** Runs the firings of a workflow's schedules in a stretch of time. */
    backfill(workflowId: string, options: BackfillOptions, request?: RequestOptions): Promise<Backfill>;
    /** Backfills, newest first, with their progress. */
    backfills(
      filter?: { readonly workflowId?: string; readonly open?: boolean },
      request?: RequestOptions,
    ): Promise<Backfill[]>;
    /** A backfill with its progress. */
    getBackfill(backfillId: string, request?: RequestOptions): Promise<Backfill>;
    /** Pauses a backfill, lets it go on, or ends it and cancels its runs that are not over. */
    changeBackfill(
      backfillId: string,
      to: "ACTIVE" | "PAUSED" | "CANCELLED",
      request?: RequestOptions,
    ): Promise<Backfill>;
    /** What the schedules will do. */
    forecast(options?: ForecastOptions): Promise<Forecast>;
    /** Resolves with the run when it is over. */
    wait(runId: string, request?: RequestOptions): Promise<RunDetails>;
    /** Live lines of one workflow or of all, as an async iterable. When this resolves, the subscription is active: no later line is missed. */
    tailLogs(workflowId?: string, options?: { readonly signal?: AbortSignal }): Promise<LogTail>;
    /** Closes the connection; pending requests reject. */
    close(): Promise<void>;
  }

  /** The live log. It reconnects by itself; lines published while it was disconnected are only in the history. */
  export class LogTail implements AsyncIterable<LogLine> {
    private constructor();
    [Symbol.asyncIterator](): AsyncGenerator<LogLine>;
    /** Ends the iteration. */
    close(): void;
  }

  /** Base class of the errors that cdktr throws; `hint` says what to do next. */
  export class CdktrError extends Error {
    readonly hint: string | undefined;
  }
  /** The principal did not reply in time. */
  export class PrincipalUnreachableError extends CdktrError {}
  /** The principal rejected the request as wrong. */
  export class RequestRefusedError extends CdktrError {}
  /** The principal cannot process the request now. */
  export class RequestUnprocessableError extends CdktrError {}
  /** Neither the disk of this host nor the principal accepts a trigger. */
  export class TriggerNotSafeError extends CdktrError {}
  /** The principal failed to process the request. */
  export class PrincipalFailedError extends CdktrError {}
}
