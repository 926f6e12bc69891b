/** The statuses of runs and tasks. Without a schema library, so that commands that only show statuses start fast. */

/** Every status, in the order of the enum `RunStatus` of the history database. */
export const RUN_STATUSES = [
  "PENDING",
  "RUNNING",
  "WAITING",
  "COMPLETED",
  "FAILED",
  "CRASHED",
  "SKIPPED",
  "CANCELLED",
] as const;
export type RunStatus = (typeof RUN_STATUSES)[number];

/** A transition table: from each status, the statuses that may follow. */
export type Transitions<S extends string> = Readonly<Record<S, readonly S[]>>;

/** Whether `to` may follow `from`. */
export function canTransition<S extends string>(table: Transitions<S>, from: S, to: S): boolean {
  return table[from].includes(to);
}

/** Whether `status` is terminal. */
export function isTerminal<S extends string>(table: Transitions<S>, status: S): boolean {
  return table[status].length === 0;
}
