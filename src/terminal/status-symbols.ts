/** A symbol for each status of a run or a task, one column wide. */
export const STATUS_SYMBOLS = {
  PENDING: "○",
  RUNNING: "▶",
  WAITING: "◷",
  COMPLETED: "✓",
  FAILED: "✗",
  CRASHED: "‼",
  SKIPPED: "»",
  CANCELLED: "■",
} as const;
