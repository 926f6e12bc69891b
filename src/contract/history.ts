/**
 * What travels between the principal and the history, which is a process of its own: requests of either side with their replies, and
 * news that is not answered. All of it is JSON. Neither side imports the other; both import this table.
 *
 * Who holds which truth: the history has the lines and rows that are in DuckDB, with the positions of their sources in the same
 * transaction. The operational state of the principal has the runs, the rows that the history has yet to take, and who may deliver for
 * which agent. The principal caches positions of streams, and the history caches nothing of the principal.
 */
import { UnprocessableError } from "../errors.ts";
import type { RunStatus } from "../workflow/status.ts";
import type { HistoricStatuses, PendingStatus } from "./history-rows.ts";
import type {
  ArchiveDatabase,
  ArchiveInfo,
  ArchiveProgress,
  FilePiece,
  ItemSummary,
  ListItems,
  ListRuns,
  LogPage,
  PreparedFiles,
  QueryDatabase,
  QueryResult,
  ReadFile,
  RunDetails,
  RunSummary,
  SearchLogs,
} from "./messages.ts";
import type { TelemetryCounts, TelemetrySettings } from "./telemetry.ts";

/** The path of a history in memory. */
export const IN_MEMORY = ":memory:";

/** The name under which a history in a file is kept once it was moved into a lake. */
export const movedHistory = (path: string) => `${path}.moved`;

/** The history cannot be read or written now. Coordination continues; it is tried again without anybody's help. */
export class HistoryUnavailableError extends UnprocessableError {}

/** A request and its reply. */
interface Call<Request, Reply> {
  readonly request: Request;
  readonly reply: Reply;
}

/** A run that was removed from the operational state. */
export type HistoricRun = Omit<RunDetails, "definition">;

/** A run with a time in the schedule of its workflow, as the history knows it. */
export interface HistoricFiring {
  readonly workflow_instance_id: string;
  readonly status: RunStatus;
  readonly trigger: string;
  readonly scheduled_time_ms: number;
  readonly created_at_ms: number;
  readonly retry_of: string | null;
  /** The key of the entry of the schedule that made it; null for none, and for the only entry of a workflow that has a plain `cron`. */
  readonly schedule: string | null;
  readonly params: Readonly<Record<string, string>>;
}

/** How runs of a workflow ended last, as the history knows it. */
export interface LatestEnd {
  readonly workflow_id: string;
  /** When one last COMPLETED, ms since the epoch; null for never. */
  readonly success_ms: number | null;
  /** How long the last one took that ended, ms; null where that is not known. */
  readonly duration_ms: number | null;
}

/** The parameters of `QUERYLOGS`. */
export interface LineQuery {
  /** Lines after this time are omitted, ms since the epoch; null for no bound. */
  readonly endMs: number | null;
  /** Lines before this time are omitted, ms since the epoch; null for no bound. */
  readonly startMs: number | null;
  readonly workflowId: string | null;
  readonly workflowInstanceId: string | null;
  /** Adds workflow name, run, task name and task run to each line. */
  readonly verbose: boolean;
}

/** Which files are prepared: Parquet files, a copy of the database, or copies of the database and the state as of one moment. */
export type Preparation = "export" | "database" | "everything";

/** Where a request to the archive has got to. */
export interface ArchiveStep {
  readonly phase: "move" | "days" | "runs";
  /** The day or the workflow that was done last; empty for none. */
  readonly done: string;
}

/** Whether the history can be written and read, and if not, why. */
export interface HistoryAvailability {
  readonly ok: boolean;
  readonly error: string | null;
}

/** What was received but is not in DuckDB yet. */
export interface HeldLogs {
  readonly lines: number;
  readonly bytes: number;
  /** How long the oldest of it has waited, ms; 0 when there is none. */
  readonly lagMs: number;
}

/** Counters of the log intake since the history started. */
export interface IntakeCounts {
  /** Frames received. */
  readonly frames: number;
  /** Lines published. */
  readonly published: number;
  /** Malformed frames and lines. */
  readonly malformed: number;
  /** Unnumbered lines (from agents that do not keep them) for which there was no space. */
  readonly dropped: number;
}

/** Sizes of the history, bytes, and how many files of the archive are missing. */
export interface HistorySizes {
  readonly database: number;
  readonly archive: number;
  readonly missing: number;
}

/** What the metrics of the principal show of the history. */
export interface HistoryVitals {
  readonly sizes: HistorySizes;
  readonly held: HeldLogs;
  readonly counts: IntakeCounts;
  /** Of traces and logs that are exported; absent for none. */
  readonly telemetry?: TelemetryCounts;
}

/** What the principal asks the history. Searches, statements, exports and backups first write what is pending. */
export interface HistoryCalls {
  readonly search: Call<SearchLogs, LogPage>;
  readonly lines: Call<LineQuery, string[]>;
  readonly query: Call<QueryDatabase, QueryResult>;
  /** The query of an alert file, ended after `timeout_ms`: statements of users do not hold it up. */
  readonly evaluate: Call<QueryDatabase & { readonly timeout_ms: number }, QueryResult>;
  readonly findRun: Call<
    { readonly workflow_instance_id: string; readonly outputs: boolean },
    HistoricRun | null
  >;
  /** A page of the items of a fan-out. */
  readonly findItems: Call<ListItems, ItemSummary[]>;
  /** What task runs published, as JSON, by their ids; null if that is too much for a message. */
  readonly findOutputs: Call<readonly string[], readonly (readonly [string, string])[] | null>;
  /** The runs of a workflow with one of these times in its schedule. */
  readonly findFirings: Call<
    { readonly workflow_id: string; readonly times_ms: readonly number[] },
    readonly HistoricFiring[]
  >;
  /** How runs of these workflows ended last, by id; those without an end are left out. */
  readonly latestEnds: Call<readonly string[], readonly LatestEnd[]>;
  readonly listRuns: Call<{ readonly filter: ListRuns; readonly before_ms?: number }, RunSummary[]>;
  /** @see PrepareFiles for the id */
  readonly prepare: Call<
    { readonly what: Preparation; readonly transfer_id?: string; readonly without_archive?: boolean },
    PreparedFiles
  >;
  readonly archive: Call<ArchiveDatabase, ArchiveProgress>;
  readonly archiveInfo: Call<null, ArchiveInfo>;
  readonly readFile: Call<ReadFile, FilePiece>;
  /** Also ends the preparation of files that are not complete. */
  readonly dropFiles: Call<string, null>;
  /** Answered when everything received before is in DuckDB. */
  readonly flush: Call<null, null>;
  /** The positions of a stream, once DuckDB could be asked; later changes are told. */
  readonly locate: Call<string, StreamPositions>;
  /** Whether line `seq` of a stream arrives within the time. */
  readonly awaitLine: Call<
    { readonly stream_id: string; readonly seq: number; readonly timeout_ms: number },
    boolean
  >;
  /** Whether the publisher knows a subscription to this probe. */
  readonly isSubscribed: Call<string, boolean>;
  readonly vitals: Call<null, HistoryVitals>;
  /** Answered at once: whoever does not answer hangs. */
  readonly ping: Call<null, null>;
  /** Answered when everything is written and closed. */
  readonly stop: Call<null, null>;
}

/** What the principal tells the history. */
export interface PrincipalNews {
  /** There are new status rows. */
  readonly statusesWritten: null;
  /**
   * The principal wants to know the positions of a stream from now on; its agent cannot send lines before `first_seq` any more. A former
   * history has published the lines up to `published_seq`: they are not published again.
   */
  readonly streamHeld: {
    readonly stream_id: string;
    readonly first_seq: number;
    readonly published_seq?: number;
  };
  /** `offset_ms` must be added to the times of this agent; 0 when they are right. */
  readonly clockCompared: { readonly agent_id: string; readonly offset_ms: number };
  /** What is committed later is not part of the copy of the state in this file. */
  readonly stateFixed: string;
  /** The process takes too much memory: statements of users end now. */
  readonly endQueries: { readonly why: string };
}

/** Positions of a stream: its last line received, and its last line in DuckDB. */
export type StreamPositions = readonly [stream_id: string, received: number, durable: number];

/** What the history tells the principal. */
export interface HistoryNews {
  /** Its two ports are bound. */
  readonly bound: { readonly listening: number; readonly publishing: number };
  /** A port cannot be bound, or keys cannot be read: it ends. */
  readonly failed: ErrorText;
  readonly available: HistoryAvailability;
  /** Positions that have changed, of streams that the principal wants to know. */
  readonly positions: readonly StreamPositions[];
  /** A write was attempted. */
  readonly flushed: { readonly took_ms: number; readonly ok: boolean };
  /** A line for the principal's log. */
  readonly logged: { readonly type: LogType; readonly tag: string; readonly text: string };
}

export type LogType = "error" | "warn" | "info" | "success" | "debug";

/** The identity of a state. */
export interface StateIdentity {
  /** Random. The history has it too, so that a new state with an old history belongs to the same installation. */
  readonly installation_id: string;
  /** Random. Positions of the history in the status rows refer to it. */
  readonly state_id: string;
  /**
   * The history has the rows up to this id, if it has no position for this state. Null: an older cdktr created the state, and the only
   * position in the history belongs to it.
   */
  readonly taken_id: number | null;
  /** The last id that was assigned to a status row before the state was opened. */
  readonly last_id: number;
  /** Whether it was created when it was opened. */
  readonly is_new: boolean;
  /** The boot of the host in which it was opened last, if the host was restarted since, or another one has it now; null otherwise. */
  readonly former_boot_id: string | null;
}

/** The stored part of the identity. */
export type NewIdentity = Pick<StateIdentity, "installation_id" | "state_id" | "taken_id">;

/** What the history has of a run; task runs as pairs of id and status. */
export interface ComparedRun extends Omit<HistoricStatuses, "tasks"> {
  readonly tasks: readonly (readonly [string, { readonly attempt: number; readonly status: string }])[];
}

/** Runs that the state does not have, and runs that it has otherwise. */
export interface Differences {
  readonly unknown: readonly string[];
  readonly changed: readonly string[];
}

/** Lines that a key delivers. */
export interface Delivery {
  /** The public key of the connection. */
  readonly public_key: string;
  /** The agent and the stream that the batch names; null for lines without a number, which name neither. */
  readonly batch: { readonly agent_id: string; readonly stream_id: string } | null;
  /** The runs that its lines name. */
  readonly runs: readonly string[];
}

/** Whether lines are accepted. */
export interface DeliveryVerdict {
  /** Why none of them is; null when they are. */
  readonly refusal: string | null;
  /** Runs whose lines are not accepted. */
  readonly foreign: readonly string[];
}

/** What the history asks the principal, whose state only the principal opens. */
export interface PrincipalCalls {
  readonly identity: Call<null, StateIdentity>;
  /** The state gets another identity; the installation keeps its id once agents know it. */
  readonly changeIdentity: Call<NewIdentity, null>;
  /** Writes a copy of the state as of one moment to a file that does not exist; `stateFixed` tells the moment. */
  readonly copyState: Call<string, null>;
  readonly takeStatuses: Call<{ readonly after_id: number; readonly limit: number }, PendingStatus[]>;
  readonly ackStatuses: Call<number, null>;
  readonly runsChangedAfter: Call<number, string[]>;
  readonly compare: Call<
    { readonly runs: readonly ComparedRun[]; readonly taken_id: number; readonly repeat: boolean },
    Differences
  >;
  readonly mayDeliver: Call<Delivery, DeliveryVerdict>;
  /** What workflows keep of their history, of those that say so. */
  readonly retentions: Call<null, readonly KeptRuns[]>;
  /** These runs are about to be deleted from the history. */
  readonly forgetRuns: Call<readonly string[], null>;
}

/** What a workflow keeps of its history. */
export interface KeptRuns {
  readonly workflow_id: string;
  /** Runs that ended before so many days are deleted; null: no run for its age. */
  readonly days: number | null;
  /** Only so many runs are kept, the newest; null: any number. */
  readonly runs: number | null;
}

/** An error on its way to the other side. */
export interface ErrorText {
  /** Name of its class. */
  readonly kind: string;
  readonly message: string;
  readonly hint?: string;
}

/** Who may connect to the ports of the history: known keys, processes of the principal's user and root, or everyone. */
type DoorPolicy = "keys" | "own user" | "everyone";

/** Where the tables of a lake are listed: a PostgreSQL database. */
export interface LakeCatalog {
  /** Host and port; several as libpq has them, separated by commas: the one that takes changes is used. */
  readonly host: string;
  readonly port: string;
  readonly database: string;
  readonly user: string;
  readonly password?: string;
  /** The schema of DuckLake's own tables. */
  readonly schema: string;
  /** Further parameters of libpq, such as `sslmode`. */
  readonly parameters?: Readonly<Record<string, string>>;
}

/** The bucket of a lake. */
export interface LakeBucket {
  /** `host[:port]` */
  readonly endpoint: string;
  readonly region: string;
  readonly key_id: string;
  readonly secret: string;
  /** Whether the bucket is part of the path, and not of the host's name. */
  readonly is_path_style: boolean;
  readonly uses_tls: boolean;
}

/** A history that several principals share: a DuckLake. */
export interface LakeSettings {
  readonly catalog: LakeCatalog;
  /** Where its files are: an absolute directory, or `s3://BUCKET[/PREFIX]`. */
  readonly data: string;
  /** Of an S3 bucket. */
  readonly bucket?: LakeBucket;
  /**
   * The epoch of the term of the leader whose history this is: of several, the one with the highest writes. Null: the principal is
   * alone, and this history takes over from whoever wrote last.
   */
  readonly epoch: number | null;
  /** How often small files become larger ones, ms. */
  readonly compact_every_ms: number;
  /** How long former states are kept; null for ever. */
  readonly keep_snapshots_days: number | null;
}

/** What a history is started with. */
export interface HistorySettings {
  /** The DuckDB file, or `:memory:`. Not used if there is a lake. */
  readonly db_path: string;
  readonly lake?: LakeSettings;
  /** cdktr's own directory, for prepared files and DuckDB's temporary ones. */
  readonly data_directory: string;
  readonly flush_interval_ms: number;
  /** Days that are kept in the database, and in the archive; null for all. */
  readonly history_keep_days: number | null;
  readonly archive_keep_days: number | null;
  /** Address of the two ports. */
  readonly host: string;
  /** Port on which agents deliver; 0 for any free one. */
  readonly listening_port: number;
  /** Port on which lines are published; 0 for any free one. */
  readonly publishing_port: number;
  readonly doors: DoorPolicy;
  /** Whether a new state may still take over the id of the installation from the history. */
  readonly may_adopt: boolean;
  /** Where traces and logs are exported to; absent for nowhere. */
  readonly telemetry?: TelemetrySettings;
  /** Lines for the principal's log up to this level of consola are told. */
  readonly log_level: number;
}

/** What messages call a history: the path of its file, or the address of its lake without secrets. */
export function nameOfHistory({
  db_path,
  lake,
}: {
  readonly db_path: string;
  readonly lake?: Pick<LakeSettings, "catalog"> | undefined;
}): string {
  return lake === undefined ? db_path : nameOfLake(lake);
}

/** What messages call a lake. */
export function nameOfLake({
  catalog: { host, port, database, schema },
}: Pick<LakeSettings, "catalog">): string {
  const ports = port.split(",");
  const hosts = host.split(",").map((name, n) => `${name}:${ports[n] ?? ports[0]}`);
  return `ducklake:postgres://${hosts.join(",")}/${database}?schema=${schema}`;
}

/** The first line that the process of a history reads. */
export interface HistoryStart {
  readonly settings: HistorySettings;
  /** Where to connect, and the name by which the principal knows it there. */
  readonly endpoint: string;
  readonly id: string;
  readonly parent_pid: number;
}

/** A history that was started. */
export interface HistoryPeer {
  /** Its process, if it has one of its own. */
  readonly pid: number | undefined;
  /** Sends it a text, or keeps it until it is connected; throws when it is gone. */
  send(text: string): void;
  /** It has said that it is done: resolves when it has ended. */
  end(): Promise<void>;
  /** Ends it at once, whatever it does. */
  kill(): void;
}

/** Starts histories, one at a time. */
export interface HistoryHost {
  /** Before the first start. @throws CdktrError when there is no way to speak to a history */
  open(): Promise<void>;
  /**
   * Starts a history.
   * @param heard called with each of its texts
   * @param ended called once when it is gone, with how it ended; not before this function has returned
   * @throws when it cannot be started now
   */
  start(settings: HistorySettings, heard: (text: string) => void, ended: (how: string) => void): HistoryPeer;
  /** After the last one has ended. */
  close(): void;
}
