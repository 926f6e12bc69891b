import type { BackfillPlan } from "../contract/messages.ts";
import type { RequestFor } from "../contract/verbs.ts";
import { PrincipalUnreachableError } from "../errors.ts";
import { DEFAULT_BACKFILL_RUNS, MAX_BACKFILL_RUNS } from "../workflow/limits.ts";
import { boundOption, plannedLine, planSum, requireBackfills, spanText } from "./support/backfill-text.ts";
import { command, keyValues, repeated, wholeNumber } from "./support/command.ts";
import { type Connection, withPrincipal } from "./support/connect.ts";
import { plural } from "./support/format.ts";
import { jsonArg, principalArg } from "./support/globals.ts";
import { say } from "./support/report.ts";
import { printJson, printLine } from "./support/stdout.ts";

/** Safe to repeat when no reply comes, because the request carries an idempotency key. */
const CREATE_ATTEMPTS = 5;
/** Counting 100,000 firings takes some seconds. */
const COUNT_MS = 60_000;
/** Number of firings that are planned at once. */
const PAGE = 1000;

export default command({
  meta: { name: "backfill", description: "Run the firings of a schedule in a stretch of time" },
  args: {
    id: { type: "positional", required: true, description: "The workflow" },
    from: {
      type: "string",
      valueHint: "T",
      required: true,
      description: "The first day, such as 2025-01-20, or a time",
    },
    to: {
      type: "string",
      valueHint: "T",
      description: "The last day, or a time; both are included. Default: now",
    },
    "max-active": {
      type: "string",
      valueHint: "N",
      default: String(DEFAULT_BACKFILL_RUNS),
      description: "How many of its runs may be under way at once",
    },
    reverse: { type: "boolean", description: "The newest firing first" },
    reprocess: {
      type: "enum",
      valueHint: "WHICH",
      options: ["none", "failed", "all"],
      default: "none",
      description: "Which firings run again that have had a run: none, failed, all",
    },
    priority: {
      type: "string",
      valueHint: "N",
      description: "Priority of its runs, 0 to 9; by default three less than that of the workflow",
    },
    param: { type: "string", alias: "P", valueHint: "K=V", description: "A parameter of its runs" },
    "dry-run": { type: "boolean", description: "Print what it would do, and do nothing" },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    repeatable: ["param"],
    completes: { id: "workflow" },
    see: ["backfills list", "backfills show", "run"],
    topic: "backfill",
    details: `Each firing of the schedule becomes a run with its time as the scheduled time, unless it has had one: a firing never runs twice unless --reprocess says so. What is still to come is left to the schedule. Prints the id of the backfill, which goes on by itself, also after a restart of the principal: 'cdktr backfills show ID' tells how far it is, 'cdktr backfills pause', 'resume' and 'cancel' change it.

      A date is the whole day in the zone of the schedule. A time without an offset is local time.`,
    examples: [
      {
        command: "cdktr backfill etl.daily --from 2025-01-01 --to 2025-01-31 --dry-run",
        does: "what a month would do",
      },
      {
        command: "cdktr backfill etl.daily --from 2025-01-01 --to 2025-01-31",
        does: "the firings of January that have not run",
      },
      {
        command: "cdktr backfill etl.daily --from '30d ago' --reprocess failed --max-active 1",
        does: "those of the last 30 days that failed, one after the other",
      },
      {
        command: "cdktr backfill etl.daily --from 2024-01-01 --reverse -P full=true",
        does: "everything since then, the newest first, with a parameter",
      },
    ],
  },
  async run({ args, rawArgs }) {
    const max_active = wholeNumber(args["max-active"], "--max-active", { min: 1, max: MAX_BACKFILL_RUNS });
    const priority = wholeNumber(args.priority, "--priority", { min: 0, max: 9 });
    const params = keyValues(repeated(rawArgs, "param"), "-P");
    const dedupe_key = `cli-${crypto.randomUUID()}`;
    return await withPrincipal(args, async (connection) => {
      requireBackfills(connection);
      const scope = {
        workflow_id: args.id,
        from: boundOption(args.from, "--from"),
        ...(args.to === undefined ? {} : { to: boundOption(args.to, "--to") }),
        reverse: args.reverse === true,
        reprocess: args.reprocess,
        params,
      };
      if (args["dry-run"] === true) return dryRun(connection, scope, args.json === true);
      const { client } = connection;
      try {
        const { backfill } = await client.call(
          "CREATEBACKFILL",
          { ...scope, max_active, dedupe_key, ...(priority === undefined ? {} : { priority }) },
          { attempts: CREATE_ATTEMPTS, timeoutMs: COUNT_MS },
        );
        if (args.json) return printJson(backfill);
        await printLine(backfill.backfill_id);
        say(
          `${plural(backfill.total, "firing")} of ${backfill.workflow_id} from ${spanText(backfill)}, at most ${plural(backfill.max_active, "run")} at once. How far it is: cdktr backfills show ${backfill.backfill_id.slice(0, 8)}`,
        );
      } catch (error) {
        if (!(error instanceof PrincipalUnreachableError)) throw error;
        throw new PrincipalUnreachableError(
          `The principal at ${client.address} stopped answering: it is unknown whether the backfill was created.`,
          { hint: `Check 'cdktr backfills list --workflow ${args.id}' when it is back.`, cause: error },
        );
      }
    });
  },
});

/** Prints what a backfill would do. */
async function dryRun(
  { client }: Connection,
  scope: RequestFor<"PLANBACKFILL">,
  json: boolean,
): Promise<void> {
  const firings: BackfillPlan["firings"] = [];
  let total = 0;
  let present = 0;
  let next: BackfillPlan["next"] = null;
  do {
    const page: BackfillPlan = await client.call(
      "PLANBACKFILL",
      { ...scope, limit: PAGE, ...(next === null ? {} : { after: next }) },
      { timeoutMs: COUNT_MS },
    );
    next = page.next;
    total += page.firings.length;
    present += page.firings.filter((firing) => firing.present !== undefined).length;
    if (json) firings.push(...page.firings);
    else for (const firing of page.firings) await printLine(plannedLine(firing));
  } while (next !== null);
  if (json)
    return printJson({ workflow_id: scope.workflow_id, total, runs: total - present, present, firings });
  say(planSum(total, present));
}
