/** The interface of the history for the principal's API, implemented by the historian. */
import type {
  FilePiece,
  ListRuns,
  LogPage,
  PreparedFiles,
  QueryDatabase,
  QueryResult,
  ReadFile,
  RunDetails,
  RunSummary,
  SearchLogs,
} from "../../contract/messages.ts";
import type { LogPositions } from "../agents/standing-orders.ts";

/** Reads of the history: each first writes what is pending. They throw HistoryUnavailableError while it is unavailable. */
export interface HistoryAccess extends LogPositions {
  readonly available: { readonly ok: boolean; readonly error: string | null };
  /** Whether line `seq` of a stream arrives within the time. */
  waitReceived(streamId: string, seq: number, timeoutMs: number): Promise<boolean>;
  /** There are new status rows. */
  notifyStatus(): void;
  searchLogs(search: SearchLogs): Promise<LogPage>;
  queryLogs(
    endMs: number | null,
    startMs: number | null,
    workflowId: string | null,
    workflowInstanceId: string | null,
    verbose: boolean,
  ): Promise<string[]>;
  query(query: QueryDatabase): Promise<QueryResult>;
  findRun(runId: string, outputs: boolean): Promise<Omit<RunDetails, "definition"> | null>;
  listRuns(filter: ListRuns, beforeMs: number): Promise<RunSummary[]>;
  prepareExport(): Promise<PreparedFiles>;
  prepareBackup(): Promise<PreparedFiles>;
  prepareFullBackup(): Promise<PreparedFiles>;
  readFile(piece: ReadFile): Promise<FilePiece>;
  dropFiles(transferId: string): Promise<void>;
}
