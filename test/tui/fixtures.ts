/** A state of the terminal UI with an example of everything, at a fixed time. */

import type { LogLine } from "../../src/contract/log-line.ts";
import type {
  AgentSummary,
  ApprovalSummary,
  PrincipalInfo,
  RunAttempt,
  RunDetails,
  RunSummary,
  TaskRunSummary,
  WorkflowSummary,
} from "../../src/contract/messages.ts";
import { PROTOCOL } from "../../src/contract/version.ts";
import { initialState } from "../../src/tui/initial-state.ts";
import type { FanOutItems, Page, RunFiles, RunOutputs, State } from "../../src/tui/state.ts";
import type { TaskDefinition, WorkflowDefinition } from "../../src/workflow/model.ts";
import type { RunStatus } from "../../src/workflow/status.ts";
import { ALERTS } from "./alert-fixtures.ts";
import { FORECAST, QUEUE } from "./limits-fixtures.ts";

/** Wednesday, 4 March 2026, 10:00:00 UTC. */
export const NOW = Date.UTC(2026, 2, 4, 10, 0, 0);

/** The next firings of the example with a schedule. */
const FIRINGS = Array.from({ length: 5 }, (_, day) => Date.UTC(2026, 2, 5 + day, 2));

export function task(id: string, depends: string[] = []): TaskDefinition {
  return {
    id,
    name: `Task ${id}`,
    description: null,
    depends,
    config: { type: "Subprocess", cmd: "python", args: [`scripts/${id}.py`], working_directory: null },
    retry: { max_attempts: 1, delay_ms: 0, backoff: 1 },
    timeout_ms: null,
    env: {},
  };
}

const DEFINITION: WorkflowDefinition = {
  id: "etl.daily",
  name: "Daily load",
  description: "Takes yesterday's orders out of the shop and puts them into the warehouse.",
  cron: "0 0 2 * * *",
  timezone: "UTC",
  start_time_ms: null,
  catchup: "latest",
  failover: "rerun",
  timeout_ms: null,
  env: {},
  params: {
    day: { description: "Day to load", default: null },
    region: { description: null, default: "eu" },
  },
  tasks: [
    task("extract"),
    task("orders", ["extract"]),
    task("customers", ["extract"]),
    task("returns", ["extract"]),
    task("load", ["orders", "customers", "returns"]),
  ],
};

function workflow(id: string, change: Partial<WorkflowSummary> = {}): WorkflowSummary {
  return {
    id,
    name: id.toUpperCase(),
    description: null,
    path: `${id.replaceAll(".", "/")}.yml`,
    cron: null,
    timezone: "UTC",
    start_time: null,
    start_time_ms: null,
    catchup: "latest",
    schedule_cursor_ms: null,
    params: {},
    tasks: 1,
    error: null,
    ...change,
  };
}

export function run(n: number, status: RunStatus, change: Partial<RunSummary> = {}): RunSummary {
  const started = NOW - n * 60_000;
  const open = status === "PENDING" || status === "RUNNING";
  return {
    workflow_id: "etl.daily",
    workflow_instance_id: `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`,
    status,
    trigger: "cron",
    agent_id: status === "PENDING" ? null : "host-a",
    attempt: 1,
    created_at_ms: started - 500,
    started_at_ms: status === "PENDING" ? null : started,
    finished_at_ms: open ? null : started + 20_000 + n * 1000,
    tasks_total: 5,
    tasks_done: open ? 2 : 5,
    ...change,
  };
}

function taskRun(id: string, status: RunStatus, from: number, to: number | null): TaskRunSummary {
  const over = to !== null;
  return {
    task_id: id,
    task_instance_id: `ti-${id}`,
    slice: 0,
    attempt: 1,
    task_attempt: 1,
    status,
    exit_code: over ? (status === "FAILED" ? 3 : 0) : null,
    signal: null,
    error: status === "FAILED" ? "exit status 3" : null,
    cpu_ms: over ? 1234 : null,
    max_rss_kb: over ? 45_678 : null,
    started_at_ms: NOW - 60_000 + from * 1000,
    finished_at_ms: to === null ? null : NOW - 60_000 + to * 1000,
    agent_id: "host-a",
  };
}

const FIRST: RunAttempt = {
  slice: 0,
  attempt: 1,
  agent_id: "host-a",
  status: "RUNNING",
  started_at_ms: NOW - 60_000,
  finished_at_ms: null,
  error: null,
};

export const RUN: RunDetails = {
  ...run(1, "RUNNING"),
  workflow_name: "Daily load",
  scheduled_time_ms: NOW - 60_000,
  params: { day: "2026-03-03", region: "eu" },
  error: null,
  retry_of: null,
  attempts: [FIRST],
  tasks: [
    taskRun("extract", "COMPLETED", 0, 20),
    taskRun("orders", "FAILED", 20, 35),
    taskRun("customers", "COMPLETED", 20, 50),
    taskRun("returns", "RUNNING", 21, null),
  ],
  definition: DEFINITION,
};

const SHARED_ID = "00000000-0000-4000-8000-0000000000aa";

/** A run of which agents have parts, while one part waits. */
export const SHARED: RunDetails = {
  ...RUN,
  ...run(9, "RUNNING", { workflow_instance_id: SHARED_ID, agents: 2 }),
  started_at_ms: NOW - 60_000,
  attempts: [
    { ...FIRST, slice: 1, status: "COMPLETED", finished_at_ms: NOW - 40_000 },
    {
      ...FIRST,
      slice: 2,
      agent_id: "gpu-1",
      status: "CRASHED",
      finished_at_ms: NOW - 30_000,
      error: "agent lost",
    },
    { ...FIRST, slice: 2, attempt: 2, agent_id: "gpu-2", started_at_ms: NOW - 29_000 },
  ],
  tasks: [
    { ...taskRun("extract", "COMPLETED", 0, 20), slice: 1 },
    {
      ...taskRun("orders", "WAITING", 31, null),
      slice: 2,
      attempt: 2,
      agent_id: "gpu-2",
      next_attempt_ms: NOW + 90_000,
    },
    { ...taskRun("customers", "COMPLETED", 31, 50), slice: 2, attempt: 2, agent_id: "gpu-2" },
  ],
  waits: [
    {
      slice: 3,
      tasks: ["returns"],
      kind: "labels",
      reason: "no agent that is up has zone=eu; the nearest is host-a, which has zone=a",
      hint: "Start one: cdktr start agent --label zone=eu",
      since_ms: NOW - 38_000,
    },
  ],
};

/** A run that waits as a whole. */
export const WAITING: RunDetails = {
  ...RUN,
  ...run(0, "PENDING"),
  attempts: [{ ...FIRST, agent_id: null, status: "PENDING", started_at_ms: null }],
  tasks: [],
  waits: [
    {
      slice: 0,
      tasks: ["extract", "orders", "customers", "returns", "load"],
      kind: "full",
      reason: "all agents that are up are full: host-a 5/5, host-d 2/2",
      hint: "See what they run: cdktr runs list --status running.",
      since_ms: NOW - 75_000,
    },
  ],
};

const AGENTS: AgentSummary[] = [
  agent("host-a", { running_workflows: 1, running_tasks: 1, labels: { zone: "a", gpu: "no" } }),
  agent("host-b", { status: "DRAINING", running_workflows: 5 }),
  agent("host-c", { status: "LOST", last_heartbeat_ms: NOW - 95_000 }),
];

function agent(id: string, change: Partial<AgentSummary> = {}): AgentSummary {
  return {
    agent_id: id,
    last_ping_timestamp: (NOW - 2000) * 1000,
    running_tasks: 0,
    host: `${id}.example.org`,
    status: "UP",
    running_workflows: 0,
    max_concurrent_workflows: 5,
    last_heartbeat_ms: NOW - 2000,
    labels: {},
    version: "0.1.0",
    ...change,
  };
}

const INFO: PrincipalInfo = {
  principal_id: "p",
  version: "0.1.0",
  protocol: PROTOCOL,
  pid: 1,
  started_at_ms: NOW - 86_400_000,
  host: "127.0.0.1",
  api_port: 5561,
  logs_listening_port: 5562,
  logs_publishing_port: 5563,
  workflows: 4,
  invalid_workflow_files: [{ path: "broken.yml", error: 'broken.yml:3:3: "name" is missing in task "a"' }],
  runs: { pending: 1, running: 1 },
  history: { available: true, error: null },
};

export function line(n: number, change: Partial<LogLine> = {}): LogLine {
  return {
    workflow_id: "etl.daily",
    workflow_name: "Daily load",
    workflow_instance_id: RUN.workflow_instance_id,
    task_name: n % 3 === 0 ? "Task orders" : "Task extract",
    task_instance_id: n % 3 === 0 ? "ti-orders" : "ti-extract",
    timestamp_ms: NOW - 60_000 + n * 100,
    level: n % 10 === 7 ? "ERROR" : "INFO",
    payload: `row ${n} of the shop: 東京 ✓ done`,
    ...change,
  };
}

/** The items that have been read of the fan-out below. */
const ITEMS: FanOutItems = {
  pages: new Map([
    [
      0,
      ["orders", "customers", "日本 データ"].map((key, index) => ({
        ...taskRun("load", index === 1 ? "FAILED" : "COMPLETED", 20 + index, 30 + index),
        item_key: key,
        item_index: index,
      })),
    ],
  ]),
  open: new Set([0]),
  found: null,
  error: null,
};

/** What its tasks published. */
const OUTPUTS: RunOutputs = {
  asOf: "",
  tasks: [
    {
      id: "list",
      outputs: { files: ["orders", "customers", "日本 データ"], total: 5000, note: "two\nlines" },
    },
    { id: "poll", outputs: { state: null } },
  ],
  leftOut: false,
};

/** The files that they left. */
const FILES: RunFiles = {
  asOf: "",
  artifacts: [
    {
      ...{ task_id: "list", item_key: null, task_instance_id: "ti-list", hash: "ab", bytes: 10_240 },
      files: [{ path: "reports/日本.txt", bytes: 812, offset: 512 }],
    },
    {
      ...{ task_id: "load", item_key: "orders", task_instance_id: "ti-load", hash: "cd", bytes: 99_000_000 },
      files: [{ path: "table.csv", bytes: 98_000_000, offset: 512 }],
    },
  ],
  error: null,
};

const { id: _, depends: __, ...HOOK } = task("on_failure");

export const FANS_DEFINITION: WorkflowDefinition = {
  ...DEFINITION,
  hooks: { on_failure: { ...HOOK, timeout_ms: 300_000 } },
  outputs: { total: "${{ tasks.list.outputs.total }}" },
  params: {},
  tasks: [
    task("list"),
    {
      ...task("load", ["list"]),
      foreach: ["orders", "customers"],
      max_parallel: 8,
      when: "${{ run.attempt == 1 }}",
    },
    { ...task("poll", ["list"]), repeat: { every_ms: 60_000, until: "exit_code == 0", max_attempts: 9 } },
    task("check", ["load"]),
    task("nested", ["list"]),
  ],
};

/** A run with a fan-out of 5,000 items, of which three have been read, and with a poll that waits. */
export const FANS: RunDetails = {
  ...RUN,
  workflow_instance_id: "00000000-0000-4000-8000-0000000000cc",
  params: {},
  definition: FANS_DEFINITION,
  tasks: [
    taskRun("list", "COMPLETED", 0, 20),
    {
      ...taskRun("load", "RUNNING", 20, null),
      items: { total: 5000, by_status: { COMPLETED: 1203, FAILED: 2, RUNNING: 8 } },
    },
    { ...taskRun("poll", "WAITING", 20, null), task_attempt: 3, next_attempt_ms: NOW + 42_000 },
    {
      ...{ ...taskRun("nested", "WAITING", 20, null), agent_id: null },
      child: {
        ...{ workflow_id: "etl.part", workflow_instance_id: RUN.workflow_instance_id, status: "RUNNING" },
        ...{ tasks_done: 2, tasks_total: 5 },
      },
    },
    {
      ...taskRun("check", "SKIPPED", 0, null),
      started_at_ms: null,
      error: '"load", on which it depends, FAILED',
    },
  ],
};

/** A task of the run above that waits for a person. */
export const APPROVAL: ApprovalSummary = {
  workflow_id: "etl.daily",
  workflow_instance_id: FANS.workflow_instance_id,
  task_id: "nested",
  task_instance_id: "ti-nested",
  message: "Publish 5,000 tables?\nThe checks found two rows without an order.",
  form: {
    share: { description: "Percent of the servers", default: null, type: "int", min: "1", max: "100" },
    window: { description: null, default: "now", enum: ["now", "tonight"] },
  },
  since_ms: NOW - 90_000,
  due_ms: NOW + 7_200_000,
  on_timeout: "reject",
  four_eyes: false,
  triggered_by: "ada",
};

const REFUSED: ApprovalSummary = {
  ...APPROVAL,
  ...{
    workflow_instance_id: RUN.workflow_instance_id,
    task_id: "pay",
    item_key: "eu",
    form: {},
    due_ms: null,
  },
  message: "Pay?",
  refusal: 'You triggered this run, and "pay" asks for four eyes: somebody else has to answer.',
};

/** The state of a UI that has been open for a while, showing `page`. */
export function state(width: number, height: number, page?: Page): State {
  const result = initialState([{ name: "live", host: "10.0.0.5", port: 5561 }], width, height, NOW);
  result.connection = {
    status: "connected",
    since: NOW - 60_000,
    latencyMs: 1.234,
    lastDataMs: NOW,
    error: null,
  };
  const summary = workflow("etl.daily", {
    name: DEFINITION.name,
    description: DEFINITION.description,
    cron: DEFINITION.cron,
    schedule_timezone: "UTC",
    next_firing_ms: FIRINGS[0] ?? null,
    params: DEFINITION.params,
    tasks: 5,
  });
  result.data = {
    info: INFO,
    aheadMs: 0,
    principals: null,
    workflows: [
      summary,
      workflow("etl.weekly", {
        cron: "0 30 4 * * MON",
        next_firing_ms: Date.UTC(2026, 2, 9, 4, 30),
        error: "etl/weekly.yml:2:1: unknown key",
      }),
      workflow("hello"),
      workflow("reports.sales"),
    ],
    runs: [
      run(0, "PENDING", { trigger: "tui" }),
      run(1, "RUNNING"),
      run(2, "COMPLETED"),
      run(3, "FAILED", { workflow_id: "hello", trigger: "cli", attempt: 2 }),
      run(4, "COMPLETED"),
      run(5, "CRASHED"),
      run(6, "CANCELLED", { workflow_id: "reports.sales", trigger: "listener:files" }),
    ],
    agents: AGENTS,
    events: [
      {
        seq: 1,
        timestamp_ms: NOW - 90_000,
        kind: "agents",
        level: "INFO",
        message: "Agent host-c registered",
      },
      {
        seq: 2,
        timestamp_ms: NOW - 50_000,
        kind: "agents",
        level: "WARN",
        message: "Agent host-c is lost: no heartbeat for 30 s",
      },
      {
        seq: 3,
        timestamp_ms: NOW - 9000,
        kind: "workflows",
        level: "INFO",
        message: "Workflow etl.daily changed (etl/daily.yml)",
      },
    ],
    eventsMissing: null,
    approvals: [APPROVAL, REFUSED],
    approvalsMissing: null,
    queue: QUEUE,
    queueMissing: null,
    forecast: FORECAST,
    forecastMissing: null,
    alerts: ALERTS,
    alertsMissing: null,
    files: new Map([[FANS.workflow_instance_id, FILES]]),
    outputs: new Map([[FANS.workflow_instance_id, OUTPUTS]]),
    items: new Map([[`${FANS.workflow_instance_id} load`, ITEMS]]),
    runDetails: new Map([RUN, SHARED, WAITING, FANS].map((one) => [one.workflow_instance_id, one])),
    workflowDetails: new Map([
      [
        "etl.daily",
        {
          summary,
          definition: DEFINITION,
          next_firings_ms: FIRINGS,
          source:
            'name: Daily load # the shop\ncron: "0 0 2 * * *"\ntasks:\n  extract:\n    config:\n      !Subprocess\n      cmd: python\n',
        },
      ],
    ]),
    detailErrors: new Map(),
  };
  result.log.buffer.merge(Array.from({ length: 60 }, (_, n) => line(n)));
  result.log.status = "live";
  if (page !== undefined) {
    result.tab = page.kind === "run" ? "runs" : page.kind === "workflow" ? "workflows" : page.kind;
    const pages = result.pages[result.tab];
    if (pages[0]?.kind === page.kind) pages[0] = page;
    else pages.push(page);
  }
  return result;
}
