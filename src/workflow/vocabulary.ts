/**
 * Words of other tools for keys of workflow files, for the help of errors: an unknown key that is among them points at the key that is
 * meant. A row applies only where that key exists, and the first one that does wins.
 */

/** A mapping of workflow files in which foreign words are looked for. */
export type WordPlace =
  | "workflow"
  | "task"
  | "config"
  | "retry"
  | "param"
  | "on"
  | "hooks"
  | "concurrency"
  | "hook"
  | "schedule";

/** What a foreign word means. */
export interface Meaning {
  /** The key that is meant; null if there is none. */
  readonly key: string | null;
  readonly help: string;
}

interface Row {
  readonly places: readonly WordPlace[];
  /** In lower case, with `_` for `-` and before inner capitals. */
  readonly words: readonly string[];
  /** The key that is meant; absent if nothing here does the same. */
  readonly means?: string;
  /** What to write. By default that the key is called so here, with the value if it can stand there as it is. */
  readonly help?: string | ((value: unknown) => string | undefined);
}

const EVERYWHERE: readonly WordPlace[] = ["workflow", "task"];

const ROWS: readonly Row[] = [
  {
    places: ["workflow"],
    words: ["steps", "jobs", "stages", "nodes", "dag"],
    means: "tasks",
    help: 'it is called "tasks" here: a mapping with an id for each task',
  },
  {
    places: ["workflow"],
    words: ["schedule", "schedule_interval", "schedules", "crontab"],
    means: "cron",
    help: (value) =>
      named("cron", scalarText(value) === undefined ? '"0 2 * * *"' : `"${scalarText(value)}"`),
  },
  {
    places: ["workflow"],
    words: ["trigger", "triggers", "events"],
    means: "on",
    help: 'a schedule is "cron" here, and other events are under "on"',
  },
  {
    places: ["workflow"],
    words: ["parameters", "inputs", "args", "arguments"],
    means: "params",
    help: 'it is called "params" here: params: {day: today}',
  },
  {
    places: EVERYWHERE,
    words: ["sla", "slas", "deadline", "max_duration", "finish_by", "start_within", "at_least_every"],
    help: 'write at the workflow what people rely on: expect: {max_duration: 2h, finish_by: "06:00"}',
  },
  {
    places: ["workflow"],
    words: ["on_failure", "on_success", "on_cancel", "on_exit", "handlers", "on_error", "finally"],
    means: "hooks",
    help: 'it belongs to "hooks": hooks: {on_success: …, on_failure: …, on_cancel: …, on_exit: …}',
  },
  {
    places: ["workflow"],
    words: [
      "concurrency_policy",
      "overlap_policy",
      "overlap",
      "multiple_executions",
      "prohibit_overlap",
      "synchronization",
    ],
    means: "concurrency",
    help: 'it is called "concurrency" here: concurrency: {max_runs: 1, on_conflict: queue}, or queue_latest, skip, cancel_running',
  },
  {
    places: ["workflow"],
    words: ["max_active_runs", "max_runs", "max_concurrent_runs", "max_instances"],
    means: "concurrency",
    help: (value) => named("concurrency", `${wholeNumber(value) ?? 1}`),
  },
  {
    places: ["concurrency"],
    words: ["limit", "max", "maximum", "max_active_runs", "count", "size", "slots", "max_concurrency"],
    means: "max_runs",
    help: (value) => named("max_runs", `${wholeNumber(value) ?? 1}`),
  },
  {
    places: ["concurrency"],
    words: ["key", "name", "queue", "resource", "resource_group", "lock", "mutex", "semaphore"],
    means: "group",
    help: (value) => named("group", scalarText(value)),
  },
  {
    places: ["concurrency"],
    words: [
      "policy",
      "strategy",
      "behavior",
      "on_full",
      "overlap",
      "overlap_policy",
      "concurrency_policy",
      "on_overlap",
    ],
    means: "on_conflict",
    help: 'it is called "on_conflict" here: queue, queue_latest, skip or cancel_running',
  },
  {
    places: ["concurrency"],
    words: ["cancel_in_progress"],
    means: "on_conflict",
    help: (value) => named("on_conflict", value === "false" ? "queue_latest" : "cancel_running"),
  },
  {
    places: ["workflow"],
    words: ["concurrency_group", "resource_group"],
    means: "concurrency",
    help: 'it belongs to "concurrency": concurrency: {group: NAME}',
  },
  {
    places: ["workflow"],
    words: ["max_active_tasks", "max_active_steps", "parallelism"],
    help: "an agent runs as many tasks at once as its CDKTR_AGENT_MAX_TASKS says; the items of a fan-out have max_parallel",
  },
  {
    places: ["schedule"],
    words: ["schedule", "expression", "cron_expression", "spec", "crontab", "at", "when", "time", "crons"],
    means: "cron",
    help: (value) =>
      named("cron", scalarText(value) === undefined ? '"0 2 * * *"' : `"${scalarText(value)}"`),
  },
  {
    places: ["schedule"],
    words: ["time_zone", "tz", "schedule_timezone", "timezone_name"],
    means: "timezone",
    help: (value) => named("timezone", scalarText(value) ?? "Europe/London"),
  },
  {
    places: ["schedule"],
    words: ["parameters", "inputs", "args", "arguments", "variables", "vars", "with", "input"],
    means: "params",
    help: 'it is called "params" here: params: {full: true}',
  },
  {
    places: ["schedule"],
    words: ["start_date", "not_before", "starts_at", "start_at", "start", "from"],
    means: "start_time",
    help: 'it is called "start_time" here: start_time: 2025-01-20T02:00:00Z',
  },
  {
    places: ["schedule"],
    words: ["end_date", "not_after", "ends_at", "end_at", "end", "until", "stop", "expires"],
    means: "end_time",
    help: 'it is called "end_time" here: end_time: 2026-01-20T02:00:00Z',
  },
  {
    places: ["workflow"],
    words: ["end_date", "not_after", "ends_at", "end_at", "end_time"],
    help: 'it belongs to an entry of cron: cron: {cron: "0 2 * * *", end_time: 2026-01-20T02:00:00Z}',
  },
  {
    places: ["schedule"],
    words: [
      "starting_deadline_seconds",
      "catchup_limit",
      "misfire_grace_time",
      "misfire_window",
      "catch_up_window",
      "late_maximum_delay",
    ],
    means: "catchup_window",
    help: (value) =>
      named("catchup_window", wholeNumber(value) === undefined ? "6h" : `${wholeNumber(value)}s`),
  },
  {
    places: ["workflow"],
    words: [
      "starting_deadline_seconds",
      "catchup_limit",
      "misfire_grace_time",
      "misfire_window",
      "catch_up_window",
      "catchup_window",
    ],
    help: 'it belongs to an entry of cron: cron: {cron: "0 2 * * *", catchup_window: 6h}',
  },
  {
    places: ["schedule"],
    words: ["catch_up", "missed", "misfire", "misfire_policy", "recover_missed_schedules", "catch_up_policy"],
    means: "catchup",
    help: 'it is called "catchup" here: none, latest or all',
  },
  {
    places: ["schedule"],
    words: ["jitter_seconds", "random_delay", "randomized_delay_sec", "splay", "spread"],
    means: "jitter",
    help: (value) => named("jitter", wholeNumber(value) === undefined ? "5m" : `${wholeNumber(value)}s`),
  },
  {
    places: ["workflow"],
    words: ["jitter", "jitter_seconds", "random_delay", "randomized_delay_sec", "splay"],
    help: 'it belongs to an entry of cron: cron: {cron: "0 2 * * *", jitter: 5m}',
  },
  {
    places: ["schedule"],
    words: ["holidays", "days", "business_days", "workdays", "skip_days", "exclude", "exclusions"],
    means: "calendar",
    help: 'it is called "calendar" here: the name of one of calendars: in _cdktr.yml of the workflow directory',
  },
  {
    places: ["workflow"],
    words: ["calendar", "holidays", "business_days", "skip_days"],
    help: 'it belongs to an entry of cron: cron: {cron: "0 2 * * *", calendar: workdays}',
  },
  {
    places: ["workflow"],
    words: ["start_date", "not_before", "starts_at", "start_at"],
    means: "start_time",
    help: 'it is called "start_time" here: start_time: 2025-01-20T02:00:00Z',
  },
  {
    places: ["workflow"],
    words: ["default_args", "task_defaults"],
    means: "defaults",
    help: 'it is called "defaults" here: defaults: {retry: {max_attempts: 3}, timeout: 1h}',
  },
  {
    places: ["workflow"],
    words: ["options"],
    means: "params",
    help: 'it is called "params" here: params: {day: today}',
  },
  {
    places: ["workflow"],
    words: ["handler_on", "on_failure_callback", "on_success_callback", "after_script"],
    means: "hooks",
    help: 'it belongs to "hooks": hooks: {on_success: …, on_failure: …, on_cancel: …, on_exit: …}',
  },
  {
    places: ["workflow"],
    words: ["notification", "notifications", "alerts", "alert", "mail_on", "mailto", "email_on_failure"],
    means: "notify",
    help: 'it is called "notify" here: notify: [{on: [failed], to: [ops]}], with channels: {ops: {mail: …}} in _cdktr.yml',
  },
  {
    places: ["workflow"],
    words: ["entrypoint", "templates", "sequence", "task_groups", "commands"],
    means: "tasks",
    help: 'it is called "tasks" here: a mapping with an id for each task, and depends says their order',
  },
  {
    places: ["workflow"],
    words: ["time_zone", "tz", "schedule_timezone"],
    means: "timezone",
    help: (value) => named("timezone", scalarText(value) ?? "Europe/London"),
  },
  {
    places: ["workflow"],
    words: ["title", "display_name", "workflow_name"],
    means: "name",
  },
  {
    places: ["workflow"],
    words: ["doc", "doc_md", "summary", "comment"],
    means: "description",
  },
  {
    places: ["workflow"],
    words: ["permissions", "access", "access_control", "service_account_name"],
    help: "there are no permissions in workflow files: keys of clients have roles, see cdktr docs security",
  },
  {
    places: ["workflow"],
    words: ["api_version", "metadata", "spec", "kind", "version", "namespace", "uuid"],
    help: "remove it: a workflow file is nothing but name, cron, params, tasks and the like",
  },
  {
    places: ["workflow"],
    words: [
      "enabled",
      "disabled",
      "is_paused_upon_creation",
      "schedule_enabled",
      "execution_enabled",
      "suspend",
    ],
    help: "to let it rest for a while: cdktr workflow pause ID; without cron and on, it runs only when somebody triggers it",
  },
  {
    places: ["workflow"],
    words: ["id", "dag_id", "workflow_id"],
    help: "the id is the path of the file: etl/daily.yml is etl.daily",
  },
  {
    places: ["task"],
    words: [
      "needs",
      "depends_on",
      "dependencies",
      "dependency",
      "upstream",
      "upstreams",
      "after",
      "requires",
      "run_after",
    ],
    means: "depends",
    help: (value) => named("depends", listText(value) ?? "[extract]"),
  },
  {
    places: ["task"],
    words: [
      "command",
      "commands",
      "cmd",
      "script",
      "bash",
      "bash_command",
      "shell_command",
      "sh",
      "exec",
      "execute",
    ],
    means: "run",
    help: (value) => named("run", lineText(value) ?? "echo hello"),
  },
  {
    places: ["task"],
    words: ["type", "kind", "operator", "executor"],
    means: "config",
    help: "the kind of a task is the tag of its config: config: !Subprocess",
  },
  {
    places: ["task"],
    words: ["image", "container", "docker"],
    help: "there are no containers here: run docker as the program of the task",
  },
  {
    places: ["task"],
    words: ["uses"],
    help: "there are no actions here: do what it does in run, such as run: git clone …",
  },
  { places: ["task"], words: ["id", "task_id"], help: "the id is the key above" },
  {
    places: ["task"],
    words: ["with_items", "with_param", "with_sequence", "loop", "for_each", "each", "items", "expand"],
    means: "foreach",
  },
  {
    places: ["task"],
    words: ["strategy"],
    means: "matrix",
    help: 'it is called "matrix" here: matrix: {os: [debian, ubuntu]}, with fail_fast and max_parallel beside it',
  },
  {
    places: ["task"],
    words: ["trigger_rule", "trigger_rules", "run_if"],
    means: "depends",
    help: (value) => afterRule(value),
  },
  {
    places: ["task"],
    words: ["depends_on_past", "wait_for_downstream"],
    help: "a task waits for tasks of its own run only",
  },
  {
    places: ["task"],
    words: ["rules", "only", "except"],
    means: "when",
    help: 'it is called "when" here: when: ${{ params.region == "eu" }}',
  },
  {
    places: ["task"],
    words: ["python_callable", "python", "python_code", "code"],
    means: "config",
    help: "such as config: !UvPython {script: …}, or run: with shell: python3",
  },
  {
    places: ["task"],
    words: ["output", "publishes", "do_xcom_push", "register", "results"],
    means: "outputs",
    help: 'it is called "outputs" here: outputs: [rows], and the task writes rows=… to the file named in CDKTR_OUTPUT',
  },
  {
    places: ["task"],
    words: ["repeat_policy", "poll", "poke_interval", "until", "wait_until"],
    means: "repeat",
    help: 'it is called "repeat" here: repeat: {every: 30s, until: "${{ exit_code == 0 }}"}',
  },
  {
    places: ["task"],
    words: ["dotenv", "env_files", "envfile"],
    means: "env_file",
    help: (value) => named("env_file", scalarText(value) ?? ".env"),
  },
  {
    places: ["task"],
    words: ["script_interpreter", "interpreter"],
    means: "shell",
    help: (value) => named("shell", scalarText(value) ?? "python3"),
  },
  {
    places: ["task"],
    words: ["input", "std_in"],
    means: "stdin",
  },
  {
    places: ["task"],
    words: [
      "kill_timeout",
      "stop_timeout",
      "grace_period",
      "termination_grace_period_seconds",
      "max_clean_up_time_sec",
    ],
    means: "grace",
    help: (value) => named("grace", `${wholeNumber(value) ?? 30}s`),
  },
  {
    places: ["task"],
    words: ["run_as", "run_as_user", "become_user"],
    means: "user",
    help: 'it is called "user" here: user: etl, for agents that run as root',
  },
  {
    places: ["task"],
    words: ["resources", "memory", "cpu", "mem_limit", "ulimits"],
    means: "limits",
    help: 'it is called "limits" here: limits: {memory: 2GiB, cpu: 1.5}',
  },
  {
    places: ["task"],
    words: ["title", "display_name", "label", "task_name"],
    means: "name",
  },
  {
    places: ["task"],
    words: ["doc", "doc_md", "summary", "comment"],
    means: "description",
  },
  {
    places: ["task"],
    words: [
      "on_failure",
      "on_success",
      "on_failure_callback",
      "on_success_callback",
      "error_handler",
      "errorhandler",
    ],
    means: "depends",
    help: "write a task that depends on it: depends: {ID: failed}, or hooks of the workflow",
  },
  {
    places: ["task"],
    words: ["before_script", "pre_exec", "setup"],
    means: "depends",
    help: "put it at the start of run, or write a task before it and depends",
  },
  {
    places: ["task"],
    words: ["after_script", "post_exec", "teardown"],
    means: "depends",
    help: "write a task that depends on it: depends: {ID: ended}",
  },
  {
    places: ["task"],
    words: ["email_on_failure", "email_on_retry", "mail_on", "mail_on_error"],
    help: "write it at the workflow: notify: [{on: [failed], to: [ops]}], see cdktr docs alerts",
  },
  {
    places: ["task"],
    words: ["services", "volumes", "image_pull_policy"],
    help: "there are no containers here: run docker as the program of the task",
  },
  {
    places: ["task"],
    words: ["jobref", "sub_dag", "sub_workflow"],
    help: "write an on: {workflow: {id: …}} in the other workflow, or run: cdktr run ID --wait",
  },
  {
    places: ["task"],
    words: ["parallelism", "parallel", "max_concurrency", "max_active_tis_per_dag"],
    means: "max_parallel",
  },
  {
    places: ["task"],
    words: ["if", "condition", "conditions", "only_if", "unless", "preconditions"],
    means: "when",
  },
  {
    places: ["task"],
    words: [
      "continue_on_error",
      "continue_on",
      "ignore_errors",
      "ignore_failure",
      "allow_fail",
      "allowed_to_fail",
    ],
    means: "allow_failure",
  },
  {
    places: EVERYWHERE,
    words: ["environment", "vars", "variables", "envs", "environment_variables"],
    means: "env",
    help: 'it is called "env" here: env: {NAME: value}',
  },
  {
    places: ["task"],
    words: ["retries", "max_retries", "retry_count"],
    means: "retry",
    help: (value) =>
      `it is called "retry" here: retry: {max_attempts: ${(wholeNumber(value) ?? 2) + 1}}, which counts the first one`,
  },
  {
    places: ["task"],
    words: ["attempts", "max_attempts", "tries"],
    means: "retry",
    help: (value) => named("retry", `{max_attempts: ${wholeNumber(value) ?? 3}}`),
  },
  {
    places: ["task"],
    words: ["retry_delay", "retry_interval", "retry_policy", "retry_strategy", "backoff", "delay"],
    means: "retry",
    help: 'it belongs to "retry": retry: {max_attempts: 3, delay: 10s, backoff: exponential}',
  },
  {
    places: EVERYWHERE,
    words: ["timeout_minutes", "timeout_in_minutes"],
    means: "timeout",
    help: (value) => named("timeout", `${wholeNumber(value) ?? 5}m`),
  },
  {
    places: EVERYWHERE,
    words: ["timeout_seconds", "timeout_sec", "timeout_in_seconds", "active_deadline_seconds"],
    means: "timeout",
    help: (value) => named("timeout", `${wholeNumber(value) ?? 90}s`),
  },
  {
    places: EVERYWHERE,
    words: ["execution_timeout", "dagrun_timeout", "max_duration", "deadline", "time_limit"],
    means: "timeout",
    help: 'it is called "timeout" here: timeout: 5m',
  },
  {
    places: ["task"],
    words: ["cwd", "dir", "directory", "workdir", "working_dir"],
    means: "working_directory",
    help: (value) => named("working_directory", scalarText(value) ?? "./work"),
  },
  {
    places: ["task"],
    words: ["cwd", "dir", "directory", "workdir", "working_dir", "working_directory", "args"],
    means: "config",
    help: 'it belongs to "config": config: !Subprocess {cmd: ls, working_directory: ./work}',
  },
  {
    places: EVERYWHERE,
    words: ["node_selector", "node", "host", "queue", "agent", "worker", "labels", "affinity"],
    means: "runs_on",
    help: 'it is called "runs_on" here, and names labels of agents: runs_on: {zone: eu}',
  },
  {
    places: ["task"],
    words: ["tags"],
    means: "runs_on",
    help: 'it is called "runs_on" here, and names labels of agents: runs_on: {zone: eu}',
  },
  {
    places: ["config"],
    words: ["command", "program", "executable", "exec", "run"],
    means: "cmd",
    help: 'it is called "cmd" here, and its arguments are "args"',
  },
  { places: ["config"], words: ["script", "file", "path", "entrypoint"], means: "script_path" },
  {
    places: ["config"],
    words: ["arguments", "argv", "params", "parameters"],
    means: "args",
    help: (value) => named("args", listText(value) ?? '["--verbose"]'),
  },
  {
    places: ["config"],
    words: ["cwd", "dir", "directory", "workdir", "working_dir"],
    means: "working_directory",
  },
  {
    places: ["config"],
    words: ["requirements", "dependencies", "modules", "pip"],
    means: "packages",
    help: (value) => named("packages", listText(value) ?? '["pandas>=2.3.1"]'),
  },
  {
    places: ["config"],
    words: ["env", "environment", "timeout", "retry", "retries", "depends", "needs", "name", "description"],
    help: "it belongs to the task, beside config",
  },
  {
    places: ["retry"],
    words: ["retries", "max_retries", "limit", "times"],
    means: "max_attempts",
    help: (value) =>
      `it is called "max_attempts" here, which counts the first one: max_attempts: ${(wholeNumber(value) ?? 2) + 1}`,
  },
  { places: ["retry"], words: ["attempts", "tries", "count", "max"], means: "max_attempts" },
  {
    places: ["retry"],
    words: [
      "interval",
      "wait",
      "retry_delay",
      "interval_sec",
      "delay_seconds",
      "initial_interval",
      "duration",
    ],
    means: "delay",
    help: 'it is called "delay" here: delay: 10s',
  },
  {
    places: ["retry"],
    words: ["factor", "multiplier", "exponential_backoff", "exponential", "policy"],
    means: "backoff",
    help: 'it is called "backoff" here: backoff: exponential',
  },
  { places: ["retry"], words: ["max_interval", "max_retry_delay", "max_backoff"], means: "max_delay" },
  { places: ["retry"], words: ["exit_codes", "exit_code", "when", "on"], means: "on_exit_codes" },
  { places: ["param"], words: ["value", "val", "initial"], means: "default" },
  { places: ["param"], words: ["help", "title", "label", "doc"], means: "description" },
  {
    places: ["param"],
    words: ["choices", "options", "values", "allowed", "allowed_values", "one_of"],
    means: "enum",
    help: (value) => named("enum", listText(value) ?? "[eu, us]"),
  },
  { places: ["param"], words: ["kind", "format"], means: "type" },
  { places: ["param"], words: ["minimum", "min_value", "at_least"], means: "min" },
  { places: ["param"], words: ["maximum", "max_value", "at_most"], means: "max" },
  { places: ["param"], words: ["regex", "regexp", "match"], means: "pattern" },
  {
    places: ["on"],
    words: ["cron", "schedule"],
    help: 'a schedule is "cron", beside "on"',
  },
  {
    places: ["on"],
    words: ["workflow_dispatch", "manual", "dispatch", "workflow_call"],
    help: "remove it: anybody who may can run any workflow, with cdktr run ID",
  },
  {
    places: ["on"],
    words: ["http", "hook", "request", "push", "pull_request", "repository_dispatch"],
    means: "webhook",
  },
  { places: ["on"], words: ["files", "watch", "path", "paths"], means: "file" },
  { places: ["on"], words: ["workflows", "workflow_run", "after", "upstream"], means: "workflow" },
];

/** Keys of tasks that hooks do not have. */
const NOT_OF_HOOKS: readonly Row[] = [
  {
    places: ["hook"],
    words: ["depends", "needs", "depends_on", "dependencies", "upstream", "after", "requires"],
    help: "a hook waits for no task: it runs when all are over",
  },
  {
    places: ["hook"],
    words: ["when", "if", "condition", "only_if"],
    help: "a hook has no condition: its name says when it runs",
  },
  {
    places: ["hook"],
    words: ["foreach", "matrix", "key", "max_parallel", "fail_fast", "with_items", "loop", "strategy"],
    help: "a hook runs once",
  },
  {
    places: ["hook"],
    words: ["repeat"],
    help: "a hook runs once; retry: {max_attempts: 3} tries it again when it fails",
  },
  {
    places: ["hook"],
    words: ["allow_failure", "continue_on_error", "ignore_errors", "allow_fail"],
    help: "remove it: the status of a run does not depend on its hooks",
  },
  { places: ["hook"], words: ["outputs"], help: "remove it: no task runs after a hook that could read them" },
  {
    places: ["hooks"],
    words: ["failure", "on_error", "error", "on_fail", "on_failed", "failed", "on_crash"],
    means: "on_failure",
  },
  { places: ["hooks"], words: ["success", "on_complete", "on_completed", "completed"], means: "on_success" },
  { places: ["hooks"], words: ["cancel", "on_cancelled", "on_abort", "cancelled"], means: "on_cancel" },
  {
    places: ["hooks"],
    words: ["exit", "always", "finally", "on_finish", "on_end", "on_always", "ensure", "post"],
    means: "on_exit",
  },
];

/** The rows that have a word in a place. */
const BY_WORD = Map.groupBy(
  [...ROWS, ...NOT_OF_HOOKS].flatMap((row) =>
    row.places.flatMap((place) => row.words.map((word) => ({ at: `${place} ${word}`, row }))),
  ),
  ({ at }) => at,
);

/**
 * What a word of another tool means, or null if it is none.
 * @param known the keys that exist at this place
 * @param value what the file says under it
 */
export function meaningOf(
  place: WordPlace,
  word: string,
  known: readonly string[],
  value: unknown,
): Meaning | null {
  const plain = word
    .replace(/([a-z])([A-Z])/g, "$1_$2")
    .replaceAll("-", "_")
    .toLowerCase();
  const found = BY_WORD.get(`${place} ${plain}`)?.find(
    ({ row: { means } }) => means === undefined || known.includes(means),
  );
  if (found === undefined) return null;
  const { means = null, help } = found.row;
  const text = typeof help === "function" ? help(value) : help;
  return { key: means, help: text ?? named(means ?? "") };
}

/** The conditions of Airflow's rules. */
const RULES: Readonly<Record<string, string>> = {
  all_done: "ended",
  all_done_setup_success: "ended",
  always: "ended",
  all_failed: "failed",
  one_failed: "failed",
  all_skipped: "skipped",
  none_failed: "[completed, skipped]",
  none_failed_min_one_success: "[completed, skipped]",
  none_failed_or_skipped: "[completed, skipped]",
};

function afterRule(value: unknown): string {
  const rule = typeof value === "string" ? value : "";
  if (rule === "all_success" || rule === "none_skipped")
    return "remove it: a task runs when each task in its depends COMPLETED";
  const condition = Object.hasOwn(RULES, rule) ? RULES[rule] : "ended";
  return `say it for each task in depends: depends: {ID: ${condition}}`;
}

function named(key: string, value?: string): string {
  return `it is called "${key}" here${value === undefined ? "" : `: ${key}: ${value}`}`;
}

/** A scalar that can be written without quotes. */
function scalarText(value: unknown): string | undefined {
  return typeof value === "string" && /^[\w./*@,+-][\w ./*@,+-]{0,39}$/.test(value) ? value : undefined;
}

/** A line that can be a value as it is. */
function lineText(value: unknown): string | undefined {
  return typeof value === "string" && /^[A-Za-z0-9_./][^\n#:{}[\]]{0,59}$/.test(value) ? value : undefined;
}

/** A list of a few words. */
function listText(value: unknown): string | undefined {
  const words = Array.isArray(value) ? value : [value];
  if (words.length === 0 || words.length > 5) return undefined;
  return words.every((word) => typeof word === "string" && /^[\w./-]{1,40}$/.test(word))
    ? `[${words.join(", ")}]`
    : undefined;
}

function wholeNumber(value: unknown): number | undefined {
  return typeof value === "string" && /^\d{1,6}$/.test(value) ? Number(value) : undefined;
}
