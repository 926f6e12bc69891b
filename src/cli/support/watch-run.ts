/** Watches a run after its trigger: not at all, until its end (`--wait`), or printing its log live (`--follow`). */
import type { ArgsDef } from "citty";
import type { RunDetails } from "../../contract/messages.ts";
import { answerCommands, nameOfApproval } from "../../contract/run-approvals.ts";
import { CdktrError, errorMessage, PrincipalUnreachableError } from "../../errors.ts";
import { LogFollower } from "../../protocol/log-follower.ts";
import type { LogSubscription } from "../../protocol/log-subscription.ts";
import { plainText } from "../../terminal/foreign-text.ts";
import { pause, Timer } from "../../timer.ts";
import { allTasks } from "../../workflow/hooks.ts";
import { RUN_TRANSITIONS } from "../../workflow/run-state.ts";
import { isTerminal } from "../../workflow/status.ts";
import { type Connection, principalNow } from "./connect.ts";
import { formatInstant } from "./format.ts";
import { askPatiently, subscribe } from "./live-log.ts";
import { RunLogText } from "./log-text.ts";
import { say } from "./report.ts";
import { runOutcomeJson, statusLine, taskTable } from "./run-report.ts";
import { BrokenPipe, flushStdout, jsonLine, printJson, printLine } from "./stdout.ts";
import { styleFor } from "./style.ts";

/** Options of the commands that create a run. */
export const followArgs = {
  wait: { type: "boolean", description: "Wait until the run is over; exit 1 unless it COMPLETED" },
  follow: {
    type: "boolean",
    alias: "f",
    description: "Wait, and print what the tasks print as they print it (Ctrl-C detaches, the run goes on)",
  },
} as const satisfies ArgsDef;

/** The exit status of commands with {@link followArgs}. */
export const followExit = {
  0: "Success; with --wait or --follow: the run COMPLETED",
  1: "The run that was waited for did not complete, or the command failed",
};

/** What to watch and how. */
export interface WatchOptions {
  readonly workflowId: string;
  readonly options: {
    readonly wait?: boolean | undefined;
    readonly follow?: boolean | undefined;
    readonly json?: boolean | undefined;
  };
  /** When the run starts, if not at once, ms since the epoch. */
  readonly startMs?: number | undefined;
  /** Creates the run and returns its id. Called once the live log is on. */
  readonly trigger: () => Promise<string>;
  /** Whether it was told with the trigger that the workflow is paused. */
  readonly isPaused?: () => boolean;
}

/**
 * Triggers a run and watches it as the options say.
 * @returns the exit status: 0, or 1 when a run that was waited for did not complete
 */
export async function watchRun(connection: Connection, watch: WatchOptions): Promise<number> {
  const { workflowId, options, trigger, startMs } = watch;
  if (options.follow) return follow(connection, watch);
  const runId = await trigger();
  if (!options.wait) {
    if (options.json) await printJson({ workflow_id: workflowId, workflow_instance_id: runId });
    else {
      await printLine(runId);
      const start = startMs === undefined ? "" : `; it starts at ${formatInstant(startMs)}`;
      say(`Triggered ${workflowId}${start}. See 'cdktr runs show ${runId.slice(0, 13)}'.`);
    }
    return 0;
  }
  if (!options.json) say(`Waiting for run ${runId} of ${workflowId} …`);
  return await detachable(runId, async (signal) => {
    const run = await waitUntilOver(connection, runId, signal, newsOf(watch));
    await printOutcome(run, options.json ?? false);
    return exitStatus(run);
  });
}

async function follow(connection: Connection, watch: WatchOptions): Promise<number> {
  const { workflowId, options, trigger } = watch;
  const live = subscribe(connection, workflowId);
  try {
    const connected = await live.connect(connection.config.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS);
    if (!connected) {
      say(`warning: no live log from ${live.endpoint}; lines are shown when the run is over.`);
    }
    const runId = await trigger();
    if (!options.json) say(`Run ${runId} of ${workflowId}`);
    return await detachable(runId, async (signal) => {
      const printer = new FollowPrinter(connection, live, runId, options.json ?? false, signal);
      const printing = printer.print();
      // Its failure is rethrown below; until then it must not count as unhandled.
      printing.catch(() => {});
      const over = waitUntilOver(connection, runId, signal, newsOf(watch));
      const run = await Promise.race([over, printing.then(() => over)]);
      await printer.finish();
      await printing;
      await printOutcome(run, options.json ?? false);
      return exitStatus(run);
    });
  } finally {
    live.close();
  }
}

/** When no line arrives for this long after the end of a run, none is on its way, ms. */
const QUIET_MS = 200;
/**
 * How long to wait at the end of a run for a history that does not answer, ms: one that hangs is ended after 20 s and started again. How
 * often it is tried, and after what time the user is told, ms.
 */
const HISTORY_WAIT_MS = 30_000;
const HISTORY_RETRY_MS = 500;
const TELL_MS = 1500;

/** Prints the lines of one run as they arrive, and at the end those that did not arrive live. */
class FollowPrinter {
  readonly #connection: Connection;
  readonly #runId: string;
  readonly #json: boolean;
  readonly #text = new RunLogText();
  readonly #follower: LogFollower;
  readonly #signal: AbortSignal;
  #printed = 0;

  constructor(
    connection: Connection,
    live: LogSubscription,
    runId: string,
    json: boolean,
    signal: AbortSignal,
  ) {
    this.#connection = connection;
    this.#runId = runId;
    this.#json = json;
    this.#signal = signal;
    this.#follower = new LogFollower({
      live,
      ask: askPatiently(connection),
      search: { workflow_instance_id: runId },
      limit: 0,
      failed: (error) => {
        if (!signal.aborted)
          say(
            `warning: lines of the run may be missing here: ${errorMessage(error)} Later: cdktr logs query --run ${runId}`,
          );
      },
      remembered: Number.POSITIVE_INFINITY,
    });
  }

  async print(): Promise<void> {
    await this.#knowTasks();
    for await (const lines of this.#follower.lines()) {
      for (const line of lines) {
        this.#printed++;
        await printLine(this.#json ? jsonLine(line) : this.#text.format(line));
      }
      await flushStdout();
    }
  }

  /**
   * Call once the run is over. Waits for live lines that are still on their way, since reading them from the history takes longer, and
   * then has the history read unless nothing is missing.
   */
  async finish(): Promise<void> {
    const stored = await this.#countWhenAvailable();
    for (let before = -1; this.#printed !== stored && this.#printed !== before; ) {
      before = this.#printed;
      await pause(QUIET_MS);
    }
    this.#follower.finish(async () => stored !== null && this.#printed === (await this.#tryToCount()));
  }

  /** Waits for a history that does not answer, and says so. Null as below, or when it was not available in time. */
  async #countWhenAvailable(): Promise<number | null> {
    const deadline = performance.now() + HISTORY_WAIT_MS;
    let reason = "it does not answer";
    let isTold = false;
    const tell = new Timer(() => {
      isTold = true;
      say(`The run is over; waiting for the history, which may have more of its lines (${reason}) …`);
    });
    tell.in(TELL_MS);
    try {
      for (;;) {
        try {
          return await this.#countStored();
        } catch (error) {
          if (!(error instanceof CdktrError)) throw error;
          reason = error.message.replace(/\.$/, "");
          if (this.#signal.aborted || performance.now() > deadline) return null;
        }
        await pause(HISTORY_RETRY_MS, this.#signal);
      }
    } finally {
      tell.cancel();
      if (isTold && !this.#signal.aborted && performance.now() < deadline) say("The history answers again.");
    }
  }

  #tryToCount(): Promise<number | null> {
    return this.#countStored().catch(() => null);
  }

  /**
   * The number of lines of the run in the history; null when not all of them have arrived there. Everything that was printed is in the
   * history in the end, so nothing is missing when the numbers are equal.
   * @throws HistoryUnavailableError and the like when it cannot be asked
   */
  async #countStored(): Promise<number | null> {
    const { client, patiently } = this.#connection;
    const run = this.#runId.replaceAll("'", "''");
    const sql = `SELECT count(*)::INTEGER FROM logstore WHERE workflow_instance_id = '${run}'`;
    // A search waits for the last lines of a finished run; a count does not.
    const search = { workflow_instance_id: this.#runId, limit: 1 };
    const { warning } = await patiently((options) => client.searchLogs(search, options));
    const counted = await patiently((options) => client.queryDatabase({ sql }, options));
    const count = counted.rows[0]?.[0];
    return warning === null && counted.warning === null && typeof count === "number" ? count : null;
  }

  /** Reads the names of the tasks, so that the lines are aligned from the first one on. */
  async #knowTasks(): Promise<void> {
    try {
      const { definition } = await this.#connection.client.getRun(this.#runId);
      this.#text.expect(definition === null ? [] : allTasks(definition).map((task) => task.name));
    } catch {
      // Then the column grows as names appear.
    }
  }
}

async function printOutcome(run: RunDetails, json: boolean): Promise<void> {
  if (json) return printJson(runOutcomeJson(run));
  const now = principalNow();
  await printLine(statusLine(run, now));
  for (const line of taskTable(run, now)) await printLine(line);
}

function exitStatus(run: RunDetails): number {
  return run.status === "COMPLETED" ? 0 : 1;
}

/**
 * Says which runs the tasks of a run have started, and how to look at them: their lines are not among those of the run. And says what waits
 * for a person.
 */
function newsOf({ options: { json, follow }, isPaused }: WatchOptions): (run: RunDetails) => void {
  const told = new Set<string>(isPaused?.() === true ? ["pause"] : []);
  return (run) => {
    if (json) return;
    tellApprovals(run, told);
    for (const { kind, reason, hint } of run.holds ?? []) {
      // Whoever holds it may change.
      if (told.has(kind)) continue;
      told.add(kind);
      say(`It waits: ${plainText(reason)}.`);
      if (hint !== null) say(`  ${plainText(hint)}`);
    }
    for (const { task_id, child, status } of run.tasks) {
      if (child === undefined || status !== "WAITING" || told.has(child.workflow_instance_id)) continue;
      told.add(child.workflow_instance_id);
      const id = child.workflow_instance_id.slice(0, 13);
      const look = follow ? `cdktr logs tail --run ${id}` : `cdktr runs show ${id}`;
      say(
        `Task ${plainText(task_id)} waits for run ${child.workflow_instance_id} of ${plainText(child.workflow_id)}. See '${look}'.`,
      );
    }
  };
}

/** Says what waits for a person, unless that is told. */
function tellApprovals({ approvals = [] }: RunDetails, told: Set<string>): void {
  for (const approval of approvals) {
    if (told.has(approval.task_instance_id)) continue;
    told.add(approval.task_instance_id);
    const { approve, reject } = answerCommands(approval);
    say(
      `${styleFor("stderr").yellow("Waits for a person:")} task ${plainText(nameOfApproval(approval))}: ${plainText(approval.message)}`,
    );
    say(`  ${plainText(approve)}`);
    say(`  ${plainText(reject)}`);
  }
}

/**
 * Polls until the run is over. If the principal is unreachable for a while, this waits: the run goes on without it.
 * @throws PrincipalUnreachableError when it does not come back within the retry budget
 */
async function waitUntilOver(
  { client, config }: Connection,
  runId: string,
  signal: AbortSignal,
  told: (run: RunDetails) => void,
): Promise<RunDetails> {
  const waitMs = Math.min(60_000, Math.max(1000, config.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS));
  let failures = 0;
  for (;;) {
    try {
      const run = await client.waitRun(runId, waitMs, { signal });
      if (isTerminal(RUN_TRANSITIONS, run.status)) return run;
      told(run);
      if (failures > 0) {
        failures = 0;
        say("The principal is back.");
      }
    } catch (error) {
      if (!(error instanceof PrincipalUnreachableError)) throw error;
      failures++;
      if (failures === 1) {
        say(
          `The principal at ${client.address} does not answer; waiting for it. The run goes on on its agent.`,
        );
      }
      if (failures >= config.CDKTR_RETRY_ATTEMPTS) {
        throw new PrincipalUnreachableError(
          `The principal at ${client.address} has not answered ${failures} times in a row while run ${runId} was watched.`,
          { hint: `The run goes on on its agent. Later: cdktr runs show ${runId}`, cause: error },
        );
      }
    }
  }
}

/** Runs `watch` until it is done or the user presses Ctrl-C, which ends the watching, not the run. */
async function detachable(runId: string, watch: (signal: AbortSignal) => Promise<number>): Promise<number> {
  const gone = new AbortController();
  const { promise: interrupted, resolve } = Promise.withResolvers<number>();
  const onInterrupt = () => {
    const style = styleFor("stderr");
    say(`\n${style.yellow("Detached.")} Run ${runId} goes on.`);
    say(`  See it:     cdktr runs show ${runId}`);
    say(`  Cancel it:  cdktr runs cancel ${runId}`);
    gone.abort(new Error("detached"));
    resolve(1);
  };
  process.once("SIGINT", onInterrupt);
  const watching = watch(gone.signal).catch((error) => {
    // A reader that has closed the pipe has detached too, and cannot be told how the run ends.
    if (error instanceof BrokenPipe) return 1;
    throw error;
  });
  try {
    return await Promise.race([watching, interrupted]);
  } finally {
    process.off("SIGINT", onInterrupt);
    watching.catch(() => {});
  }
}
