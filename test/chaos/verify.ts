/** Verifies the results: compares what the principal acknowledged, what the tasks recorded, and what the history contains. */
import { readFileSync } from "node:fs";
import { DuckDBInstance } from "@duckdb/node-api";
import { checkLimits, type LimitEvidence, type LimitedRun } from "./limits.ts";
import { type Acknowledged, RUNS_AGAIN } from "./workload.ts";

/** A record that a task wrote into the witness file. */
interface Witnessed {
  readonly what: "start" | "input" | "end";
  /** Seconds of the boot clock. */
  readonly at: number;
  readonly run: string;
  readonly attempt: number;
  readonly task: string;
  readonly instance: string;
  readonly try: number;
  readonly agent: string;
  /** The task whose outputs it found, and the task run that published them. */
  readonly need: string;
  readonly seen: string;
}

/** A time in which an agent could not be told anything, seconds of the boot clock. */
export interface Outage {
  readonly agent: string | "all";
  readonly from: number;
  readonly until: number;
}

/** Asks the history, which nobody writes any more. */
export type HistoryRows = <T>(sql: string) => Promise<T[]>;

/** Everything that the account is made from. */
export interface Evidence {
  readonly history: HistoryRows;
  readonly witness: string;
  readonly acknowledged: readonly Acknowledged[];
  /** Workflows whose runs agents share. */
  readonly split: readonly string[];
  /** Task runs whose approval was acknowledged; none by default. */
  readonly answered?: ReadonlySet<string>;
  readonly outages: readonly Outage[];
  /** What was done to limits; none by default. */
  readonly limits?: LimitEvidence | undefined;
  /** Seconds that an agent with a good connection may take to end a superseded attempt. */
  readonly fencingSeconds: number;
}

/** The counts, and every violation of a guarantee in words. */
export interface Account {
  readonly counts: Readonly<Record<string, number | string>>;
  readonly violations: readonly string[];
}

/** Does something with the history in a file. */
export async function withHistoryFile<T>(path: string, work: (rows: HistoryRows) => Promise<T>): Promise<T> {
  const instance = await DuckDBInstance.create(path, { access_mode: "READ_ONLY" });
  const connection = await instance.connect();
  try {
    return await work(
      async <Row>(sql: string) => (await connection.runAndReadAll(sql)).getRowObjectsJson() as Row[],
    );
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
}

/** Compares the evidence with the guarantees. */
export async function account(evidence: Evidence): Promise<Account> {
  const violations: string[] = [];
  const rows = evidence.history;
  // In the order in which the principal wrote them: the time of a reason why a run waits is the principal's, that of an end the agent's.
  const runs = await rows<RunRow>(
    `SELECT workflow_instance_id AS run, attempt, any_value(workflow_id) AS workflow, any_value(parent_run) AS parent, any_value(backfill_id) AS backfill, list(status::VARCHAR ORDER BY rowid) AS statuses
     FROM workflow_run_status GROUP BY ALL ORDER BY run, attempt`,
  );
  const tasks = await rows<TaskRow>(
    `SELECT workflow_instance_id AS run, coalesce(slice, 0) AS slice, attempt, agent_id AS agent, task_id || coalesce('[' || item_key || ']', '') AS task, task_instance_id AS instance, status::VARCHAR AS status, timestamp_ms::DOUBLE AS timestamp
     FROM task_run_status ORDER BY timestamp_ms, rowid`,
  );
  const lines = await rows<{ instance: string; payload: string }>(
    `SELECT task_instance_id AS instance, payload FROM logstore WHERE payload LIKE 'try % line %'
     ORDER BY task_instance_id, timestamp_ms, rowid`,
  );
  const witnessed = readWitness(evidence.witness);
  const limited = async (limits: LimitEvidence) => {
    const ended = await rows<LimitedRun>(
      `SELECT workflow_instance_id AS run, workflow_id AS workflow, backfill_id AS backfill, scheduled_time_ms::DOUBLE AS scheduled, status::VARCHAR AS status, error,
         finished_at_ms::DOUBLE AS ended FROM workflow_runs ORDER BY created_at_ms`,
    );
    return checkLimits(limits, witnessed, ended, tasks, violations);
  };
  const counts = {
    "acknowledged triggers": evidence.acknowledged.length,
    ...checkRuns(evidence, runs, violations),
    ...checkTasks(witnessed, tasks, violations),
    ...checkAnswers(evidence.answered ?? new Set(), tasks, violations),
    ...checkInputs(witnessed, tasks, violations),
    ...checkSharing(tasks),
    ...checkFencing(witnessed, tasks, evidence, violations),
    ...checkLines(witnessed, tasks, lines, violations),
    ...(evidence.limits === undefined ? {} : await limited(evidence.limits)),
  };
  return { counts, violations };
}

/** The statuses of an attempt at a run in the history. */
interface RunRow {
  readonly run: string;
  readonly attempt: number;
  readonly workflow: string;
  /** The run whose task has started it. */
  readonly parent: string | null;
  /** The backfill that has made it. */
  readonly backfill: string | null;
  readonly statuses: string[];
}

/** A status of a task run in the history. */
interface TaskRow {
  readonly run: string;
  readonly slice: number;
  readonly attempt: number;
  readonly agent: string | null;
  readonly task: string;
  readonly instance: string;
  readonly status: string;
  readonly timestamp: number;
}

const TERMINAL = new Set(["COMPLETED", "FAILED", "CRASHED", "CANCELLED", "SKIPPED"]);

/** Every acknowledged trigger is one run with one terminal status; no run was made that nobody asked for. */
function checkRuns(
  { acknowledged, split, limits }: Evidence,
  rows: readonly RunRow[],
  violations: string[],
): Record<string, number> {
  const byRun = Map.groupBy(rows, (row) => row.run);
  const ends: Record<string, number> = {};
  let reruns = 0;
  const known = new Set(acknowledged.map(({ runId }) => runId));
  const others = [...byRun.values()].flatMap(([first]) => {
    if (first === undefined || known.has(first.run)) return [];
    const isBackfilled = limits !== undefined && first.backfill === limits.backfill;
    if (!isBackfilled && (first.parent === null || !known.has(first.parent))) {
      violations.push(`run ${first.run} was never acknowledged`);
      return [];
    }
    return [{ runId: first.run, workflowId: first.workflow, parent: first.parent }];
  });
  const children = others.filter(({ parent }) => parent !== null);
  for (const { runId, workflowId } of [...acknowledged, ...others]) {
    const attempts = byRun.get(runId);
    const last = attempts?.at(-1);
    if (attempts === undefined || last === undefined) {
      violations.push(`run ${runId} was acknowledged and is not in the history`);
      continue;
    }
    if (split.includes(workflowId))
      checkSplitRun(
        runId,
        attempts.flatMap(({ statuses }) => statuses),
        violations,
      );
    else
      for (const attempt of attempts) {
        const terminal = attempt.statuses.filter((status) => TERMINAL.has(status));
        if (terminal.length !== 1 || attempt.statuses.at(-1) !== terminal[0]) {
          violations.push(`run ${runId} attempt ${attempt.attempt} went ${attempt.statuses.join(" → ")}`);
        } else if (attempt !== last && terminal[0] !== "CRASHED") {
          violations.push(`run ${runId} went on after attempt ${attempt.attempt} was ${terminal[0]}`);
        }
      }
    const end = last.statuses.at(-1) ?? "nothing";
    ends[`runs ${end}`] = (ends[`runs ${end}`] ?? 0) + 1;
    if (attempts.length > 1) reruns++;
  }
  return {
    ...ends,
    "runs that tasks have started": children.length,
    "runs with more than one attempt": reruns,
  };
}

/** Its attempts are those of its slices: it ends once, and before that goes on after each CRASHED. */
function checkSplitRun(run: string, statuses: readonly string[], violations: string[]): void {
  const early = statuses.slice(0, -1).filter((status) => TERMINAL.has(status) && status !== "CRASHED");
  if (early.length > 0 || !TERMINAL.has(statuses.at(-1) ?? ""))
    violations.push(`run ${run}, which agents share, went ${statuses.join(" → ")}`);
}

/** No try of a task started twice, and none after the task had COMPLETED for the principal in an earlier attempt. */
function checkTasks(
  witnessed: readonly Witnessed[],
  rows: readonly TaskRow[],
  violations: string[],
): Record<string, number> {
  const starts = witnessed.filter((record) => record.what === "start");
  const seen = new Set<string>();
  for (const start of starts) {
    const key = `${start.run} attempt ${start.attempt} task ${start.task} try ${start.try}`;
    if (seen.has(key) && !RUNS_AGAIN.test(start.task)) violations.push(`${key} started twice`);
    seen.add(key);
  }
  const completed = new Map<string, number>();
  for (const row of rows) {
    if (row.status !== "COMPLETED") continue;
    const key = `${row.run} ${row.task}`;
    if (completed.has(key) && !RUNS_AGAIN.test(row.task))
      violations.push(`task ${key} COMPLETED in attempts ${completed.get(key)} and ${row.attempt}`);
    completed.set(key, row.attempt);
  }
  for (const start of starts) {
    const attempt = completed.get(`${start.run} ${start.task}`);
    if (attempt !== undefined && start.attempt > attempt && !RUNS_AGAIN.test(start.task)) {
      violations.push(
        `task ${start.run} ${start.task} COMPLETED in attempt ${attempt} and ran again in ${start.attempt}`,
      );
    }
  }
  return { "task tries started": starts.length, "tasks COMPLETED": completed.size };
}

/** What was approved is COMPLETED, unless it was cancelled in the meantime, and nothing else is. */
function checkAnswers(
  answered: ReadonlySet<string>,
  rows: readonly TaskRow[],
  violations: string[],
): Record<string, number> {
  const asked = rows.filter(({ task }) => task === "ask");
  const ends = new Map(asked.map(({ instance, status }) => [instance, status]));
  for (const instance of answered)
    if (ends.get(instance) !== "COMPLETED")
      violations.push(`approval ${instance} was acknowledged, and its task is ${ends.get(instance)}`);
  const completed = asked.filter(({ status }) => status === "COMPLETED");
  return answered.size + completed.length === 0 ? {} : { "tasks approved": completed.length };
}

/**
 * A task finds what each of its dependencies has published: the task run of it that COMPLETED, wherever and in whichever attempt; or, on
 * an agent whose attempt was given up before it could report, one that ended there in the same attempt.
 */
function checkInputs(
  witnessed: readonly Witnessed[],
  rows: readonly TaskRow[],
  violations: string[],
): Record<string, number> {
  const completed = new Map(
    rows
      .filter(({ status }) => status === "COMPLETED")
      .map((row) => [`${row.run} ${row.task}`, row.instance]),
  );
  const inputs = witnessed.filter(({ what }) => what === "input");
  const key = ({ run, attempt, agent }: Witnessed, task: string, instance: string) =>
    `${run} ${attempt} ${agent} ${task} ${instance}`;
  const ended = new Set(
    witnessed.filter(({ what }) => what === "end").map((end) => key(end, end.task, end.instance)),
  );
  for (const input of inputs) {
    const { run, attempt, task, need, seen } = input;
    if (completed.get(`${run} ${need}`) === seen || ended.has(key(input, need, seen))) continue;
    violations.push(
      `${run} attempt ${attempt} task ${task} found the outputs of ${need} by ${seen}, which did not complete it`,
    );
  }
  return { "inputs found": inputs.length };
}

/** Runs whose tasks were executed by more than one agent, without another attempt. */
function checkSharing(rows: readonly TaskRow[]): Record<string, number> {
  const byRun = Map.groupBy(
    rows.filter(({ attempt, agent }) => attempt === 1 && agent !== null),
    ({ run }) => run,
  );
  const shared = [...byRun.values()].filter((tasks) => new Set(tasks.map(({ agent }) => agent)).size > 1);
  return { "runs shared by agents": shared.length };
}

/** Nothing of a superseded attempt happens once its agent could be told that it is over. */
function checkFencing(
  witnessed: readonly Witnessed[],
  tasks: readonly TaskRow[],
  evidence: Evidence,
  violations: string[],
): Record<string, number> {
  const slices = new Map(tasks.map(({ run, task, slice }) => [`${run} ${task}`, `${run} ${slice}`]));
  const newest = new Map<string, number>();
  const firstStart = new Map<string, number>();
  for (const record of witnessed) {
    const slice = slices.get(`${record.run} ${record.task}`);
    if (slice === undefined) continue;
    newest.set(slice, Math.max(record.attempt, newest.get(slice) ?? 0));
    const key = `${slice} ${record.attempt}`;
    firstStart.set(key, Math.min(record.at, firstStart.get(key) ?? Number.POSITIVE_INFINITY));
  }
  let superseded = 0;
  for (const record of witnessed) {
    const slice = slices.get(`${record.run} ${record.task}`) ?? "";
    const next = nextStart(slice, record.attempt, newest, firstStart);
    if (next === undefined || record.at <= next) continue;
    superseded++;
    const from = Math.max(next, record.at - evidence.fencingSeconds);
    const told =
      record.at - next > evidence.fencingSeconds &&
      !evidence.outages.some(
        (outage) =>
          (outage.agent === "all" || outage.agent === record.agent) &&
          outage.from < record.at &&
          outage.until > from,
      );
    if (told) {
      violations.push(
        `${record.run} attempt ${record.attempt} task ${record.task}: ${record.what} on ${record.agent} at ${record.at}, ` +
          `${(record.at - next).toFixed(1)} s after a later attempt had begun`,
      );
    }
  }
  return { "records of attempts that were over, before their agent could know": superseded };
}

function nextStart(
  slice: string,
  attempt: number,
  newest: ReadonlyMap<string, number>,
  firstStart: ReadonlyMap<string, number>,
): number | undefined {
  for (let later = attempt + 1; later <= (newest.get(slice) ?? 0); later++) {
    const start = firstStart.get(`${slice} ${later}`);
    if (start !== undefined) return start;
  }
  return undefined;
}

/** Lines of a try are 1, 2, 3, … without gap or double; all of them when the task's end was reported. */
function checkLines(
  witnessed: readonly Witnessed[],
  tasks: readonly { instance: string; status: string }[],
  lines: readonly { instance: string; payload: string }[],
  violations: string[],
): Record<string, number> {
  const printed = new Map<string, { last: number; of: number }>();
  for (const { instance, payload } of lines) {
    const match = /^try (\d+) line (\d+) of (\d+)$/.exec(payload);
    if (match === null) {
      violations.push(`task run ${instance} has a damaged line: ${payload}`);
      continue;
    }
    const key = `${instance} try ${match[1]}`;
    const line = Number(match[2]);
    const last = printed.get(key)?.last ?? 0;
    if (line !== last + 1) violations.push(`task run ${key}: line ${line} follows line ${last}`);
    printed.set(key, { last: line, of: Number(match[3]) });
  }
  const reported = new Set(
    tasks.filter((row) => row.status === "COMPLETED" || row.status === "FAILED").map((row) => row.instance),
  );
  let complete = 0;
  for (const end of witnessed) {
    // A poll prints nothing.
    if (end.what !== "end" || end.task === "poll" || !reported.has(end.instance)) continue;
    complete++;
    const got = printed.get(`${end.instance} try ${end.try}`);
    if (got === undefined || got.last !== got.of) {
      violations.push(
        `task run ${end.instance} try ${end.try} (${end.task}) ended; ${got?.last ?? 0} of its lines are there`,
      );
    }
  }
  return { "log lines": lines.length, "task tries with every line": complete };
}

function readWitness(path: string): Witnessed[] {
  return readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const [what, at, run = "", attempt, task = "", instance = "", tried, agent = "", need = "", seen = ""] =
        line.split(" ");
      if (what !== "start" && what !== "input" && what !== "end")
        throw new Error(`the witness file has a damaged record: ${line}`);
      return {
        what,
        at: Number(at),
        run,
        attempt: Number(attempt),
        task,
        instance,
        try: Number(tried),
        agent,
        need,
        seen,
      };
    });
}
