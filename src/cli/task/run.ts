import { existsSync } from "node:fs";
import { LONGEST_WAIT_MS, type PrincipalInfo } from "../../contract/messages.ts";
import { cleanTraceparent } from "../../contract/trace-context.ts";
import { LANGUAGE_SINCE, LIMITS_SINCE } from "../../contract/version.ts";
import {
  type CdktrError,
  NotFoundError,
  PrincipalUnreachableError,
  UnprocessableError,
  UsageError,
} from "../../errors.ts";
import { type PrincipalClient, RequestRefusedError } from "../../protocol/client.ts";
import { HIGHEST_PRIORITY } from "../../workflow/limits.ts";
import { command, keyValues, repeated, wholeNumber } from "../support/command.ts";
import { principalNow, withPrincipal } from "../support/connect.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { comingOption, spanOption } from "../support/time.ts";
import { followArgs, followExit, watchRun } from "../support/watch-run.ts";
import type { runFile as RunFile } from "./run-file.ts";

/** Safe to repeat when no reply comes, because a trigger carries an idempotency key. */
const TRIGGER_ATTEMPTS = 5;

export default command({
  meta: { name: "run", description: "Trigger a workflow" },
  args: {
    id: {
      type: "positional",
      required: true,
      description: "The workflow: etl.daily is the file etl/daily.yml; or a file, to run it here",
    },
    param: { type: "string", alias: "P", valueHint: "K=V", description: "A parameter of the workflow" },
    at: {
      type: "string",
      valueHint: "TIME",
      description: "Start then: 02:00, 'tomorrow 02:00', '2025-01-20 02:00' (local time), or RFC 3339",
    },
    in: { type: "string", valueHint: "D", description: "Start after this time, such as 30m or 2h" },
    priority: {
      type: "string",
      valueHint: "N",
      description: "0 to 9, which goes first; by default that of the workflow",
    },
    ...followArgs,
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    exit: followExit,
    see: ["runs show", "runs cancel", "logs tail"],
    completes: { id: "workflow" },
    details: `Prints the id of the run. The trigger is acknowledged when the run is on the principal's disk: from then on it is guaranteed to run. With --at or --in it waits there for its time, with the workflow as it is now; until then 'cdktr runs cancel' takes it back.

      A path such as hello.yml or ./etl/daily.yml is a file, which is run here and now instead, in this terminal, without a principal: with what its tasks print as with --follow, or the end alone with --wait. Ctrl-C cancels it. It is in no history.`,
    repeatable: ["param"],
    topic: "workflows",
    examples: [
      { command: "cdktr run hello.yml", does: "run a file here: no principal, no set-up" },
      { command: "cdktr task run etl.daily", does: "trigger it and go on" },
      { command: "cdktr run etl.daily --follow", does: "watch its output until it is over" },
      {
        command: "cdktr run etl.daily -P day=2025-01-20 -P region=eu --wait",
        does: "with parameters; exit 0 if it COMPLETED",
      },
      { command: "cdktr run etl.daily --at 'tomorrow 02:00'", does: "queue a run now that starts then" },
      { command: "cdktr run etl.daily --in 2h", does: "… or after two hours" },
      { command: "cdktr run etl.daily --wait --json", does: "the outcome and every task, for a program" },
    ],
  },
  async run({ args, rawArgs }) {
    const params = keyValues(repeated(rawArgs, "param"), "-P");
    if (isFile(args.id)) return runHere(args.id, params, args);
    const dedupeKey = `cli-${crypto.randomUUID()}`;
    const start = startOption(args, principalNow());
    const priority = wholeNumber(args.priority, "--priority", { min: 0, max: HIGHEST_PRIORITY });
    const traceparent = cleanTraceparent(process.env.TRACEPARENT);
    let isReached = false;
    let isPaused = false;
    return await withPrincipal(args, (connection) => {
      isReached = true;
      if (start !== undefined) requireLater(connection.info);
      if (priority !== undefined) requirePriorities(connection.info);
      return watchRun(connection, {
        workflowId: args.id,
        options: args,
        startMs: start?.ms,
        isPaused: () => isPaused,
        trigger: async () => {
          try {
            const created = await connection.client.runTask(
              args.id,
              {
                params,
                trigger: "cli",
                dedupe_key: dedupeKey,
                ...start?.options,
                priority,
                // Of the task that runs this command, or of another program that is traced.
                ...(traceparent === null ? {} : { traceparent }),
              },
              { attempts: TRIGGER_ATTEMPTS },
            );
            for (const note of created.notes ?? []) say(`note: ${note}`);
            isPaused = created.notes !== undefined;
            return created.workflow_instance_id;
          } catch (error) {
            if (error instanceof RequestRefusedError) throw await withHint(connection.client, args.id, error);
            if (!(error instanceof PrincipalUnreachableError)) throw error;
            throw new PrincipalUnreachableError(
              `The principal at ${connection.client.address} stopped answering: it is unknown whether ${args.id} was triggered.`,
              { hint: `Check 'cdktr runs list --workflow ${args.id}' when it is back.`, cause: error },
            );
          }
        },
      });
    }).catch((error) => {
      throw isReached ? error : orFile(args.id, error);
    });
  },
});

/** Whether a workflow is given as a file. No id has a slash, and hardly any ends like this. */
function isFile(text: string): boolean {
  return text.includes("/") || /\.ya?ml$/.test(text);
}

async function runHere(...given: Parameters<typeof RunFile>): Promise<number> {
  const { runFile } = await import("./run-file.ts");
  return runFile(...given);
}

/** When the run starts, ms since the epoch, and what the principal is told about that. */
interface Start {
  readonly ms: number;
  readonly options: { readonly start_at_ms: number } | { readonly start_in_ms: number };
}

/** @throws UsageError */
function startOption(
  args: { at?: string | undefined; in?: string | undefined },
  now: number,
): Start | undefined {
  if (args.at !== undefined && args.in !== undefined)
    throw new UsageError("--at and --in exclude each other.", { hint: "Give the one that is meant." });
  const span = spanOption(args.in, "--in", LONGEST_WAIT_MS);
  if (span !== undefined) return { ms: now + span, options: { start_in_ms: Math.round(span) } };
  const start = comingOption(args.at, "--at", now, "Without --at and --in, a run starts at once.");
  return start === undefined ? undefined : { ms: start, options: { start_at_ms: start } };
}

/** An older principal would start it at once. @throws UnprocessableError */
function requireLater({ protocol, version }: PrincipalInfo): void {
  if (protocol.version >= LANGUAGE_SINCE) return;
  throw new UnprocessableError(
    `The principal (cdktr ${version}) is too old for --at and --in: it would start the run at once.`,
    { hint: "Upgrade it: cdktr docs operations" },
  );
}

/** An older principal would give it to an agent in the order in which it came. @throws UnprocessableError */
function requirePriorities({ protocol, version }: PrincipalInfo): void {
  if (protocol.version >= LIMITS_SINCE) return;
  throw new UnprocessableError(`The principal (cdktr ${version}) is too old for --priority.`, {
    hint: "Upgrade it: cdktr docs operations",
  });
}

/** The file that somebody may mean who gives an id. */
function fileOf(id: string): string | undefined {
  return [`${id}.yml`, `${id}.yaml`].find((name) => existsSync(name));
}

/** Nobody answers, and nothing was triggered: perhaps a file is meant. */
function orFile(id: string, error: unknown): unknown {
  const file = fileOf(id);
  if (!(error instanceof PrincipalUnreachableError) || file === undefined) return error;
  const hint = `'cdktr run ${file}' runs the file here, without a principal. ${error.hint ?? ""}`.trimEnd();
  return new PrincipalUnreachableError(error.message, { hint, cause: error });
}

/** A refusal with what to do, when it is about a workflow that does not exist. */
async function withHint(
  client: PrincipalClient,
  text: string,
  error: RequestRefusedError,
): Promise<CdktrError> {
  if (error.hint !== undefined) return error;
  const known = await client.listWorkflows();
  if (Object.hasOwn(known, text)) return error;
  const file = fileOf(text);
  const hint =
    file === undefined
      ? "'cdktr workflow list' shows the workflows of this principal."
      : `'cdktr run ${file}' runs the file here, without a principal; the principal runs the files in its workflow directory.`;
  return new NotFoundError(error.message, { hint, cause: error });
}
