/**
 * Types of what `cdktr listen FILE.ts` gives to `import … from "cdktr"`. Written by `cdktr sdk typescript DIR`;
 * the code itself is inside the executable.
 */
declare module "cdktr" {
  /** How a run is asked for. */
  export interface RunOptions {
    readonly params?: Readonly<Record<string, string>>;
    /** The same event always has the same key: then it makes one run, however often it is asked for. */
    readonly dedupeKey?: string;
    /** The instant that a schedule meant, ms since the epoch. */
    readonly scheduledTimeMs?: number;
    /** What becomes of it when the principal was away for long; by default it is delivered however late it is. */
    readonly late?: LatePolicy;
  }

  /** What becomes of a trigger that could not be delivered in time. */
  export interface LatePolicy {
    /** Later than this it is late, ms after `scheduledTimeMs`, or after it was asked for. */
    readonly afterMs: number;
    /** Of the late triggers of a workflow all are delivered, or the latest unless a newer one waits, or none. */
    readonly keep: "all" | "latest" | "none";
  }

  /** Where a trigger is once `runWorkflow` has resolved. */
  export interface Triggered {
    /** The run; null while the trigger waits on this host's disk because the principal is away, or when it was dropped as too late. */
    readonly workflow_instance_id: string | null;
    readonly dedupe_key: string;
    /** Whether it waits on this host's disk; it becomes a run when the principal is back. */
    readonly buffered: boolean;
  }

  /** Waits for events and runs workflows for them. The default export of a file that `cdktr listen` runs. */
  export abstract class EventListener {
    /** Runs have the trigger `listener:NAME`: the class's name, if no other is given. */
    readonly name: string;
    /** The principal's API. */
    get client(): PrincipalApi;
    /** Aborts when the listener is to end. */
    get signal(): AbortSignal;
    constructor();
    /** Waits for events; resolves when there will be no more. It should end when `signal` aborts. */
    abstract startListening(): Promise<void>;
    /** Called when the listener is to end, for those that must close something to come back from `startListening`. */
    stopListening(): Promise<void>;
    /**
     * Triggers a workflow; resolves when the trigger is safe: as a run on the principal's disk or, while the principal is
     * away, in the buffer on this host's disk, from where it is delivered in order. Waits while that buffer is full.
     * @throws RequestRefusedError when there is no such workflow or the parameters do not fit
     * @throws TriggerNotSafeError when neither the disk nor the principal takes it
     */
    runWorkflow(workflowId: string, options?: RunOptions): Promise<Triggered>;
  }

  /** What may differ from request to request. */
  export interface RequestOptions {
    /** How long one attempt waits for its reply, ms. */
    readonly timeoutMs?: number;
    readonly attempts?: number;
    /** Gives the request up. */
    readonly signal?: AbortSignal;
  }

  // What principals answer.
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
    readonly params: Readonly<Record<string, unknown>>;
    readonly on?: Readonly<Record<string, unknown>>;
    readonly tasks: number;
    readonly error: string | null;
  }

  export interface Run {
    readonly workflow_id: string;
    readonly workflow_instance_id: string;
    readonly status: RunStatus;
    readonly trigger: string;
    readonly agent_id: string | null;
    readonly attempt: number;
    readonly created_at_ms: number;
    readonly started_at_ms: number | null;
    readonly finished_at_ms: number | null;
    readonly tasks_total?: number;
    readonly tasks_done?: number;
  }

  export interface TaskRun {
    readonly task_id: string;
    readonly task_instance_id: string;
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
  }

  export interface RunAttempt {
    readonly attempt: number;
    readonly agent_id: string | null;
    readonly status: RunStatus;
    readonly started_at_ms: number | null;
    readonly finished_at_ms: number | null;
    readonly error: string | null;
  }

  export interface RunDetails extends Run {
    readonly workflow_name: string;
    readonly scheduled_time_ms: number | null;
    readonly params: Readonly<Record<string, string>>;
    readonly error: string | null;
    readonly retry_of: string | null;
    readonly attempts: readonly RunAttempt[];
    readonly tasks: readonly TaskRun[];
    readonly definition: Readonly<Record<string, unknown>> | null;
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
    readonly labels: Readonly<Record<string, string>>;
    readonly version: string;
    readonly protocol?: number;
  }
  // End of what principals answer.

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
    /** @throws PrincipalUnreachableError when nobody answers */
    ping(options?: RequestOptions): Promise<void>;
    /** All workflows by id. */
    listWorkflows(options?: RequestOptions): Promise<Record<string, Workflow>>;
    /** Newest first. */
    listRuns(
      filter: { limit?: number; workflow_id?: string; status?: RunStatus },
      options?: RequestOptions,
    ): Promise<Run[]>;
    getRun(runId: string, options?: RequestOptions): Promise<RunDetails>;
    cancelRun(runId: string, options?: RequestOptions): Promise<RunDetails>;
    /** Lines of the history, as text; what is left out does not filter. */
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

  /** Where the principal is; what is left out comes from the settings: `CDKTR_PRINCIPAL_HOST` and so on. */
  export interface ClientOptions {
    readonly host: string;
    readonly port: number;
    /** How long one attempt waits for its reply, ms. */
    readonly timeoutMs: number;
    readonly attempts?: number;
    readonly curve?: CurveClientKeys;
  }

  /** A principal, seen from outside. It connects at the first request and reconnects by itself. */
  export interface Principal extends PrincipalApi {}
  export class Principal {
    constructor(options?: Partial<ClientOptions>);
    /** Triggers a workflow; resolves when the run is on the principal's disk. */
    runWorkflow(
      workflowId: string,
      options?: {
        readonly params?: Readonly<Record<string, string>>;
        readonly dedupeKey?: string;
        readonly trigger?: string;
      },
      request?: RequestOptions,
    ): Promise<{ workflow_instance_id: string }>;
    /** The run, when it is over. */
    wait(runId: string, request?: RequestOptions): Promise<RunDetails>;
    /** Lines as they are published, of one workflow or of all: an async iterable whose subscription is in force when this resolves: no later line is missed. */
    tailLogs(workflowId?: string, options?: { readonly signal?: AbortSignal }): Promise<LogTail>;
    /** Ends the connection; requests in flight reject. */
    close(): Promise<void>;
  }

  /**
   * The live log. It reconnects by itself, and then also gives the lines that were printed meanwhile.
   */
  export class LogTail implements AsyncIterable<LogLine> {
    private constructor();
    [Symbol.asyncIterator](): AsyncGenerator<LogLine>;
    /** Ends the iteration. */
    close(): void;
  }

  /** Base of the errors that cdktr throws; `hint` says what to do next. */
  export class CdktrError extends Error {
    readonly hint: string | undefined;
  }
  /** No answer came from the principal in time. */
  export class PrincipalUnreachableError extends CdktrError {}
  /** The principal said that the request was wrong. */
  export class RequestRefusedError extends CdktrError {}
  /** The principal says that it cannot do this now. */
  export class RequestUnprocessableError extends CdktrError {}
  /** Neither the disk of this host nor the principal takes a trigger. */
  export class TriggerNotSafeError extends CdktrError {}
  /** The principal failed at it. */
  export class PrincipalFailedError extends CdktrError {}
}
