/** The interface of the history for the principal's services. */
import type {
  HistoricFiring,
  HistoricRun,
  HistoryAvailability,
  LineQuery,
  Preparation,
} from "../../contract/history.ts";
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
  RunSummary,
  SearchLogs,
} from "../../contract/messages.ts";
import type { LogPositions } from "../agents/standing-orders.ts";

/**
 * Reads of the history. Searches, statements, exports and backups first write what is pending. All throw HistoryUnavailableError while
 * the history cannot be read, or does not answer.
 */
export interface HistoryAccess extends LogPositions {
  readonly available: HistoryAvailability;
  /** Whether line `seq` of a stream arrives within the time; false also when that is not known. */
  waitReceived(streamId: string, seq: number, timeoutMs: number): Promise<boolean>;
  searchLogs(search: SearchLogs): Promise<LogPage>;
  queryLogs(query: LineQuery): Promise<string[]>;
  query(query: QueryDatabase): Promise<QueryResult>;
  /** {@link query} for an alert file: statements of users do not hold it up. */
  evaluate(query: QueryDatabase, timeoutMs: number): Promise<QueryResult>;
  findRun(runId: string, outputs: boolean): Promise<HistoricRun | null>;
  /** A page of the items of a fan-out. */
  findItems(list: ListItems): Promise<ItemSummary[]>;
  /** What task runs published, as JSON, by their ids; null if that is too much for a message. */
  findOutputs(taskInstanceIds: readonly string[]): Promise<ReadonlyMap<string, string> | null>;
  /** The runs of a workflow with one of these times in its schedule. */
  findFirings(workflowId: string, timesMs: readonly number[]): Promise<readonly HistoricFiring[]>;
  /** Answers at once when the history is not there: lists of runs do not wait for it. */
  listRuns(filter: ListRuns, beforeMs?: number): Promise<RunSummary[]>;
  prepare(what: Preparation, transferId?: string, withoutArchive?: boolean): Promise<PreparedFiles>;
  /** A step of moving old days into the archive, and of deleting what is kept no longer. */
  archive(request: ArchiveDatabase): Promise<ArchiveProgress>;
  /** Sizes of the history, and how the archive is. */
  archiveInfo(): Promise<ArchiveInfo>;
  readFile(piece: ReadFile): Promise<FilePiece>;
  dropFiles(transferId: string): Promise<void>;
  /** Whether a subscription to the live log has reached its publisher; false also when that is not known. */
  isSubscribed(probe: string): Promise<boolean>;
}
