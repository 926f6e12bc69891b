/** Limits of the workflow language. Each is in the manual, and in the error of whoever exceeds it. */

/** The priority of a workflow that says nothing, from 0 to 9, which goes first. */
export const DEFAULT_PRIORITY = 5;
/** The priority that goes first. */
export const HIGHEST_PRIORITY = 9;

/** The most entries of `cron` of a workflow. */
export const MAX_SCHEDULES = 50;
/** The most pools and calendars of a workflow directory. */
export const MAX_POOLS = 1000;
export const MAX_CALENDARS = 100;
/** The most channels of a workflow directory, and the most recipients of one that sends mail. */
export const MAX_CHANNELS = 100;
export const MAX_RECIPIENTS = 100;
/** The longest expression, in characters. */
export const MAX_EXPRESSION_LENGTH = 4096;
/** The most parts of an expression: names, values, operators, calls. */
export const MAX_EXPRESSION_PARTS = 500;
/** How deep an expression may be nested. */
export const MAX_EXPRESSION_DEPTH = 32;
/** The most expressions in one text. */
export const MAX_EXPRESSIONS = 64;
/** How many runs may be nested: one that a task of another has started, one that a task of that has started, and so on. */
export const MAX_RUN_DEPTH = 10;
/** The most that the files of a workflow may have together, bytes. */
export const MAX_BUNDLE_BYTES = 256 * 1024 * 1024;
/** The most runs of a concurrency group at once. */
export const MAX_RUNS_OF_GROUP = 10_000;
/** The longest name of a concurrency group, bytes. */
export const MAX_GROUP_BYTES = 256;
/** The most firings of a backfill, the most of its runs that are under way at once, and how many that are by default. */
export const MAX_BACKFILL_FIRINGS = 100_000;
export const MAX_BACKFILL_RUNS = 1000;
export const DEFAULT_BACKFILL_RUNS = 3;
/** The most backfills that are not over. */
export const MAX_OPEN_BACKFILLS = 100;
