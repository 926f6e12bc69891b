/**
 * The language of workflow files, and the form in which a workflow is stored with its runs and sent to agents. Each key is declared here
 * once; the stored form is plain JSON: durations in ms, times as ms since the epoch.
 */
import { z } from "zod";
import { CdktrError, errorMessage } from "../errors.ts";
import { allowFailure } from "./allow-failure.ts";
import { autoPause } from "./auto-pause.ts";
import { channels } from "./channels.ts";
import { concurrency } from "./concurrency.ts";
import { dependencies } from "./conditions.ts";
import { catchup, Schedules, schedule } from "./entry-fields.ts";
import { exitCodes } from "./exit-codes.ts";
import { expectations } from "./expect.ts";
import {
  Block,
  derived,
  expression,
  Field,
  IDENTIFIER,
  list,
  type NameCheck,
  named,
  notStored,
  oneOf,
  oneOrMany,
  templated,
  templates,
  VARIABLE_NAME,
  type ValueOf,
} from "./field.ts";
import { foreach, itemKey, matrix } from "./item-values.ts";
import { type TaskConfig, taskConfig } from "./kinds/index.ts";
import { workingDirectory } from "./kinds/kind.ts";
import { shell } from "./kinds/shell.ts";
import { notify, notifyOfRoot } from "./notify.ts";
import { outputName, problemOfOutputName } from "./output-name.ts";
import { isOwnVariable, isReservedVariable } from "./own-variables.ts";
import { Params } from "./param-fields.ts";
import { pool } from "./pool.ts";
import { priority } from "./priority.ts";
import { retention } from "./retention.ts";
import { calendars, pools } from "./root-fields.ts";
import {
  anyText,
  backoff,
  duration,
  fileGlob,
  filled,
  flag,
  formed,
  fraction,
  labelValue,
  name,
  processors,
  script,
  text,
  timestamp,
  timezone,
  whole,
} from "./scalars.ts";
import { secretSources, secretVariables } from "./secrets.ts";
import { size } from "./size.ts";
import type { RunStatus } from "./status.ts";

export { IDENTIFIER } from "./field.ts";
export type { TaskConfig } from "./kinds/index.ts";

const VARIABLE_HELP = "use letters, digits and _, and do not start with a digit";

const TASK_ID_HELP = "use letters, digits, _, - and ., at most 200, and start with a letter, a digit or _";

const taskIds = (): NameCheck => (id) => {
  if (IDENTIFIER.test(id) && id.length <= 200) return null;
  return { code: "E050", message: `${quote(id)} is not a valid task id`, help: TASK_ID_HELP };
};

const variableNames = (): NameCheck => (variable) => {
  if (!VARIABLE_NAME.test(variable)) {
    const message = `${quote(variable)} is not a valid name for an environment variable`;
    return { code: "E053", message, help: VARIABLE_HELP };
  }
  if (!isReservedVariable(variable)) return null;
  return { code: "E053", message: `${variable} is set by cdktr itself`, help: "choose another name" };
};

const secretNames = (): NameCheck => (secret) => {
  const isName = VARIABLE_NAME.test(secret);
  if (isName && !isOwnVariable(secret)) return null;
  const message = isName
    ? `${secret} is set by cdktr itself`
    : `${quote(secret)} is not a valid name for a secret`;
  return { code: "E053", message, help: isName ? "choose another name" : VARIABLE_HELP };
};

const outputNames = (): NameCheck => problemOfOutputName;

/** Names of labels, as agents accept them. */
const LABEL_NAME = /^[^=\x00-\x1f\x7f]{1,256}$/;

const labelNames = (): NameCheck => (label) => {
  if (LABEL_NAME.test(label)) return null;
  const message =
    label === "" ? "the name of a label is empty" : `${quote(label)} is not a valid name for a label`;
  return { code: "E055", message, help: "use the names of labels that agents have, without =" };
};

const runsOn = () =>
  named(LABEL_NAME, labelNames, templated(labelValue(), "string").at("placement"))
    .help("such as {zone: eu}, for agents that have --label zone=eu")
    .sparse();

/** In place of a name that was left out, until the id is known. No name is empty. */
const NAMELESS = "";

const displayName = () => name().orElse(NAMELESS).describe("Display name; by default the id");

const env = () =>
  named(VARIABLE_NAME, variableNames, templated(text(), "string"))
    .default({})
    .describe("Environment variables of the tasks; those of a task override those of the workflow");

const Retry = new Block({
  max_attempts: templated(whole(1, 1000), "int", 1).describe(
    "Maximum number of attempts, including the first",
  ),
  delay: templated(duration(0), "duration")
    .help('such as "10s" or "5m"')
    .default(1000)
    .as("delay_ms")
    .describe("Delay before the second attempt"),
  backoff: templated(backoff(), "double")
    .default(1)
    .describe("Factor by which each further delay grows; constant is 1, exponential is 2"),
  max_delay: templated(duration(1), "duration")
    .help('such as "10m"')
    .sparse()
    .as("max_delay_ms")
    .describe("No delay is longer"),
  jitter: templated(fraction(), "double")
    .sparse()
    .describe("Fraction by which each delay varies at random, in both directions, from 0 to 1"),
  on_exit_codes: exitCodes()
    .help("such as [75, 100-110]")
    .sparse()
    .describe(
      "Only failures with these exit codes are tried again: no timeouts, signals, or programs that cannot start",
    ),
  templates: templates(),
});

const Repeat = new Block({
  every: duration(100)
    .help("such as every: 30s")
    .as("every_ms")
    .describe("Time between the end of a try and the next one"),
  until: expression("bool", "until")
    .help('such as until: "${{ exit_code == 0 }}"')
    .describe("Condition over exit_code and outputs of a try: if it is true, the task is over"),
  max_attempts: whole(1, 1_000_000).sparse().describe("Maximum number of tries"),
  timeout: duration(1)
    .sparse()
    .as("timeout_ms")
    .describe("No further try begins later than this after the first one"),
});

const BACKGROUND = ["kill", "wait", "leave"] as const;
/** What happens to processes that are still running when the task's own process has exited. */
export type Background = (typeof BACKGROUND)[number];

/** How long a task may take to end, ms: the principal and the service manager wait for it. */
const LONGEST_GRACE_MS = 3_600_000;

const Limits = new Block({
  memory: size().sparse().as("memory_bytes").describe("The most memory, such as 2GiB"),
  cpu: processors().sparse().describe("The most processors at once, such as 1.5"),
  pids: whole(1, 4_194_304).sparse().describe("The most processes and threads"),
});

const WHO = {
  name: displayName(),
  description: text().optional().describe("For people"),
  depends: dependencies()
    .default([])
    .describe(
      "Ids of the tasks that must complete first; or a mapping from each id to completed, failed, skipped or ended, or a list of these",
    ),
  accepts: derived(
    z.record(z.string(), z.array(z.string())) as unknown as z.ZodType<Record<string, RunStatus[]>>,
  ),
  when: expression("bool", "decision")
    .sparse()
    .describe("Condition, such as ${{ params.full }}: if it is false, the task is SKIPPED"),
};
const config = () =>
  taskConfig
    .help("say what the task does: config: !Subprocess, with its cmd on the next line")
    .describe("What the task does; its tag says which kind it is");
const HOW = {
  retry: Retry.orElse({ max_attempts: 1, delay_ms: 0, backoff: 1 })
    .help('such as {max_attempts: 3, delay: "10s", backoff: exponential}')
    .describe("How often and how soon a failed task is tried again"),
  timeout: templated(duration(1), "duration")
    .optional()
    .as("timeout_ms")
    .describe("An attempt that takes longer is stopped and counts as failed"),
  allow_failure: allowFailure().describe(
    "Whether it may fail without making its run fail: true, or {exit_codes: [...]} for some failures",
  ),
  background: oneOf(...BACKGROUND)
    .sparse()
    .describe(
      "Processes that it leaves running at its end: kill (the default) ends them, wait waits for them, leave lets them run",
    ),
  repeat: Repeat.sparse().describe(
    "Runs it again and again until a condition holds; in between, no agent is held",
  ),
  foreach: foreach()
    .sparse()
    .describe("Runs the task once for each item of this list: a literal one, a parameter, or an output"),
  matrix: matrix()
    .sparse()
    .describe(
      "Runs the task once for each combination of these values, with those of include and without those of exclude",
    ),
  key: itemKey()
    .sparse()
    .describe(`Names each item, such as \${{ item.id }}; by default its place in the list, from 0`),
  max_parallel: whole(1, 10_000).sparse().describe("Maximum number of items under way at once"),
  fail_fast: flag().sparse().describe("Whether the first item that fails cancels the others"),
  runs_on: runsOn().describe(
    "Labels that an agent must have to run it, instead of those of the workflow; {} for any agent",
  ),
  pool: pool().describe(
    "Slots of pools that it takes while it runs, instead of those of the workflow; {} for none",
  ),
  env: env(),
  outputs: list(outputName(), { min: 1, unique: true })
    .help("such as [rows]")
    .sparse()
    .describe("Names of outputs that it must have published when it completes"),
  env_file: templated(filled(), "string")
    .sparse()
    .describe("File with lines NAME=VALUE, read on the agent at each attempt; env overrides it"),
  stdin: templated(anyText(), "string")
    .sparse()
    .describe("What the task reads from its standard input; by default nothing"),
  grace: templated(duration(0, LONGEST_GRACE_MS), "duration")
    .sparse()
    .as("grace_ms")
    .describe("Time between TERM and KILL when the task is ended; by default 5s"),
  limits: Limits.help("such as {memory: 2GiB, cpu: 1.5, pids: 500}")
    .sparse()
    .describe("What the task may use of the host, as far as the agent can enforce it"),
  user: filled().sparse().describe("The user as whom it runs; for agents that run as root"),
  secrets: secretVariables(variableNames).describe(
    "Secrets of the workflow that the task gets as environment variables: their names, or names by variable",
  ),
  templates: templates(),
};

/** A task as it is stored. */
const Task = new Block({ ...WHO, config: config(), ...HOW });

/** A task as a file has it: `run: TEXT` is short for `config: !Shell {script: TEXT}`. */
const WORK = {
  run: script()
    .help("such as run: echo hello; a script of several lines goes below run: |")
    .optional()
    .describe("A script, short for config: !Shell with this script"),
  shell: shell(),
  working_directory: workingDirectory("a relative one starts where the task would start without it"),
  config: config().optional(),
};
const TaskOfFile = new Block({ ...WHO, ...WORK, ...HOW });
const AnyTask = new Field(
  TaskOfFile.file.transform(
    ({ run, shell, working_directory, ...task }): ValueOf<typeof Task> => ({
      ...task,
      config: configOf({ run, shell, working_directory, config: task.config }),
    }),
  ),
  Task.stored,
  TaskOfFile.traits,
);

/** What a task does; see check-work.ts for what is wrong with it. */
function configOf({
  run,
  shell,
  working_directory,
  config,
}: Pick<ValueOf<typeof TaskOfFile>, "run" | "shell" | "working_directory" | "config">): TaskConfig {
  if (config === null || run !== null) return { type: "Shell", script: run ?? "", shell, working_directory };
  // Some kinds run nowhere.
  return working_directory === null || !("working_directory" in config)
    ? config
    : { ...config, working_directory };
}

/**
 * What tasks do that do not say it themselves. Not stored: it is put into the definition when the file is read, see defaults.ts. A value is
 * taken as a whole; environment variables are taken one by one.
 */
export const Defaults = new Block(
  {
    retry: Retry.help('such as {max_attempts: 3, delay: "10s", backoff: exponential}')
      .sparse()
      .describe("How often and how soon a failed task is tried again"),
    timeout: templated(duration(1), "duration")
      .sparse()
      .as("timeout_ms")
      .describe("Maximum time of an attempt of a task"),
    grace: templated(duration(0, LONGEST_GRACE_MS), "duration")
      .sparse()
      .as("grace_ms")
      .describe("Time between TERM and KILL when a task is ended"),
    background: oneOf(...BACKGROUND)
      .sparse()
      .describe("What happens to processes that a task leaves running at its end"),
    shell: shell().describe("The interpreter of scripts and its options"),
    working_directory: workingDirectory("a relative one starts where the task would start without it"),
    runs_on: runsOn().describe("Labels that an agent must have, for tasks and workflows without runs_on"),
    env: named(VARIABLE_NAME, variableNames, templated(text(), "string"))
      .sparse()
      .describe("Environment variables; those of a workflow or a task override them"),
    notify: notify().describe("Who is told about what, for workflows without notify"),
    templates: templates(),
  },
  "What tasks do that do not say it themselves",
);
export type Defaults = ValueOf<typeof Defaults>;

/** The settings of a directory of workflow files: the file `_cdktr.yml` there. */
export const DirectorySettings = new Block(
  {
    defaults: Defaults.sparse().describe("Defaults of the workflows in this directory and below it"),
    pools: pools().describe("The number of slots of each pool; in the workflow directory itself only"),
    calendars: calendars().describe(
      "The days on which schedules may fire, by the name of the calendar; in the workflow directory itself only",
    ),
    channels: channels().describe(
      "Where alerts are sent, by the name of the channel; in the workflow directory itself only",
    ),
    notify: notifyOfRoot().describe(
      "Who is told about what, for workflows that do not say it, and about what belongs to no workflow; in the workflow directory itself only",
    ),
  },
  "Settings of a directory of cdktr workflows",
);

/** A mapping by id in the file, stored as a list in the order of the file (which the parser preserves). */
const tasksById = named(IDENTIFIER, taskIds, AnyTask);
const Tasks = new Field(
  tasksById.file
    .meta({ minProperties: 1, description: "The tasks, by id" })
    .transform((tasks) => Object.entries(tasks).map(([id, task]) => identified(id, task))),
  z.array(Task.identified()).min(1),
  tasksById.traits,
);

const { depends: _a, accepts: _b, when: _c, ...WHO_OF_HOOKS } = WHO;
const {
  allow_failure: _d,
  repeat: _k,
  outputs: _e,
  foreach: _f,
  matrix: _g,
  key: _h,
  max_parallel: _i,
  fail_fast: _j,
  ...HOW_OF_HOOKS
} = {
  ...HOW,
  timeout: templated(duration(1), "duration", 300_000)
    .default(300_000)
    .as("timeout_ms")
    .describe("An attempt that takes longer is stopped and counts as failed"),
};
/** A task that runs when all others are over. Nothing limits its time but itself: the time limit of the run is about those others. */
const Hook = new Block({ ...WHO_OF_HOOKS, config: config(), ...HOW_OF_HOOKS });
const HookOfFile = new Block({ ...WHO_OF_HOOKS, ...WORK, ...HOW_OF_HOOKS });

const hook = (on: string) =>
  new Field(
    HookOfFile.file.transform(
      ({ run, shell, working_directory, ...task }): ValueOf<typeof Hook> => ({
        ...task,
        name: task.name === NAMELESS ? on : task.name,
        config: configOf({ run, shell, working_directory, config: task.config }),
      }),
    ),
    Hook.stored,
    HookOfFile.traits,
  ).sparse();

const Hooks = new Block(
  {
    on_success: hook("on_success").describe("Runs if the run COMPLETED"),
    on_failure: hook("on_failure").describe(
      "Runs if the run FAILED or CRASHED, also because it took too long",
    ),
    on_cancel: hook("on_cancel").describe("Runs if the run was CANCELLED"),
    on_exit: hook("on_exit").describe("Runs whatever the end"),
  },
  "Tasks that run when all others are over; they do not change the status of the run",
);

const Webhook = new Block(
  {
    path: formed(
      /^\/[A-Za-z0-9._~/-]{1,200}$/,
      "is not the path of a URL",
      'start with "/", followed by letters, digits and . _ ~ - /',
    ).describe("Path of the URL"),
    secret: formed(
      /^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+|none)$/,
      "must say where the secret is",
      "write env:VARIABLE, file:PATH, or none; do not put the secret itself into the workflow file",
    ).describe("Where to find the secret that senders sign with: env:VARIABLE, file:PATH, or none"),
    method: oneOf("POST", "PUT", "GET").default("POST").describe("Method of the request"),
    tolerance: duration(1, 86_400_000)
      .default(300_000)
      .as("tolerance_ms")
      .describe("How much X-Cdktr-Timestamp of a request may differ from the current time"),
  },
  "Runs the workflow when an HTTP request arrives",
);

const FileTrigger = new Block(
  {
    glob: filled().describe("Files to watch; a relative one starts at the listener's working directory"),
    events: list(oneOf("created", "changed", "deleted"), { min: 1, unique: true })
      .default(["created", "changed"])
      .describe("Which events on these files count"),
    settle: duration(1)
      .default(500)
      .as("settle_ms")
      .describe("How long a file must be quiet before it counts"),
    catchup: oneOf("all", "none")
      .default("all")
      .describe(
        "What happens to changes that were made while no listener ran: all trigger runs when it starts, or none",
      ),
  },
  "Runs the workflow when files are created, changed or deleted",
);

const AfterWorkflow = new Block(
  {
    id: formed(
      /^[A-Za-z0-9_*][A-Za-z0-9_.*-]*$/,
      "is not a workflow id",
      "write its path with dots: etl/daily.yml is etl.daily, and etl.* is every workflow in etl",
    ).describe(
      "Id of the other workflow, or a glob: * stands for any characters of a part of the id, ** for any characters",
    ),
    status: list(oneOf("COMPLETED", "FAILED", "CRASHED", "CANCELLED", "SKIPPED"), { min: 1, unique: true })
      .default(["COMPLETED"])
      .describe("Statuses of its runs that trigger this workflow"),
  },
  "Runs the workflow after a run of another one",
);

const Triggers = new Block({
  webhook: oneOrMany(Webhook, "webhook", "webhooks")
    .optional()
    .describe("HTTP requests: one mapping, or a list of them"),
  file: oneOrMany(FileTrigger, "file", "files")
    .optional()
    .describe("Files that are created, changed or deleted: one mapping, or a list of them"),
  workflow: oneOrMany(AfterWorkflow, "workflow", "workflows")
    .optional()
    .describe("Runs of other workflows: one mapping, or a list of them"),
  webhooks: derived(z.array(Webhook.stored)),
  files: derived(z.array(FileTrigger.stored)),
  workflows: derived(z.array(AfterWorkflow.stored)),
});

/** A workflow file. */
export const Workflow = new Block(
  {
    name: displayName(),
    description: text().optional().describe("For people"),
    cron: schedule()
      .optional()
      .describe(
        "When it fires: 5 fields, or 6 if the first one is the second; or a list of schedules with settings of their own",
      ),
    schedules: derived(Schedules),
    timezone: timezone()
      .optional()
      .describe("IANA name of the time zone of cron; by default the principal's"),
    start_time: timestamp().optional().as("start_time_ms").describe("No firing before this instant"),
    catchup: catchup()
      .default("latest")
      .describe(
        "What happens to firings that were missed while the principal was down, or that no agent took before the next one was due",
      ),
    on: Triggers.sparse().describe("Further events that run it, see cdktr docs listeners"),
    failover: oneOf("rerun", "never")
      .default("rerun")
      .describe(
        "What happens to a run whose agent died: another agent runs it again, or it is not run again",
      ),
    timeout: duration(1)
      .optional()
      .as("timeout_ms")
      .describe("A run that takes longer, with all its attempts, is stopped and counts as failed"),
    concurrency: concurrency().describe(
      "How many runs may run at once, of this workflow or of a group; see cdktr docs concurrency",
    ),
    auto_pause: autoPause().describe(
      "Pauses the workflow when so many of its runs in a row have failed, see cdktr docs pauses",
    ),
    notify: notify().describe("Who is told about what, see cdktr docs alerts; [] for nobody"),
    expect: expectations().describe(
      "What people rely on: whatever breaks it is shown and told as late or missed, see cdktr docs expectations",
    ),
    retention: retention().describe(
      "How much of its history is kept: runs that are older, or beyond a number, are deleted; see cdktr docs retention",
    ),
    runs_on: runsOn().describe("Labels that an agent must have to run the tasks"),
    priority: priority()
      .sparse()
      .describe(
        "Whose tasks go first when agents or pools are short: 0 to 9, by default 5; waiting raises it",
      ),
    pool: pool().describe(
      "Slots of pools that each task takes while it runs: the name of a pool, or a mapping from names to numbers",
    ),
    placement: oneOf("together", "spread")
      .sparse()
      .describe(
        "Which agents run the tasks: together (the default) is one agent as far as labels allow, spread is for each ready task the agent with most room",
      ),
    env: env(),
    defaults: notStored(Defaults).describe("What tasks do that do not say it themselves"),
    secrets: secretSources(secretNames).describe(
      "Where the secrets of the tasks are, by name: {file: PATH}, {env: VARIABLE}, {command: [PROGRAM, ARGUMENT…]} or {store: NAME}",
    ),
    files: list(fileGlob(), { min: 1, unique: true })

      .sparse()
      .describe(
        "Files that travel with its runs: paths and globs, relative to the workflow file. Every task starts in a directory with them",
      ),
    outputs: named(IDENTIFIER, outputNames, templated(text(), "string").at("result"))
      .help('such as {rows: "${{ tasks.extract.outputs.rows }}"}')
      .sparse()
      .describe("Outputs of its runs, computed from those of the tasks when a run has completed"),
    params: Params.describe("Parameters of a run; tasks find them as CDKTR_PARAM_NAME"),
    tasks: Tasks.help("add at least one task"),
    hooks: Hooks.sparse().describe("Tasks that run when all others are over, whatever the end"),
    language: derived(z.number()),
  },
  "A cdktr workflow",
);

/** The stored forms. */
export const WorkflowDefinition = Workflow.identified();
export const ParamDefinitions = Params.stored;
export const TriggerDefinitions = Triggers.stored;

export type WorkflowDefinition = z.output<typeof WorkflowDefinition>;
export type TaskDefinition = WorkflowDefinition["tasks"][number];
export type RetryPolicy = ValueOf<typeof Retry>;
export type TriggerDefinitions = z.output<typeof TriggerDefinitions>;

/**
 * Parses a definition from its stored JSON, with defaults for everything that was unknown when it was stored.
 * @throws CdktrError when it is damaged
 */
export function readDefinition(json: string): WorkflowDefinition {
  try {
    return WorkflowDefinition.parse(JSON.parse(json));
  } catch (error) {
    const [issue] = error instanceof z.ZodError ? error.issues : [];
    const reason = issue === undefined ? errorMessage(error) : `${issue.path.join(".")}: ${issue.message}`;
    throw new CdktrError(`The stored definition is damaged: ${reason}`, { cause: error });
  }
}

/** Adds the id to what a file says about a workflow or a task; it is also the name if there is none. */
export function identified<T extends { readonly name: string }>(id: string, value: T): T & { id: string } {
  return { id, ...value, name: value.name === NAMELESS ? id : value.name };
}

function quote(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);
}
