/** Symbol and colour of each status; either alone is enough to tell them apart. */
import { STATUS_SYMBOLS } from "../terminal/status-symbols.ts";
import type { RunStatus } from "../workflow/status.ts";
import type { Span } from "./screen/canvas.ts";
import { BLUE, BOLD, CYAN, DIM, GREEN, MAGENTA, RED, type Style, YELLOW } from "./screen/style.ts";

interface Look {
  readonly symbol: string;
  readonly style: Style;
}

const look = (status: RunStatus, style: Style): Look => ({ symbol: STATUS_SYMBOLS[status], style });

export const STATUS_LOOK: Readonly<Record<RunStatus, Look>> = {
  PENDING: look("PENDING", BLUE),
  RUNNING: look("RUNNING", CYAN | BOLD),
  WAITING: look("WAITING", YELLOW),
  COMPLETED: look("COMPLETED", GREEN),
  FAILED: look("FAILED", RED | BOLD),
  CRASHED: look("CRASHED", MAGENTA | BOLD),
  SKIPPED: look("SKIPPED", DIM),
  CANCELLED: look("CANCELLED", YELLOW),
};

export function statusSpans(status: RunStatus): Span[] {
  const { symbol, style } = STATUS_LOOK[status];
  return [[`${symbol} ${status}`, style]];
}

export function statusSymbol(status: RunStatus): Span {
  const { symbol, style } = STATUS_LOOK[status];
  return [symbol, style];
}
