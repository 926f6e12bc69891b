/** How much memory of this host the history may use. The history gives DuckDB its part; the principal watches the whole from outside. */
import { totalmem } from "node:os";

const MIB = 1024 * 1024;
/** What the process of the history may take beside DuckDB's buffers: the runtime, lines that are not written yet, results. */
const BESIDE_BUFFERS = 300 * MIB;

/** Limits of the memory of the history, bytes. */
export interface HistoryMemory {
  /** DuckDB's buffers. */
  readonly database: number;
  /** Above this, statements of users end. */
  readonly queriesEnd: number;
  /** Above this, the process ends. */
  readonly processEnds: number;
}

/** The limits on a host with so much memory, bytes. */
export function historyMemory(total: number = totalmem()): HistoryMemory {
  const database = Math.min(512 * MIB, total / 4);
  return {
    database,
    queriesEnd: Math.min(1024 * MIB, total / 2),
    // Never so little that a read that fills the buffers ends it.
    processEnds: Math.max(Math.min(1536 * MIB, total * 0.6), database + BESIDE_BUFFERS),
  };
}
