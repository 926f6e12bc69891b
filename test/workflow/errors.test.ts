import { describe, expect, test } from "bun:test";
import { checkChains } from "../../src/workflow/check-triggers.ts";
import { DIAGNOSTIC_CODES, type DiagnosticCode } from "../../src/workflow/diagnostic.ts";
import { checkWorkflowFile } from "../../src/workflow/load.ts";
import { parseWorkflow } from "../../src/workflow/parse.ts";
import { findDuplicateIds } from "../../src/workflow/workflow-id.ts";
import { diagnosticsOf } from "./support.ts";

/** A minimal file with one task. */
const task = (lines: string): string =>
  `name: w\ntasks:\n  a:\n    name: a\n    config: !Subprocess {cmd: ls}\n${lines}`;

/** One with a second task, which depends on the first. */
const dependent = (depends: string): string =>
  task(`  b:\n    depends: ${depends}\n    config: !Subprocess {cmd: ls}\n`);

interface Case {
  readonly about: string;
  readonly text: string;
  readonly code: DiagnosticCode;
  /** `line:column` of the finding. */
  readonly at: string;
  readonly message: string | RegExp;
  readonly help?: string | RegExp;
}

const CASES: readonly Case[] = [
  ...(
    [
      [
        "{warehouse: 0}",
        "6:23",
        '"warehouse" in pool of task "a" must be a whole number of slots from 1, not 0',
      ],
      [
        "{warehouse: many}",
        "6:23",
        '"warehouse" in pool of task "a" must be a whole number of slots from 1, not "many"',
      ],
      [
        "{warehouse: [1]}",
        "6:12",
        '"warehouse" in pool of task "a" must be a whole number of slots from 1, not a list or a mapping',
      ],
      ["{warehouse: 100001}", "6:23", '"warehouse" in pool of task "a" must be at most 100000 slots'],
      ["a b", "6:11", '"pool" of task "a": "a b" is not a valid name for a pool'],
      ["{a b: 1}", "6:12", '"a b" is not a valid name for a pool'],
      [
        "{a: 1, b: 1, c: 1, d: 1, e: 1, f: 1, g: 1, h: 1, i: 1}",
        "6:5",
        '"pool" of task "a" has 9 pools; a task takes slots of at most 8',
      ],
    ] as const
  ).map(
    ([pool, at, message]): Case => ({
      about: `pool: ${pool}`,
      text: task(`    pool: ${pool}\n`),
      code: "E094",
      at,
      message,
    }),
  ),
  ...(
    [
      [
        "[{on: [failled], to: [ops]}]",
        "E110",
        "1:16",
        'entry 1 of "on" in entry 1 of notify: there is no kind of alert "failled"',
        'did you mean "failed"?',
      ],
      [
        "[{on: boom, to: ops}]",
        "E110",
        "1:15",
        '"on" in entry 1 of notify: there is no kind of alert "boom"',
        "write one of failed, recovered, late, missed, waiting, paused",
      ],
      [
        "[{on: [agent_lost], to: ops}]",
        "E110",
        "1:16",
        'entry 1 of "on" in entry 1 of notify: "agent_lost" belongs to no workflow',
        "write it under notify of _cdktr.yml in the workflow directory itself",
      ],
      [
        "[{to: [the ops]}]",
        "E111",
        "1:16",
        'entry 1 of "to" in entry 1 of notify: "the ops" is not a valid name for a channel',
        "channels are in _cdktr.yml of the workflow directory",
      ],
      [
        "the ops",
        "E111",
        "1:9",
        '"notify": "the ops" is not a valid name for a channel',
        "channels are in _cdktr.yml of the workflow directory",
      ],
      ["[{on: [failed]}]", "E011", "1:10", '"to" is missing in entry 1 of notify', "such as to: [ops]"],
      [
        "[{to: []}]",
        "E014",
        "1:11",
        '"to" in entry 1 of notify is empty',
        "write at least one entry, or remove it",
      ],
      [
        "[{to: ops, after_failures: 0}]",
        "E014",
        "1:36",
        '"after_failures" in entry 1 of notify must be at least 1',
        undefined,
      ],
      [
        "[ops, [a]]",
        "E012",
        "1:15",
        'entry 2 of "notify" must be {on: …, to: …}, or the name of a channel, not a list',
        "such as {on: [failed, recovered], to: [ops]}, or the name of a channel for all alerts",
      ],
    ] as const
  ).map(
    ([notify, code, at, message, help]): Case => ({
      about: `notify: ${notify}`,
      text: `notify: ${notify}\n${task("")}`,
      code,
      at,
      message,
      ...(help === undefined ? {} : { help }),
    }),
  ),
  {
    about: "a list of pools",
    text: task("    pool: [warehouse]\n"),
    code: "E012",
    at: "6:5",
    message: '"pool" of task "a" must be the name of a pool or a mapping, not a list',
    help: "such as pool: warehouse, or pool: {warehouse: 2}",
  },
  ...["high", "10", "-1", "5.5"].map(
    (priority): Case => ({
      about: `priority: ${priority}`,
      text: `priority: ${priority}\n${task("")}`,
      code: "E095",
      at: "1:11",
      message: `"priority" must be a whole number from 0 to 9, not "${priority}"`,
      help: "9 goes first, 5 is the default",
    }),
  ),
  // Words of Airflow, Dagu, Rundeck, GitHub and others
  ...(
    [
      ["max_active_runs: 3", 'it is called "concurrency" here: concurrency: 3'],
      ["resource_group: db", 'it belongs to "concurrency": concurrency: {group: NAME}'],
      [
        "concurrencyPolicy: Forbid",
        'it is called "concurrency" here: concurrency: {max_runs: 1, on_conflict: queue}, or queue_latest, skip, cancel_running',
      ],
      [
        "maxActiveSteps: 3",
        "an agent runs as many tasks at once as its CDKTR_AGENT_MAX_TASKS says; the items of a fan-out have max_parallel",
      ],
      ["start_date: 2025-01-01", 'it is called "start_time" here: start_time: 2025-01-20T02:00:00Z'],
      [
        "default_args: {retries: 3}",
        'it is called "defaults" here: defaults: {retry: {max_attempts: 3}, timeout: 1h}',
      ],
      ["options: {day: x}", 'it is called "params" here: params: {day: today}'],
      [
        "handlerOn: {failure: {command: x}}",
        'it belongs to "hooks": hooks: {on_success: …, on_failure: …, on_cancel: …, on_exit: …}',
      ],
      ["tz: Europe/London", 'it is called "timezone" here: timezone: Europe/London'],
      [
        "permissions: {contents: read}",
        "there are no permissions in workflow files: keys of clients have roles, see cdktr docs security",
      ],
      [
        "apiVersion: argoproj.io/v1alpha1",
        "remove it: a workflow file is nothing but name, cron, params, tasks and the like",
      ],
      [
        "enabled: false",
        "to let it rest for a while: cdktr workflow pause ID; without cron and on, it runs only when somebody triggers it",
      ],
    ] as const
  ).map(
    ([line, help]): Case => ({
      about: `a workflow with ${line}`,
      text: `${line}\n${task("")}`,
      code: "E010",
      at: "1:1",
      message: `unknown key "${line.slice(0, line.indexOf(":"))}"`,
      help,
    }),
  ),
  ...(
    [
      ["trigger_rule: all_done", "say it for each task in depends: depends: {ID: ended}"],
      ["trigger_rule: one_failed", "say it for each task in depends: depends: {ID: failed}"],
      ["trigger_rule: none_failed", "say it for each task in depends: depends: {ID: [completed, skipped]}"],
      ["trigger_rule: all_success", "remove it: a task runs when each task in its depends COMPLETED"],
      ["depends_on_past: true", "a task waits for tasks of its own run only"],
      [
        "strategy: {matrix: {os: [a]}}",
        'it is called "matrix" here: matrix: {os: [debian, ubuntu]}, with fail_fast and max_parallel beside it',
      ],
      ["rules: [x]", 'it is called "when" here: when: ${{ params.region == "eu" }}'],
      ["python_callable: f", "such as config: !UvPython {script: …}, or run: with shell: python3"],
      [
        "output: ROWS",
        'it is called "outputs" here: outputs: [rows], and the task writes rows=… to the file named in CDKTR_OUTPUT',
      ],
      [
        "repeatPolicy: {repeat: true}",
        'it is called "repeat" here: repeat: {every: 30s, until: "${{ exit_code == 0 }}"}',
      ],
      ["dotenv: .env.x", 'it is called "env_file" here: env_file: .env.x'],
      ["scriptInterpreter: python3", 'it is called "shell" here: shell: python3'],
      ["maxCleanUpTimeSec: 60", 'it is called "grace" here: grace: 60s'],
      ["resources: {memory: 2Gi}", 'it is called "limits" here: limits: {memory: 2GiB, cpu: 1.5}'],
      [
        "errorhandler: {exec: x}",
        "write a task that depends on it: depends: {ID: failed}, or hooks of the workflow",
      ],
      ["before_script: [x]", "put it at the start of run, or write a task before it and depends"],
      ["after_script: [x]", "write a task that depends on it: depends: {ID: ended}"],
      [
        "email_on_failure: true",
        "write it at the workflow: notify: [{on: [failed], to: [ops]}], see cdktr docs alerts",
      ],
      ["services: {db: {image: x}}", "there are no containers here: run docker as the program of the task"],
      ["doc_md: x", 'it is called "description" here'],
    ] as const
  ).map(
    ([line, help]): Case => ({
      about: `a task with ${line}`,
      text: task(`    ${line}\n`),
      code: "E010",
      at: "6:5",
      message: `unknown key "${line.slice(0, line.indexOf(":"))}" in task "a"`,
      help,
    }),
  ),
  ...(
    [
      ["workflow_dispatch: {}", "remove it: anybody who may can run any workflow, with cdktr run ID"],
      ["pull_request: {}", 'it is called "webhook" here'],
    ] as const
  ).map(
    ([line, help]): Case => ({
      about: `the event ${line}`,
      text: `on:\n  ${line}\n${task("")}`,
      code: "E010",
      at: "2:3",
      message: `unknown key "${line.slice(0, line.indexOf(":"))}" in on`,
      help,
    }),
  ),
  // W012 template-of-another-tool
  ...(
    [
      ["{{ ds }}", '${{ date(run.scheduled_time, "%Y-%m-%d") }}'],
      ["{{ds_nodash}}", '${{ date(run.scheduled_time, "%Y%m%d") }}'],
      ["{{ ti.xcom_pull(task_ids='x') }}", "${{ tasks.ID.outputs.NAME }}"],
      ["{{ params.day }}", "${{ params.day }}"],
      ["{{inputs.parameters.day}}", "${{ params.day }}"],
      ["{{steps.load.outputs.result}}", "${{ tasks.load.outputs.NAME }}"],
      ["{{ var.value.bucket }}", "${{ params.bucket }}"],
    ] as const
  ).map(
    ([template, meant]): Case => ({
      about: `the template ${template}`,
      text: `params: {day: x}\n${task(`    env: {D: "day ${template}"}\n`)}`,
      code: "W012",
      at: "7:19",
      message: `${template} is text here: expressions are written \${{ … }}`,
      help: `write ${meant}, in a script under env: and then as a variable`,
    }),
  ),
  {
    about: "a connection of Airflow",
    text: task('    env: {D: "{{ conn.db.password }}"}\n'),
    code: "W012",
    at: "6:15",
    message: "{{ conn.db.password }} is text here: expressions are written ${{ … }}",
    help: "write secrets: [NAME] at the task",
  },
  // W015 quoted-json
  {
    about: "a list in quotes as the default of JSON",
    text: `params: {j: {type: json, default: '["a"]'}}\n${task("")}`,
    code: "W015",
    at: "1:35",
    message: 'the default of parameter "j" is a string, because it is in quotes: "[\\"a\\"]"',
    help: "remove the quotes for a list or a mapping",
  },
  {
    about: "something that is no JSON, in quotes",
    text: `params: {j: {type: json, default: '{bad'}}\n${task("")}`,
    code: "W015",
    at: "1:35",
    message: 'the default of parameter "j" is a string, because it is in quotes: "{bad"',
    help: "remove the quotes for a list or a mapping",
  },
  // E001 yaml-syntax
  {
    about: "a bracket that is not closed",
    text: "name: [w\ntasks: {}\n",
    code: "E001",
    at: "2:1",
    message: /indented/,
  },
  {
    about: "a tab as indentation",
    text: "name: w\ntasks:\n\ta:\n",
    code: "E001",
    at: "3:1",
    message: "a tab is used for indentation",
    help: "indent with spaces",
  },
  {
    about: "a tag that is not indented",
    text: "name: w\ntasks:\n  a:\n    name: a\n    config:\n    !Subprocess\n      cmd: ls\n",
    code: "E001",
    at: "6:5",
    message: "the tag is not indented enough",
    help: /indent it more/,
  },
  {
    about: "a quote that ends too early",
    text: "name: 'it's'\n",
    code: "E001",
    at: "1:10",
    message: "the quoted string ends here, but more text follows",
    help: /write '' for '/,
  },
  {
    about: "a colon in a plain text",
    text: "name: a: b\n",
    code: "E001",
    at: "1:7",
    message: /Nested mappings/,
    help: 'put a string that contains ": " in quotes',
  },
  {
    about: "a colon in a script",
    text: 'tasks:\n  a:\n    run: echo "total: 3"\n',
    code: "E001",
    at: "3:10",
    message: /Nested mappings/,
    help: "write run: | and the script on the next line, indented: nothing in it is special to YAML then",
  },
  {
    about: "a script that begins with a quote",
    text: "tasks:\n  a:\n    run: 'a b' && c\n",
    code: "E001",
    at: "3:16",
    message: "this does not belong to the value before it",
    help: "write run: | and the script on the next line, indented: nothing in it is special to YAML then",
  },
  {
    about: "a script that begins with a percent sign",
    text: "tasks:\n  a:\n    run: %x\n",
    code: "E001",
    at: "3:10",
    message: /^Plain value cannot start with directive indicator/,
    help: "write run: | and the script on the next line, indented: nothing in it is special to YAML then",
  },
  // E002 multiple-documents
  {
    about: "a second document",
    text: `${task("")}---\nname: other\n`,
    code: "E002",
    at: "6:1",
    message: /second document/,
  },
  // E003 duplicate-key
  {
    about: "a key twice",
    text: task("name: again\n"),
    code: "E003",
    at: "6:1",
    message: 'duplicate key "name"',
    help: "it is first given on line 1",
  },
  {
    about: "a task twice",
    text: task("  a:\n    name: b\n    config: !Subprocess {cmd: ls}\n"),
    code: "E003",
    at: "6:3",
    message: 'duplicate key "a"',
    help: "it is first given on line 3",
  },
  // E006 empty-file
  { about: "nothing", text: "", code: "E006", at: "1:1", message: "the file is empty" },
  { about: "comments only", text: "# soon\n", code: "E006", at: "1:1", message: "the file is empty" },
  // E007 bad-alias
  {
    about: "an alias without an anchor",
    text: task("    env: &vars {A: x}\n    timeout: *var\n"),
    code: "E007",
    at: "7:14",
    message: "there is no anchor &var before this alias",
    help: 'did you mean "vars"?',
  },
  {
    about: "an alias inside itself",
    text: task("    env: &e {A: *e}\n"),
    code: "E007",
    at: "6:17",
    message: "the alias *e is inside the value that it refers to",
  },
  // E009 control-character
  {
    about: "a NUL in the file",
    text: task("    description: a\0b\n"),
    code: "E009",
    at: "6:19",
    message: "there is a control character (0x00) here",
  },
  {
    about: "an escape sequence in the file",
    text: task("    description: \x1b[31m\n"),
    code: "E009",
    at: "6:18",
    message: "there is a control character (0x1b) here",
    help: /"\\x1b"/,
  },
  // E010 unknown-key
  {
    about: "an unknown key of the workflow",
    text: task("crom: 0 2 * * *\n"),
    code: "E010",
    at: "6:1",
    message: 'unknown key "crom"',
    help: 'did you mean "cron"?',
  },
  {
    about: "an unknown key of a task",
    text: task("    dependencies: []\n"),
    code: "E010",
    at: "6:5",
    message: 'unknown key "dependencies" in task "a"',
    help: 'it is called "depends" here: depends: [extract]',
  },
  {
    about: "a key that means nothing here",
    text: task("    colour: red\n"),
    code: "E010",
    at: "6:5",
    message: 'unknown key "colour" in task "a"',
    help: /the keys allowed here are name, description, depends/,
  },
  {
    about: "an unknown key of a config",
    text: "name: w\ntasks:\n  a:\n    name: a\n    config:\n      !Subprocess\n      cmd: ls\n      arg: [x]\n",
    code: "E010",
    at: "8:7",
    message: 'unknown key "arg" in config of task "a"',
    help: 'did you mean "args"?',
  },
  {
    about: "a key of the other kind of task",
    text: task("").replace("{cmd: ls}", "{cmd: ls, packages: [x]}"),
    code: "E010",
    at: "5:35",
    message: 'unknown key "packages" in config of task "a"',
  },
  {
    about: "items as Ansible has them",
    text: task("    with_items: [a, b]\n"),
    code: "E010",
    at: "6:5",
    message: 'unknown key "with_items" in task "a"',
    help: /^it is called "foreach" here/,
  },
  {
    about: "a strategy as GitHub has it",
    text: task("    strategy: {matrix: {os: [a]}}\n"),
    code: "E010",
    at: "6:5",
    message: 'unknown key "strategy" in task "a"',
    help: /^it is called "matrix" here/,
  },
  {
    about: "the parallelism of Argo",
    text: task("    foreach: [a]\n    parallelism: 3\n"),
    code: "E010",
    at: "7:5",
    message: 'unknown key "parallelism" in task "a"',
    help: 'it is called "max_parallel" here',
  },
  {
    about: "an unknown key of retry",
    text: task("    retry: {max_attempts: 2, dely: 1s}\n"),
    code: "E010",
    at: "6:30",
    message: 'unknown key "dely" in retry of task "a"',
    help: 'did you mean "delay"?',
  },
  {
    about: "an unknown key of a parameter",
    text: task("params: {day: {defualt: x}}\n"),
    code: "E010",
    at: "6:16",
    message: 'unknown key "defualt" in parameter "day"',
    help: 'did you mean "default"?',
  },
  {
    about: "a key from JavaScript's objects",
    text: task("__proto__: 1\n"),
    code: "E010",
    at: "6:1",
    message: 'unknown key "__proto__"',
  },
  // E011 missing-key
  { about: "no tasks key", text: "name: w\n", code: "E011", at: "1:1", message: '"tasks" is missing' },
  {
    about: "no config",
    text: "name: w\ntasks:\n  a:\n    name: a\n",
    code: "E011",
    at: "3:3",
    message: 'task "a" says neither "run" nor "config"',
    help: "write run: echo hello, or config: !Subprocess with a cmd",
  },
  {
    about: "nothing to run",
    text: "tasks:\n  a:\n    run:\n",
    code: "E011",
    at: "3:5",
    message: '"run" of task "a" has no value',
    help: "such as run: echo hello",
  },
  {
    about: "nothing under config",
    text: "tasks:\n  a:\n    config:\n",
    code: "E011",
    at: "3:5",
    message: '"config" of task "a" has no value',
    help: "say what the task does: config: !Subprocess, with its cmd on the next line",
  },
  {
    about: "an empty script",
    text: 'tasks:\n  a:\n    run: ""\n',
    code: "E015",
    at: "3:10",
    message: '"run" of task "a" is empty',
  },
  {
    about: "a list of commands",
    text: "tasks:\n  a:\n    run: [echo a, echo b]\n",
    code: "E012",
    at: "3:5",
    message: '"run" of task "a" must be a string, not a list',
    help: "such as run: echo hello; a script of several lines goes below run: |",
  },
  ...(
    [
      [
        "{}",
        "6:1",
        '"expect" is empty',
        'remove it, or write what is expected, such as {max_duration: 2h, finish_by: "06:00"}',
      ],
      [
        "{finish_by: 25:00}",
        "6:21",
        '"finish_by" in expect must be a time of day, not "25:00"',
        'write hours and minutes, such as "06:00"; a time zone goes into {time: "06:00", timezone: Europe/London}',
      ],
      ["{finish_by: 6am}", "6:21", '"finish_by" in expect must be a time of day, not "6am"', 'write "06:00"'],
      [
        "{finish_by: 12:30 p.m.}",
        "6:21",
        '"finish_by" in expect must be a time of day, not "12:30 p.m."',
        'write "12:30"',
      ],
      [
        "{finish_by: 24:00}",
        "6:21",
        '"finish_by" in expect must be a time of day, not "24:00"',
        'the end of a day is the start of the next one: "00:00"',
      ],
      [
        "{finish_by: {time: 6:61}}",
        "6:28",
        '"time" in finish_by of expect must be a time of day, not "6:61"',
        /^write hours and minutes/,
      ],
    ] as const
  ).map(
    ([text, at, message, help]): Case => ({
      about: `expect: ${text}`,
      text: task(`expect: ${text}\n`),
      code: "E120",
      at,
      message,
      help,
    }),
  ),
  ...(
    [
      [
        "2h",
        "E012",
        "6:9",
        '"expect" must be a mapping, not "2h"',
        'such as {max_duration: 2h, finish_by: "06:00", start_within: 10m, at_least_every: 26h}',
      ],
      [
        "{finish_by: [6:00]}",
        "E012",
        "6:10",
        '"finish_by" in expect must be a time of day, not a list',
        'such as "06:00", or {time: "06:00", timezone: Europe/London}',
      ],
      [
        "{finish_by: {timezone: UTC}}",
        "E011",
        "6:10",
        '"time" is missing in finish_by of expect',
        'such as "06:00"',
      ],
      [
        "{finish_by: {time: 6:00, timezone: Europe/Londn}}",
        "E041",
        "6:44",
        '"timezone" in finish_by of expect: "Europe/Londn" is not a known time zone',
        'did you mean "Europe/London"?',
      ],
      [
        "{finish_by: {time: 6:00, days: [MUN]}}",
        "E045",
        "6:41",
        'entry 1 of "days" in finish_by of expect: "MUN" is neither a weekday, a date nor a range',
        "such as MON-FRI, 2026-12-25, 12-25, 2026-07-20..2026-08-03",
      ],
      ["{max_duration: 2}", "E043", "6:24", '"max_duration" in expect: "2" has no unit', /^write "2s"/],
      ["{start_within: 0s}", "E043", "6:24", '"start_within" in expect must be longer than 0', undefined],
      [
        "{at_least_every: 401d}",
        "E043",
        "6:26",
        '"at_least_every" in expect: "401d" is too long',
        "the longest is 400d",
      ],
      ["{finish_at: 6:00}", "E010", "6:10", 'unknown key "finish_at" in expect', 'did you mean "finish_by"?'],
    ] as const
  ).map(
    ([text, code, at, message, help]): Case => ({
      about: `expect: ${text}`,
      text: task(`expect: ${text}\n`),
      code,
      at,
      message,
      ...(help === undefined ? {} : { help }),
    }),
  ),
  {
    about: "an expectation at the workflow",
    text: task("max_duration: 2h\n"),
    code: "E010",
    at: "6:1",
    message: 'unknown key "max_duration"',
    help: 'write at the workflow what people rely on: expect: {max_duration: 2h, finish_by: "06:00"}',
  },
  {
    about: "an expectation of a task",
    text: task("    sla: 2h\n"),
    code: "E010",
    at: "6:5",
    message: 'unknown key "sla" in task "a"',
    help: 'write at the workflow what people rely on: expect: {max_duration: 2h, finish_by: "06:00"}',
  },
  {
    about: "max_duration as long as the timeout",
    text: task("timeout: 2h\nexpect: {max_duration: 2h}\n"),
    code: "W002",
    at: "7:10",
    message: '"max_duration" in expect has no effect: the timeout of the workflow ends its runs after 2h',
    help: "make it shorter than the timeout, or remove it",
  },
  ...(
    [
      ['"0 2 * * *"', "24h", "1d", "1d"],
      ['"0 2 * * MON-FRI"', "26h", "1d2h", "3d"],
      ['["0 2 * * *", "0 14 * * *"]', "11h", "11h", "12h"],
    ] as const
  ).map(
    ([cron, every, said, gap]): Case => ({
      about: `at_least_every: ${every} with cron: ${cron}`,
      text: task(`cron: ${cron}\nexpect: {at_least_every: ${every}}\n`),
      code: "W120",
      at: "7:10",
      message: `"at_least_every" in expect is ${said}, but ${gap} may pass between two firings of the schedule: it is missed although all of them run`,
      help: "allow for the time between two firings and for the duration of a run",
    }),
  ),
  {
    about: "auto_pause after no failure",
    text: task("auto_pause: {after_failures: 0}\n"),
    code: "E014",
    at: "6:30",
    message: '"after_failures" in auto_pause is 0',
    help: "to pause it now: cdktr workflow pause ID",
  },
  {
    about: "auto_pause in short, after no failure",
    text: task("auto_pause: 0\n"),
    code: "E014",
    at: "6:13",
    message: '"auto_pause" is 0',
    help: "to pause it now: cdktr workflow pause ID",
  },
  {
    about: "auto_pause after too many failures",
    text: task("auto_pause: 1001\n"),
    code: "E014",
    at: "6:13",
    message: '"auto_pause" must be at most 1000',
  },
  {
    about: "auto_pause without a number",
    text: task("auto_pause: soon\n"),
    code: "E012",
    at: "6:13",
    message: '"auto_pause" must be a whole number, not "soon"',
  },
  {
    about: "auto_pause as a list",
    text: task("auto_pause: [5]\n"),
    code: "E012",
    at: "6:1",
    message: '"auto_pause" must be a whole number or {after_failures: N}, not a list',
  },
  {
    about: "auto_pause with another key",
    text: task("auto_pause: {after_failures: 5, after: 5}\n"),
    code: "E010",
    at: "6:33",
    message: 'unknown key "after" in auto_pause',
    help: "the keys allowed here are after_failures",
  },
  {
    about: "retention of no days",
    text: task("retention: {days: 0}\n"),
    code: "E130",
    at: "6:19",
    message: '"days" in retention must be at least 1',
    help: "to keep everything, leave it out",
  },
  {
    about: "retention of nothing",
    text: task("retention: {}\n"),
    code: "E130",
    at: "6:1",
    message: '"retention" is empty',
    help: "to keep everything, remove it; otherwise write days, runs or both",
  },
  {
    about: "retention of a span",
    text: task("retention: {days: 90d}\n"),
    code: "E130",
    at: "6:19",
    message: '"days" in retention must be a whole number of days, not "90d"',
  },
  {
    about: "retention of too many runs",
    text: task("retention: {runs: 100000000}\n"),
    code: "E130",
    at: "6:19",
    message: '"runs" in retention must be at most 10000000',
    help: "to keep everything, leave it out",
  },
  {
    about: "retention as a number",
    text: task("retention: 90\n"),
    code: "E012",
    at: "6:12",
    message: '"retention" must be a mapping such as {days: 90, runs: 1000}, not "90"',
  },
  {
    about: "retention with another key",
    text: task("retention: {weeks: 3}\n"),
    code: "E010",
    at: "6:13",
    message: 'unknown key "weeks" in retention',
    help: "the keys allowed here are days, runs",
  },
  {
    about: "run and config",
    text: task("    run: ls\n"),
    code: "E014",
    at: "6:5",
    message: 'task "a" has both "run" and "config"',
    help: "keep one; run: is short for config: !Shell",
  },
  {
    about: "repeat and retry",
    text: "tasks:\n  a:\n    run: ls\n    repeat: {every: 1s, until: '${{ exit_code == 0 }}'}\n    retry: {max_attempts: 2}\n",
    code: "E014",
    at: "4:5",
    message: '"repeat" and "retry" of task "a" exclude each other',
    help: "repeat.max_attempts limits the tries",
  },
  {
    about: "repeat and foreach",
    text: "tasks:\n  a:\n    run: ls\n    repeat: {every: 1s, until: '${{ exit_code == 0 }}'}\n    foreach: [1]\n",
    code: "E014",
    at: "4:5",
    message: '"repeat" and "foreach" of task "a" exclude each other',
    help: "repeat a task after the fan-out, or one that does all of it",
  },
  {
    about: "a request that repeats",
    text: "tasks:\n  a:\n    config: !Http {url: 'http://x'}\n    repeat: {every: 1s, until: '${{ exit_code == 0 }}'}\n",
    code: "E014",
    at: "4:5",
    message: 'a task of kind !Http has no "repeat"',
    help: "repeat a script, such as run: curl --fail URL",
  },
  {
    about: "repeat without a condition",
    text: "tasks:\n  a:\n    run: ls\n    repeat: {every: 1s}\n",
    code: "E011",
    at: "4:5",
    message: '"until" is missing in repeat of task "a"',
    help: 'such as until: "${{ exit_code == 0 }}"',
  },
  {
    about: "a condition over what a try does not have",
    text: "tasks:\n  a:\n    run: ls\n    repeat: {every: 1s, until: '${{ status == 1 }}'}\n",
    code: "E063",
    at: "4:37",
    message: '"status" is unknown',
  },
  {
    about: "two working directories",
    text: task("    working_directory: x\n").replace("cmd: ls", "cmd: ls, working_directory: y"),
    code: "E014",
    at: "6:5",
    message: 'task "a" and its config both have "working_directory"',
    help: "keep one",
  },
  {
    about: "an interpreter with quotes",
    text: "tasks:\n  a:\n    run: ls\n    shell: bash -c 'x'\n",
    code: "E014",
    at: "4:12",
    message: `"shell" of task "a" must be an interpreter and its options, not "bash -c 'x'"`,
    help: "it is split at blanks, and no shell reads it: quotes and variables mean nothing here",
  },
  {
    about: "an empty interpreter",
    text: 'tasks:\n  a:\n    run: ls\n    shell: " "\n',
    code: "E015",
    at: "4:12",
    message: '"shell" of task "a" is empty',
    help: "such as bash, python3 or sh -eux",
  },
  {
    about: "no script",
    text: "tasks:\n  a:\n    config: !Shell {shell: sh}\n",
    code: "E011",
    at: "3:5",
    message: '"script" is missing in config of task "a"',
  },
  {
    about: "a grace period that is no duration",
    text: task("    grace: soon\n"),
    code: "E043",
    at: "6:12",
    message: /^"grace" of task "a"/,
  },
  {
    about: "a grace period of a day",
    text: task("    grace: 1d\n"),
    code: "E043",
    at: "6:12",
    message: '"grace" of task "a" must not be longer than 1h',
  },
  {
    about: "a mapping as stdin",
    text: task("    stdin: {a: b}\n"),
    code: "E012",
    at: "6:5",
    message: '"stdin" of task "a" must be a string, not a mapping',
  },
  {
    about: "an env_file without a name",
    text: task('    env_file: ""\n'),
    code: "E015",
    at: "6:15",
    message: '"env_file" of task "a" is empty',
  },
  {
    about: "a script that begins with an exclamation mark",
    text: "tasks:\n  a:\n    run: ! grep x\n",
    code: "E021",
    at: "3:10",
    message: '"!" at the start of "run" is a tag in YAML, and would be lost',
    help: "write run: | and the script on the next line, indented: nothing in it is special to YAML then",
  },
  {
    about: "a script that is an alias of nothing",
    text: "tasks:\n  a:\n    run: *x\n",
    code: "E007",
    at: "3:10",
    message: "there is no anchor &x before this alias",
    help: 'if it is a string, put it in quotes: "*x"',
  },
  ...(
    [
      ["memory: 2GB", 22, '"memory" in limits of task "a": "2GB" is not a size', "write 2GiB or 512MiB"],
      ["memory: 2048", 22, '"memory" in limits of task "a": "2048" is not a size', "write 2GiB or 512MiB"],
      ["memory: 1KiB", 22, '"memory" in limits of task "a" must be at least 1MiB', undefined],
      ["cpu: 0.001", 19, '"cpu" in limits of task "a" must be at least 0.01', undefined],
      ["pids: 0", 20, '"pids" in limits of task "a" must be at least 1', undefined],
    ] as const
  ).map(([limit, column, message, help]) => ({
    about: `a limit: ${limit}`,
    text: task(`    limits: {${limit}}\n`),
    code: "E014" as const,
    at: `6:${column}`,
    message,
    ...(help === undefined ? {} : { help }),
  })),
  {
    about: "thousandths of a processor",
    text: task("    limits: {cpu: 500m}\n"),
    code: "E012",
    at: "6:19",
    message: '"cpu" in limits of task "a" must be a number of processors, not "500m"',
    help: "write 0.5",
  },
  {
    about: "an unknown limit",
    text: task("    limits: {mem: 1GiB}\n"),
    code: "E010",
    at: "6:14",
    message: 'unknown key "mem" in limits of task "a"',
    help: /memory/,
  },
  // E060 expression-in-script
  {
    about: "an expression behind a literal ${{",
    text: "tasks:\n  a:\n    run: |\n      echo $${{ x }} ${{ params.day }}\n",
    code: "E060",
    at: "4:22",
    message: 'an expression inside "run" would become part of the script',
    help: 'put it under env: (NAME: ${{ params.day }}) and write "$NAME"',
  },
  {
    about: "an expression in a script of one line",
    text: "tasks:\n  a:\n    run: echo ${{ params.day }}\n",
    code: "E060",
    at: "3:15",
    message: 'an expression inside "run" would become part of the script',
    help: 'put it under env: (NAME: ${{ params.day }}) and write "$NAME"',
  },
  {
    about: "a secret in a script, as GitHub Actions has it",
    text: "tasks:\n  a:\n    run: curl -H ${{ secrets.TOKEN }}\n",
    code: "E060",
    at: "3:18",
    message: 'an expression inside "run" would become part of the script',
    help: 'declare secrets: [TOKEN] at the task, and write "$TOKEN"',
  },
  {
    about: "an expression in a script of several lines",
    text: "tasks:\n  a:\n    run: |\n      ls\n      echo ${{\n",
    code: "E060",
    at: "5:12",
    message: 'an expression inside "run" would become part of the script',
    help: 'put it under env: (NAME: ${{ … }}) and write "$NAME"',
  },
  {
    about: "an expression in a script with escapes",
    text: 'tasks:\n  a:\n    run: "echo \\x24{{ x }}"\n',
    code: "E060",
    at: "3:5",
    message: 'an expression inside "run" would become part of the script',
  },
  {
    about: "an expression in Python",
    text: "tasks:\n  a:\n    shell: /usr/bin/env python3.12 -u\n    run: print(${{ x }})\n",
    code: "E060",
    at: "4:16",
    message: 'an expression inside "run" would become part of the script',
    help: 'put it under env: (NAME: ${{ x }}) and write os.environ["NAME"]',
  },
  {
    about: "an expression in JavaScript",
    text: "tasks:\n  a:\n    config: !Shell {shell: node, script: 'f(${{ x }})'}\n",
    code: "E060",
    at: "3:45",
    message: 'an expression inside "script" would become part of the script',
    help: "put it under env: (NAME: ${{ x }}) and write process.env.NAME",
  },
  {
    about: "no cmd",
    text: "name: w\ntasks:\n  a:\n    name: a\n    config: !Subprocess\n",
    code: "E011",
    at: "5:5",
    message: '"cmd" is missing in config of task "a"',
  },
  {
    about: "no Python script",
    text: "name: w\ntasks:\n  a:\n    name: a\n    config: !UvPython {args: [x]}\n",
    code: "E014",
    at: "5:5",
    message: '!UvPython needs "script_path" or "script"',
    help: "write script: | and the program below it, or script_path: FILE",
  },
  {
    about: "two Python scripts",
    text: "tasks:\n  a:\n    config: !UvPython {script_path: a.py, script: print()}\n",
    code: "E014",
    at: "3:5",
    message: '!UvPython has both "script_path" and "script"',
    help: "keep one",
  },
  {
    about: "no program",
    text: "tasks:\n  a:\n    config: !Bun {args: [x]}\n",
    code: "E014",
    at: "3:5",
    message: '!Bun needs "script_path" or "code"',
    help: "write code: | and the program below it, or script_path: FILE",
  },
  {
    about: "two programs",
    text: "tasks:\n  a:\n    config: !Bun\n      script_path: a.ts\n      code: f()\n",
    code: "E014",
    at: "3:5",
    message: '!Bun has both "script_path" and "code"',
    help: "keep one",
  },
  {
    about: "an expression in a program",
    text: "tasks:\n  a:\n    config: !Bun\n      code: |\n        f();\n        g(${{ x }});\n",
    code: "E060",
    at: "6:11",
    message: 'an expression inside "code" would become part of the script',
    help: "put it under env: (NAME: ${{ x }}) and write process.env.NAME",
  },
  {
    about: "an expression in the script of uv",
    text: "tasks:\n  a:\n    config: !UvPython {script: 'f(${{ x }})'}\n",
    code: "E060",
    at: "3:35",
    message: 'an expression inside "script" would become part of the script',
    help: 'put it under env: (NAME: ${{ x }}) and write os.environ["NAME"]',
  },
  {
    about: "no max_attempts",
    text: task("    retry: {delay: 5s}\n"),
    code: "E011",
    at: "6:5",
    message: '"max_attempts" is missing in retry of task "a"',
  },
  // E012 wrong-type
  {
    about: "a list as a file",
    text: "- name: w\n",
    code: "E012",
    at: "1:1",
    message: "a workflow file must be a mapping, not a list",
  },
  {
    about: "a text as depends",
    text: task("    depends: b\n"),
    code: "E012",
    at: "6:14",
    message: '"depends" of task "a" must be a list or a mapping, not "b"',
    help: 'write a list: ["b"]',
  },
  {
    about: "a mapping as an argument",
    text: task("").replace("{cmd: ls}", "{cmd: ls, args: [a, {b: c}]}"),
    code: "E012",
    at: "5:45",
    message: 'entry 2 of "args" in config of task "a" must be a string, not a mapping',
  },
  {
    about: "tasks as a list",
    text: "name: w\ntasks:\n  - name: a\n",
    code: "E012",
    at: "2:1",
    message: '"tasks" must be a mapping, not a list',
  },
  {
    about: "yes as a flag",
    text: "name: w\ntasks:\n  a:\n    name: a\n    config: !UvPython {script_path: x, is_uv_project: yes}\n",
    code: "E012",
    at: "5:55",
    message: '"is_uv_project" in config of task "a" must be true or false, not "yes"',
    help: "did you mean true?",
  },
  {
    about: "a word as a number",
    text: task("    retry: {max_attempts: three}\n"),
    code: "E012",
    at: "6:27",
    message: '"max_attempts" in retry of task "a" must be a whole number, not "three"',
  },
  {
    about: "a wrong word as backoff",
    text: task("    retry: {max_attempts: 3, backoff: exponental}\n"),
    code: "E012",
    at: "6:39",
    message: /must be a number, "constant" or "exponential", not "exponental"/,
    help: 'did you mean "exponential"?',
  },
  {
    about: "a list as a parameter",
    text: task("params: {day: [1]}\n"),
    code: "E012",
    at: "6:10",
    message: 'parameter "day" must be a string or a mapping, not a list',
  },
  {
    about: "an environment variable without a value",
    text: task("env:\n  A:\n"),
    code: "E012",
    at: "7:3",
    message: '"A" in env has no value',
    help: 'write "" for an empty string',
  },
  {
    about: "a list as a timeout",
    text: task("timeout: [5m]\n"),
    code: "E012",
    at: "6:1",
    message: '"timeout" must be a duration, not a list',
  },
  {
    about: "a list as a key",
    text: task("? [x]\n: 1\n"),
    code: "E012",
    at: "6:3",
    message: "a key must be a string",
  },
  // E013 no-tasks
  {
    about: "an empty mapping of tasks",
    text: "name: w\ntasks: {}\n",
    code: "E013",
    at: "2:1",
    message: "there are no tasks",
    help: "add at least one task",
  },
  {
    about: "nothing under tasks",
    text: "name: w\ntasks:\n",
    code: "E013",
    at: "2:1",
    message: "there are no tasks",
  },
  // Fan-outs
  {
    about: "foreach and matrix",
    text: task("    foreach: [a]\n    matrix: {x: [1]}\n"),
    code: "E014",
    at: "7:5",
    message: 'task "a" has both "foreach" and "matrix"',
    help: "keep one",
  },
  {
    about: "a word as foreach",
    text: task("    foreach: eu\n"),
    code: "E012",
    at: "6:14",
    message: '"foreach" of task "a" must be a list, not "eu"',
    help: 'write a list: ["eu"]',
  },
  {
    about: "an item without a value",
    text: task("    foreach: [a, ~]\n"),
    code: "E012",
    at: "6:18",
    message: 'entry 2 of "foreach" of task "a" must be a string, a list or a mapping, not nothing',
  },
  {
    about: "a list of a parameter that does not exist",
    text: task("    foreach: ${{ params.regoins }}\nparams: {regions: '[]'}\n"),
    code: "E063",
    at: "6:25",
    message: 'there is no parameter "regoins"',
    help: 'did you mean "regions"?',
  },
  {
    about: "a list of a task that does not exist",
    text: task("    foreach: ${{ tasks.b.outputs.x }}\n"),
    code: "E063",
    at: "6:24",
    message: 'there is no task "b"',
  },
  {
    about: "a list of a task that does not run before",
    text: task("    foreach: ${{ tasks.b.outputs.x }}\n  b: {config: !Subprocess {cmd: ls}}\n"),
    code: "E034",
    at: "6:24",
    message: 'task "a" reads the outputs of "b", which does not run before it',
    help: 'add "b" to its depends',
  },
  {
    about: "the item in foreach",
    text: task("    foreach: ${{ item.x }}\n"),
    code: "E056",
    at: "6:18",
    message: '"item" is known only in the items of a fan-out',
  },
  {
    about: "a text in the place of a list",
    text: task("    foreach: ${{ params.x }}\nparams: {x: '[]'}\n"),
    code: "E062",
    at: "6:14",
    message: '"foreach" of task "a" must be a list, but the expression is a string',
    help: "json(…) makes a list of JSON text",
  },
  {
    about: "an expression in a literal item",
    text: task("    foreach: [a, '${{ params.x }}']\nparams: {x: y}\n"),
    code: "E064",
    at: "6:18",
    message: 'expressions are not allowed in "foreach"',
  },
  {
    about: "a key that names no item",
    text: task("    foreach: [a]\n    key: x\n"),
    code: "E014",
    at: "7:5",
    message: '"key" of task "a" is the same for every item',
    help: "write ${{ item }}, ${{ item.NAME }} or ${{ index }}",
  },
  {
    about: "two literal items of a key",
    text: task("    foreach: [eu, us, eu]\n    key: ${{ item }}\n"),
    code: "E014",
    at: "6:5",
    message:
      'task "a": foreach: two items have the key "eu"; key names each item, such as key: ${{ item.id }}',
  },
  {
    about: "a matrix without axes",
    text: task("    matrix: {exclude: []}\n"),
    code: "E014",
    at: "6:5",
    message: 'the matrix of task "a" is empty',
  },
  {
    about: "an axis without values",
    text: task("    matrix: {os: [], py: [1]}\n"),
    code: "E014",
    at: "6:14",
    message: '"os" in matrix of task "a" has no values',
  },
  {
    about: "a word as an axis",
    text: task("    matrix: {os: debian}\n"),
    code: "E012",
    at: "6:18",
    message: '"os" in matrix of task "a" must be a list, not "debian"',
    help: 'write a list: ["debian"]',
  },
  {
    about: "a number as the name of an axis",
    text: task("    matrix: {1: [a]}\n"),
    code: "E014",
    at: "6:14",
    message: '"1" is not a valid name in a matrix',
  },
  {
    about: "an exclude of something that is no axis",
    text: task("    matrix: {os: [a], py: [1], exclude: [{os: a, pyy: 1}]}\n"),
    code: "E014",
    at: "6:50",
    message: 'exclude of task "a" names "pyy", which is not in the matrix',
    help: 'did you mean "py"?',
  },
  {
    about: "a matrix of too many combinations",
    text: task(`    matrix: {a: &l [${Array.from({ length: 300 }, (_, n) => n).join(", ")}], b: *l}\n`),
    code: "E014",
    at: "6:5",
    message: 'task "a": matrix: 90000 combinations; at most 50000',
  },
  {
    about: "a variable that items have",
    text: task("    foreach: [a]\n    env: {CDKTR_ITEM: x}\n"),
    code: "E053",
    at: "7:11",
    message: 'CDKTR_ITEM is set by cdktr itself for the items of task "a"',
    help: "choose another name",
  },
  {
    about: "no items at once",
    text: task("    foreach: [a]\n    max_parallel: 0\n"),
    code: "E014",
    at: "7:19",
    message: '"max_parallel" of task "a" must be at least 1',
  },
  // E014 bad-value
  {
    about: "no attempts",
    text: task("    retry: {max_attempts: 0}\n"),
    code: "E014",
    at: "6:27",
    message: '"max_attempts" in retry of task "a" must be at least 1',
  },
  {
    about: "a backoff that shrinks",
    text: task("    retry: {max_attempts: 2, backoff: 0.5}\n"),
    code: "E014",
    at: "6:39",
    message: '"backoff" in retry of task "a" must be at least 1',
  },
  {
    about: "a word among exit codes",
    text: task("    retry: {max_attempts: 2, on_exit_codes: [75, 70-75x]}\n"),
    code: "E014",
    at: "6:50",
    message: 'entry 2 of "on_exit_codes" in retry of task "a": "70-75x" is not an exit code or a range',
    help: "write numbers from 1 to 255, or ranges such as 100-110",
  },
  {
    about: "the exit code of success",
    text: task("    retry: {max_attempts: 2, on_exit_codes: [0]}\n"),
    code: "E014",
    at: "6:46",
    message: 'entry 1 of "on_exit_codes" in retry of task "a": 0 is the exit code of a task that COMPLETED',
    help: "write numbers from 1 to 255, or ranges such as 100-110",
  },
  {
    about: "an exit code that no program has",
    text: task("    retry: {max_attempts: 2, on_exit_codes: [100-256]}\n"),
    code: "E014",
    at: "6:46",
    message:
      'entry 1 of "on_exit_codes" in retry of task "a": "100-256" is beyond 255, the highest exit code',
    help: "write numbers from 1 to 255, or ranges such as 100-110",
  },
  {
    about: "a range of exit codes that ends before it begins",
    text: task("    retry: {max_attempts: 2, on_exit_codes: [110-100]}\n"),
    code: "E014",
    at: "6:46",
    message: 'entry 1 of "on_exit_codes" in retry of task "a": "110-100" ends before it begins',
    help: "write 100-110",
  },
  {
    about: "one exit code that is no list",
    text: task("    retry: {max_attempts: 2, on_exit_codes: 75}\n"),
    code: "E012",
    at: "6:45",
    message: '"on_exit_codes" in retry of task "a" must be a list, not "75"',
    help: 'write a list: ["75"]',
  },
  {
    about: "a jitter in percent",
    text: task("    retry: {max_attempts: 2, delay: 1s, jitter: 20%}\n"),
    code: "E012",
    at: "6:49",
    message: '"jitter" in retry of task "a" must be a number from 0 to 1, not "20%"',
    help: "write 0.2",
  },
  {
    about: "a jitter beyond the delay",
    text: task("    retry: {max_attempts: 2, delay: 1s, jitter: 1.5}\n"),
    code: "E014",
    at: "6:49",
    message: '"jitter" in retry of task "a" must be a number from 0 to 1, not 1.5',
  },
  {
    about: "a max_delay that is shorter than the delay",
    text: task("    retry: {max_attempts: 3, delay: 1m, backoff: 2, max_delay: 10s}\n"),
    code: "E014",
    at: "6:53",
    message: '"max_delay" in retry of task "a" is shorter than its delay',
    help: "no delay is longer than max_delay: make it longer, or shorten delay",
  },
  {
    about: "an unknown catchup",
    text: task("catchup: lastest\n"),
    code: "E014",
    at: "6:10",
    message: '"catchup" must be "none", "latest" or "all", not "lastest"',
    help: 'did you mean "latest"?',
  },
  {
    about: "a mapping where a word belongs",
    text: task("catchup: {a: b}\n"),
    code: "E014",
    at: "6:1",
    message: '"catchup" must be "none", "latest" or "all", not a mapping',
  },
  {
    about: "a variable with the name of a key",
    text: task("    env: {timeout: [a]}\n"),
    code: "E012",
    at: "6:11",
    message: '"timeout" in env of task "a" must be a string, not a list',
  },
  {
    about: "an unknown failover",
    text: task("failover: always\n"),
    code: "E014",
    at: "6:11",
    message: '"failover" must be "rerun" or "never", not "always"',
  },
  // E015 bad-text
  {
    about: "a control character in a name",
    text: task("").replace("name: w", 'name: "w\\x01"'),
    code: "E015",
    at: "1:7",
    message: '"name" contains a control character or a line break',
  },
  {
    about: "a line break in the name of a task",
    text: task("").replace("name: a", 'name: "a\\nb"'),
    code: "E015",
    at: "4:11",
    message: '"name" of task "a" contains a control character or a line break',
  },
  {
    about: "a blank name",
    text: task("").replace("name: w", 'name: "  "'),
    code: "E015",
    at: "1:7",
    message: '"name" is empty',
  },
  {
    about: "a NUL in an argument",
    text: task("").replace("{cmd: ls}", '{cmd: ls, args: ["a\\0"]}'),
    code: "E015",
    at: "5:42",
    message: /contains a NUL character/,
  },
  {
    about: "an empty command",
    text: task("").replace("cmd: ls", 'cmd: ""'),
    code: "E015",
    at: "5:31",
    message: '"cmd" in config of task "a" is empty',
  },
  // E020 missing-tag
  {
    about: "a config without a tag",
    text: task("").replace("!Subprocess ", ""),
    code: "E020",
    at: "5:5",
    message: 'config of task "a" has no tag',
    help: /config: !Subprocess/,
  },
  {
    about: "a Python config without a tag",
    text: task("").replace("!Subprocess {cmd: ls}", "{script_path: x.py}"),
    code: "E020",
    at: "5:5",
    message: 'config of task "a" has no tag',
    help: /config: !UvPython/,
  },
  // E021 bad-tag
  {
    about: "a tag in lower case",
    text: task("").replace("!Subprocess", "!subprocess"),
    code: "E021",
    at: "5:13",
    message: "unknown kind of task !subprocess",
    help: 'did you mean "!Subprocess"?',
  },
  {
    about: "an unknown tag",
    text: task("").replace("!Subprocess", "!Docker"),
    code: "E021",
    at: "5:13",
    message: "unknown kind of task !Docker",
    help: /^the kinds are !Subprocess, !UvPython, .* and !\w+$/,
  },
  {
    about: "a tag on the next line, unknown",
    text: "name: w\ntasks:\n  a:\n    name: a\n    config:\n      !UvPyton\n      script_path: x\n",
    code: "E021",
    at: "6:7",
    message: "unknown kind of task !UvPyton",
    help: 'did you mean "!UvPython"?',
  },
  {
    about: "a tag on a text",
    text: task("    description: !Subprocess x\n"),
    code: "E021",
    at: "6:18",
    message: "the tag !Subprocess is not allowed here",
  },
  {
    about: "a tag on a task",
    text: "name: w\ntasks:\n  a: !Subprocess\n    name: a\n    config: !Subprocess {cmd: ls}\n",
    code: "E021",
    at: "3:6",
    message: "the tag !Subprocess is not allowed here",
  },
  {
    about: "a tag of YAML that does not fit",
    text: task("    description: !!int x\n"),
    code: "E021",
    at: "6:18",
    message: "the tag !!int is not allowed here",
  },
  {
    about: "a tag that every object of JavaScript has",
    text: "name: w\ntasks:\n  a:\n    name: a\n    config: !constructor {cmd: ls}\n",
    code: "E021",
    at: "5:13",
    message: "unknown kind of task !constructor",
    help: /^the kinds are !Subprocess, !UvPython, .* and !\w+$/,
  },
  // E030 unknown-dependency
  {
    about: "a dependency that does not exist",
    text: task("  b:\n    name: b\n    depends: [aa]\n    config: !Subprocess {cmd: ls}\n"),
    code: "E030",
    at: "8:15",
    message: 'task "b" depends on "aa", which does not exist',
    help: 'did you mean "a"?',
  },
  {
    about: "a dependency by name",
    text: "name: w\ntasks:\n  x1:\n    name: Extract\n    config: !Subprocess {cmd: ls}\n  b:\n    name: b\n    depends: [Extract]\n    config: !Subprocess {cmd: ls}\n",
    code: "E030",
    at: "8:15",
    message: 'task "b" depends on "Extract", which does not exist',
    help: '"Extract" is the name of task "x1"; write its id',
  },
  // E031 self-dependency
  {
    about: "a task that waits for itself",
    text: task("    depends: [a]\n"),
    code: "E031",
    at: "6:15",
    message: 'task "a" depends on itself',
  },
  // E032 dependency-cycle
  {
    about: "a cycle",
    text: [
      "name: w",
      "tasks:",
      "  start: {name: s, config: !Subprocess {cmd: ls}}",
      "  a: {name: a, depends: [start, c], config: !Subprocess {cmd: ls}}",
      "  b: {name: b, depends: [a], config: !Subprocess {cmd: ls}}",
      "  c: {name: c, depends: [b], config: !Subprocess {cmd: ls}}",
      "  d: {name: d, depends: [c], config: !Subprocess {cmd: ls}}",
    ].join("\n"),
    code: "E032",
    at: "4:33",
    message: "the dependencies form a cycle: a → c → b → a",
  },
  // E033 bad-condition
  {
    about: "a word of another tool",
    text: dependent("{a: success}"),
    code: "E033",
    at: "7:18",
    message: '"a" in depends of task "b": "success" is not a condition',
    help: "write completed",
  },
  {
    about: "a status as a condition",
    text: dependent("{a: FAILED}"),
    code: "E033",
    at: "7:18",
    message: '"a" in depends of task "b": "FAILED" is not a condition',
    help: "write failed",
  },
  {
    about: "a condition with a letter too few",
    text: dependent("{a: [completed, skiped]}"),
    code: "E033",
    at: "7:30",
    message: 'entry 2 of "a" in depends of task "b": "skiped" is not a condition',
    help: 'did you mean "skipped"?',
  },
  {
    about: "a condition that says nothing",
    text: dependent("{a: maybe}"),
    code: "E033",
    at: "7:18",
    message: '"a" in depends of task "b": "maybe" is not a condition',
    help: "write completed, failed, skipped or ended",
  },
  {
    about: "no condition",
    text: dependent("{a: []}"),
    code: "E033",
    at: "7:15",
    message: '"a" in depends of task "b" has no condition',
    help: "write completed, failed, skipped or ended",
  },
  {
    about: "a mapping as a condition",
    text: dependent("{a: {status: failed}}"),
    code: "E012",
    at: "7:15",
    message:
      '"a" in depends of task "b" must be completed, failed, skipped or ended, or a list of these, not a mapping',
    help: "write completed, failed, skipped or ended",
  },
  {
    about: "a condition on a task that does not exist",
    text: dependent("{aa: failed}"),
    code: "E030",
    at: "7:15",
    message: 'task "b" depends on "aa", which does not exist',
    help: 'did you mean "a"?',
  },
  {
    about: "a condition on oneself",
    text: dependent("{b: failed}"),
    code: "E031",
    at: "7:15",
    message: 'task "b" depends on itself',
  },
  {
    about: "a word that is neither true nor false for allow_failure",
    text: task("    allow_failure: maybe\n"),
    code: "E012",
    at: "6:20",
    message: '"allow_failure" of task "a" must be true or false, not "maybe"',
  },
  {
    about: "a list of exit codes where a mapping is wanted",
    text: task("    allow_failure: [3]\n"),
    code: "E012",
    at: "6:5",
    message: '"allow_failure" of task "a" must be true, false or {exit_codes: [...]}, not a list',
  },
  {
    about: "an exit code that is none",
    text: task("    allow_failure: {exit_codes: [3, 70-75x]}\n"),
    code: "E014",
    at: "6:37",
    message: 'entry 2 of "exit_codes" in allow_failure of task "a": "70-75x" is not an exit code or a range',
    help: "write numbers from 1 to 255, or ranges such as 100-110",
  },
  {
    about: "exit code 0",
    text: task("    allow_failure: {exit_codes: [0]}\n"),
    code: "E014",
    at: "6:34",
    message:
      'entry 1 of "exit_codes" in allow_failure of task "a": 0 is the exit code of a task that COMPLETED',
  },
  {
    about: "a condition that is not an expression",
    text: task("    when: params.full\n"),
    code: "E014",
    at: "6:11",
    message: '"when" of task "a" is not an expression',
    help: "write ${{ params.full }}",
  },
  {
    about: "a condition that is text",
    text: task("    when: ${{ run.trigger }}\n"),
    code: "E062",
    at: "6:11",
    message: '"when" of task "a" must be true or false, but the expression is a string',
    help: 'compare it: ${{ … == "true" }}',
  },
  {
    about: "an output of the workflow that no task declares",
    text: 'tasks:\n  a:\n    outputs: [rows]\n    config: !Subprocess {cmd: ls}\noutputs: {rows: "${{ tasks.a.outputs.row }}"}\n',
    code: "E035",
    at: "5:38",
    message: '"a" does not declare an output "row"',
    help: 'did you mean "rows"?',
  },
  {
    about: "outputs of the workflow as a list",
    text: task("outputs: [rows]\n"),
    code: "E012",
    at: "6:1",
    message: '"outputs" must be a mapping, not a list',
    help: 'such as {rows: "${{ tasks.extract.outputs.rows }}"}',
  },
  {
    about: "an output of the workflow with a blank in its name",
    text: task("outputs: {my rows: x}\n"),
    code: "E014",
    at: "6:11",
    message: '"my rows" is not the name of an output',
    help: 'use letters, digits, "_", "-" and "."',
  },
  {
    about: "an output with a blank in its name",
    text: task("    outputs: [rows, my rows]\n"),
    code: "E014",
    at: "6:21",
    message: 'entry 2 of "outputs" of task "a": "my rows" is not the name of an output',
    help: 'use letters, digits, "_", "-" and "."',
  },
  {
    about: "one output that is no list",
    text: task("    outputs: rows\n"),
    code: "E012",
    at: "6:14",
    message: '"outputs" of task "a" must be a list, not "rows"',
    help: 'write a list: ["rows"]',
  },
  // E040 bad-cron
  {
    about: "an hour that does not exist",
    text: task('cron: "0 25 * * *"\n'),
    code: "E040",
    at: "6:10",
    message: '"cron": "25" is not valid for the hour',
    help: /the hour is 0 to 23/,
  },
  {
    about: "a second that does not exist, six fields",
    text: task('cron: "60 0 0 * * *"\n'),
    code: "E040",
    at: "6:8",
    message: '"cron": "60" is not valid for the second',
  },
  {
    about: "a weekday that does not exist",
    text: task("cron: 0 0 * * FUN\n"),
    code: "E040",
    at: "6:15",
    message: '"cron": "FUN" is not valid for the day of week',
  },
  {
    about: "seven fields",
    text: task('cron: "0 0 2 * * * 2025"\n'),
    code: "E040",
    at: "6:8",
    message: '"cron" has 7 fields, not 5 or 6',
  },
  {
    about: "one field",
    text: task("cron: daily\n"),
    code: "E040",
    at: "6:7",
    message: '"cron" has 1 field, not 5 or 6',
  },
  {
    about: "a date that never comes",
    text: task('cron: "0 0 30 2 *"\n'),
    code: "E040",
    at: "6:8",
    message: '"cron" never fires',
  },
  {
    about: "a step without a range",
    text: task('cron: "5/10 * * * *"\n'),
    code: "E040",
    at: "6:8",
    message: '"cron": "5/10" is not valid for the minute',
  },
  {
    about: "an unknown short form",
    text: task('cron: "@dayly"\n'),
    code: "E040",
    at: "6:8",
    message: '"cron": "@dayly" is not a schedule',
    help: /@daily/,
  },
  // E044 bad-schedule, and what is wrong in an entry of cron
  {
    about: "no schedule in the list",
    text: task("cron: []\n"),
    code: "E044",
    at: "6:1",
    message: '"cron" must be a schedule or a list of schedules, not an empty list',
    help: 'remove it, or write cron: "0 2 * * *"',
  },
  {
    about: "two entries that are the same",
    text: task("cron: [0 2 * * *, 0 3 * * *, 0 2 * * *]\n"),
    code: "E044",
    at: "6:30",
    message: 'entries 1 and 3 of "cron" are the same',
    help: "remove one, or give one of them other params",
  },
  {
    about: "an entry without a time",
    text: task("cron: [0 2 * * *, {timezone: UTC}]\n"),
    code: "E011",
    at: "6:19",
    message: '"cron" is missing in entry 2 of cron',
    help: 'such as "0 2 * * *", every day at 02:00',
  },
  {
    about: "an entry that is a list",
    text: task("cron: [[0 2 * * *]]\n"),
    code: "E012",
    at: "6:8",
    message: 'entry 1 of "cron" must be a schedule, not a list',
    help: 'such as "0 2 * * *", or {cron: "0 2 * * *", timezone: Europe/London}',
  },
  {
    about: "an hour that does not exist, in a list",
    text: task('cron: ["0 2 * * *", "0 25 * * *"]\n'),
    code: "E040",
    at: "6:24",
    message: 'entry 2 of "cron": "25" is not valid for the hour',
    help: /the hour is 0 to 23/,
  },
  {
    about: "an hour that does not exist, in an entry",
    text: task('cron: [{cron: "0 25 * * *", jitter: 5m}]\n'),
    code: "E040",
    at: "6:18",
    message: '"cron" in entry 1 of cron: "25" is not valid for the hour',
  },
  {
    about: "the name of a calendar with a blank",
    text: task('cron: {cron: "0 2 * * *", calendar: work days}\n'),
    code: "E014",
    at: "6:37",
    message: '"calendar" in cron is not the name of a calendar',
    help: 'name one of calendars: in "_cdktr.yml" of the workflow directory',
  },
  {
    about: "an end without a time",
    text: task('cron: {cron: "0 2 * * *", end_time: 2026-01-01}\n'),
    code: "E042",
    at: "6:37",
    message: '"end_time" in cron: "2026-01-01" has no time',
  },
  ...(
    [
      ["tz: UTC", 'it is called "timezone" here: timezone: UTC'],
      ["inputs: {a: b}", 'it is called "params" here: params: {full: true}'],
      ["start_date: 2025-01-01", 'it is called "start_time" here: start_time: 2025-01-20T02:00:00Z'],
      ["endDate: 2025-01-01", 'it is called "end_time" here: end_time: 2026-01-20T02:00:00Z'],
      ["startingDeadlineSeconds: 200", 'it is called "catchup_window" here: catchup_window: 200s'],
      ["misfire_policy: skip", 'it is called "catchup" here: none, latest or all'],
      ["RandomizedDelaySec: 300", 'it is called "jitter" here: jitter: 300s'],
      [
        "holidays: de",
        'it is called "calendar" here: the name of one of calendars: in _cdktr.yml of the workflow directory',
      ],
      ["jiter: 5m", 'did you mean "jitter"?'],
    ] as const
  ).map(
    ([line, help]): Case => ({
      about: `an entry of cron with ${line}`,
      text: task(`cron: [{cron: "0 2 * * *", ${line}}]\n`),
      code: "E010",
      at: "6:28",
      message: `unknown key "${line.slice(0, line.indexOf(":"))}" in entry 1 of cron`,
      help,
    }),
  ),
  ...(
    [
      [
        "end_date: 2025-01-01",
        'it belongs to an entry of cron: cron: {cron: "0 2 * * *", end_time: 2026-01-20T02:00:00Z}',
      ],
      [
        "startingDeadlineSeconds: 200",
        'it belongs to an entry of cron: cron: {cron: "0 2 * * *", catchup_window: 6h}',
      ],
      ["jitter: 5m", 'it belongs to an entry of cron: cron: {cron: "0 2 * * *", jitter: 5m}'],
      ["calendar: workdays", 'it belongs to an entry of cron: cron: {cron: "0 2 * * *", calendar: workdays}'],
    ] as const
  ).map(
    ([line, help]): Case => ({
      about: `a workflow with ${line}`,
      text: `${line}\n${task("")}`,
      code: "E010",
      at: "1:1",
      message: `unknown key "${line.slice(0, line.indexOf(":"))}"`,
      help,
    }),
  ),
  // E041 bad-timezone
  {
    about: "a zone that does not exist",
    text: task("cron: 0 2 * * *\ntimezone: Europe/Lodnon\n"),
    code: "E041",
    at: "7:11",
    message: '"timezone": "Europe/Lodnon" is not a known time zone',
    help: 'did you mean "Europe/London"?',
  },
  {
    about: "an offset as a zone",
    text: task('cron: 0 2 * * *\ntimezone: "+01:00"\n'),
    code: "E041",
    at: "7:11",
    message: /is not a known time zone/,
    help: /IANA name/,
  },
  // E042 bad-start-time
  {
    about: "a day alone",
    text: task("cron: 0 2 * * *\nstart_time: 2025-01-20\n"),
    code: "E042",
    at: "7:13",
    message: '"start_time": "2025-01-20" has no time',
    help: "write it like 2025-01-20T00:00:00+00:00",
  },
  {
    about: "no offset",
    text: task("cron: 0 2 * * *\nstart_time: 2025-01-20T02:00:00\n"),
    code: "E042",
    at: "7:13",
    message: /has no offset/,
    help: /2025-01-20T02:00:00Z for UTC/,
  },
  {
    about: "a day that does not exist",
    text: task("cron: 0 2 * * *\nstart_time: 2025-02-30T02:00:00Z\n"),
    code: "E042",
    at: "7:13",
    message: /does not exist/,
  },
  {
    about: "no date at all",
    text: task("cron: 0 2 * * *\nstart_time: tomorrow\n"),
    code: "E042",
    at: "7:13",
    message: '"start_time": "tomorrow" is not a date and time',
  },
  // E043 bad-duration
  {
    about: "a bare number",
    text: task("timeout: 90\n"),
    code: "E043",
    at: "6:10",
    message: '"timeout": "90" has no unit',
    help: 'write "90s" for seconds, "90m" for minutes',
  },
  {
    about: "an unknown unit",
    text: task("    timeout: 5min\n"),
    code: "E043",
    at: "6:14",
    message: '"timeout" of task "a": "min" is not a unit of time',
    help: /write "5m"/,
  },
  {
    about: "no time at all",
    text: task("    timeout: 0s\n"),
    code: "E043",
    at: "6:14",
    message: '"timeout" of task "a" must be longer than 0',
  },
  {
    about: "a delay without a unit",
    text: task("    retry: {max_attempts: 2, delay: 5}\n"),
    code: "E043",
    at: "6:37",
    message: '"delay" in retry of task "a": "5" has no unit',
  },
  // E050 bad-task-id
  {
    about: "a blank in an id",
    text: "name: w\ntasks:\n  a b:\n    name: a\n    config: !Subprocess {cmd: ls}\n",
    code: "E050",
    at: "3:3",
    message: '"a b" is not a valid task id',
  },
  {
    about: "an empty id",
    text: 'name: w\ntasks:\n  "":\n    name: a\n    config: !Subprocess {cmd: ls}\n',
    code: "E050",
    at: "3:3",
    message: '"" is not a valid task id',
  },
  // E053 bad-env-name
  {
    about: "a dash in the name of a variable",
    text: task("env: {A-B: x}\n"),
    code: "E053",
    at: "6:7",
    message: '"A-B" is not a valid name for an environment variable',
  },
  {
    about: "a variable that cdktr sets",
    text: task("    env: {CDKTR_TASK_ID: x}\n"),
    code: "E053",
    at: "6:11",
    message: "CDKTR_TASK_ID is set by cdktr itself",
  },
  // E054 bad-param-name
  {
    about: "a blank in the name of a parameter",
    text: task("params: {a b: x}\n"),
    code: "E054",
    at: "6:10",
    message: '"a b" is not a valid parameter name',
  },
  {
    about: "parameters that differ in case only",
    text: task("params: {day: x, DAY: y}\n"),
    code: "E054",
    at: "6:18",
    message: 'the parameters "day" and "DAY" differ only in case',
  },
  {
    about: "a wait for nothing",
    text: "tasks:\n  a: {config: !Wait {}}\n",
    code: "E014",
    at: "2:7",
    message: '!Wait of task "a" needs "for" or "until"',
    help: "such as for: 10m, or until: 2030-01-20T02:00:00Z",
  },
  {
    about: "a wait for two things",
    text: "tasks:\n  a: {config: !Wait {for: 10m, until: 2030-01-20T02:00:00Z}}\n",
    code: "E014",
    at: "2:7",
    message: '!Wait of task "a" has both "for" and "until"',
    help: "keep one",
  },
  {
    about: "a wait without a unit",
    text: "tasks:\n  a: {config: !Wait {for: 10}}\n",
    code: "E043",
    at: "2:27",
    message: '"for" in config of task "a": "10" has no unit',
    help: 'write "10s" for seconds, "10m" for minutes',
  },
  {
    about: "a wait for a time without an offset",
    text: "tasks:\n  a: {config: !Wait {until: 2030-01-20T02:00}}\n",
    code: "E042",
    at: "2:29",
    message: '"until" in config of task "a": "2030-01-20T02:00" has no offset',
    help: /write 2030-01-20T02:00:00Z for UTC/,
  },
  {
    about: "a hook that waits",
    text: task("hooks: {on_exit: {config: !Wait {for: 10m}}}\n"),
    code: "E014",
    at: "6:19",
    message: "a hook cannot be !Wait",
    help: "a hook runs on an agent: use another kind",
  },
  {
    about: "an approval that asks nothing",
    text: "tasks:\n  a: {config: !Approval {timeout: 1h}}\n",
    code: "E011",
    at: "2:7",
    message: '"message" is missing in config of task "a"',
    help: "say what is to be decided, such as message: Deploy to production?",
  },
  {
    about: "an approval by nobody that lacks a value",
    text: "tasks:\n  a: {config: !Approval {message: Go?, form: {n: {type: int}, m: 1}, timeout: 1h, on_timeout: approve}}\n",
    code: "E014",
    at: "2:7",
    message: '!Approval of task "a" approves by itself, but n of its form has no default',
    help: "give each field a default, or write on_timeout: reject",
  },
  {
    about: "a role that does not exist",
    text: "tasks:\n  a: {config: !Approval {message: Go?, roles: [amin]}}\n",
    code: "E014",
    at: "2:48",
    message: 'entry 1 of "roles" in config of task "a" must be "client" or "admin", not "amin"',
    help: 'did you mean "admin"?',
  },
  {
    about: "a field of a form with the name of an output",
    text: "tasks:\n  a: {config: !Approval {message: Go?, form: {note: text}}}\n",
    code: "E054",
    at: "2:47",
    message: 'a field of a form cannot be named "note"',
    help: "every approval publishes an output of that name: choose another one",
  },
  {
    about: "a field of a form that no expression could name",
    text: "tasks:\n  a: {config: !Approval {message: Go?, form: {a-b: text}}}\n",
    code: "E054",
    at: "2:47",
    message: '"a-b" is not a valid name for a field of a form',
    help: "use letters, digits and _, and do not start with a digit",
  },
  {
    about: "a default of a form that does not fit",
    text: "tasks:\n  a: {config: !Approval {message: Go?, form: {n: {type: int, default: x}}}}\n",
    code: "E071",
    at: "2:71",
    message: '"default" in n of form of config of task "a" is not a whole number: "x"',
  },
  {
    about: "a required field of a form with a default",
    text: "tasks:\n  a: {config: !Approval {message: Go?, form: {n: {required: true, default: x}}}}\n",
    code: "E072",
    at: "2:51",
    message: '"required" of field "n" contradicts its default',
    help: "remove one of them: whoever gives no value gets the default",
  },
  {
    about: "a hook that asks",
    text: task("hooks: {on_exit: {config: !Approval {message: Go?}}}\n"),
    code: "E014",
    at: "6:19",
    message: "a hook cannot be !Approval",
    help: "a hook runs on an agent: use another kind",
  },
  {
    about: "an output that an approval does not publish",
    text: 'tasks:\n  a: {config: !Approval {message: Go?, form: {n: x}}}\n  b: {depends: [a], run: echo, env: {X: "${{ tasks.a.outputs.amount }}"}}\n',
    code: "E035",
    at: "3:62",
    message: '"a" does not declare an output "amount"',
    help: "its outputs are approved_by, note, n",
  },
  {
    about: "an expression in a field of a form that is no upstream task",
    text: 'tasks:\n  a: {config: !Approval {message: Go?, form: {n: "${{ tasks.b.outputs.m }}"}}}\n  b: {run: echo}\n',
    code: "E034",
    at: "2:61",
    message: 'task "a" reads the outputs of "b", which does not run before it',
    help: 'add "b" to its depends',
  },
  {
    about: "a list without entries: outputs: []",
    text: "tasks:\n  a:\n    run: echo\n    outputs: []\n",
    code: "E014",
    at: "4:5",
    message: '"outputs" of task "a" is empty',
    help: "write at least one entry, or remove it",
  },
  {
    about: "a list without entries: allow_failure: {exit_codes: []}",
    text: "tasks:\n  a:\n    run: echo\n    allow_failure: {exit_codes: []}\n",
    code: "E014",
    at: "4:21",
    message: '"exit_codes" in allow_failure of task "a" is empty',
    help: "write at least one entry, or remove it",
  },
  // E057 reserved-id
  {
    about: "a task with the id of a hook",
    text: `${task("")}  on_exit: {config: !Subprocess {cmd: ls}}\nhooks: {on_exit: {config: !Subprocess {cmd: ls}}}\n`,
    code: "E057",
    at: "6:3",
    message: 'task "on_exit" has the id of a hook of this workflow',
    help: "rename the task",
  },
  // E055 bad-label-name
  {
    about: "a label without a name",
    text: task('runs_on: {"": x}\n'),
    code: "E055",
    at: "6:11",
    message: "the name of a label is empty",
  },
  {
    about: "a label with = in its name",
    text: task('    runs_on: {"zone=eu": x}\n'),
    code: "E055",
    at: "6:15",
    message: '"zone=eu" is not a valid name for a label',
  },
  // Labels and placement
  {
    about: "a word instead of labels",
    text: task("runs_on: ubuntu-latest\n"),
    code: "E012",
    at: "6:10",
    message: '"runs_on" must be a mapping, not "ubuntu-latest"',
    help: /such as \{zone: eu\}/,
  },
  {
    about: "a list of labels",
    text: task("    runs_on: [zone, gpu]\n"),
    code: "E012",
    at: "6:5",
    message: '"runs_on" of task "a" must be a mapping, not a list',
  },
  {
    about: "a label without a value",
    text: task("    runs_on: {gpu: }\n"),
    code: "E011",
    at: "6:15",
    message: '"gpu" in runs_on of task "a" has no value',
  },
  {
    about: "a label with an empty value",
    text: task('runs_on: {gpu: ""}\n'),
    code: "E015",
    at: "6:16",
    message: '"gpu" in runs_on is empty',
    help: "write the value that an agent must have",
  },
  {
    about: "a list as a label's value",
    text: task("runs_on: {zone: [eu, us]}\n"),
    code: "E012",
    at: "6:11",
    message: '"zone" in runs_on must be a string, not a list',
  },
  {
    about: "GitHub's spelling",
    text: task("    runs-on: {zone: eu}\n"),
    code: "E010",
    at: "6:5",
    message: 'unknown key "runs-on" in task "a"',
    help: 'did you mean "runs_on"?',
  },
  {
    about: "a word that is no placement",
    text: task("placement: spred\n"),
    code: "E014",
    at: "6:12",
    message: '"placement" must be "together" or "spread", not "spred"',
    help: 'did you mean "spread"?',
  },
  // E093 bad-concurrency
  ...(
    [
      [
        "0",
        "1:14",
        '"concurrency" must be a whole number from 1 to 10000, not "0"',
        "to stop a workflow: cdktr workflow pause ID",
      ],
      [
        "eu",
        "1:14",
        '"concurrency" must be a whole number from 1 to 10000, not "eu"',
        "a group has a name: concurrency: {group: eu}",
      ],
      [
        "{max_runs: 0}",
        "1:25",
        '"max_runs" in concurrency must be a whole number from 1 to 10000, not "0"',
        "to stop a workflow: cdktr workflow pause ID",
      ],
      [
        "{max_runs: 10001}",
        "1:25",
        '"max_runs" in concurrency must be a whole number from 1 to 10000, not "10001"',
        undefined,
      ],
      [
        "{on_conflict: replace}",
        "1:28",
        '"on_conflict" in concurrency must be "queue", "queue_latest", "skip" or "cancel_running", not "replace"',
        "did you mean cancel_running?",
      ],
      ["{on_conflict: Forbid}", "1:28", /not "Forbid"$/, "did you mean skip?"],
      [
        "{on_conflict: Allow}",
        "1:28",
        /not "Allow"$/,
        "remove concurrency: without it, any number of runs may run at once",
      ],
      ["{on_conflict: wait}", "1:28", /not "wait"$/, "did you mean queue?"],
      ["{on_conflict: queue_lates}", "1:28", /not "queue_lates"$/, 'did you mean "queue_latest"?'],
      ['{group: ""}', "1:22", '"group" in concurrency is empty', undefined],
      [`{group: ${"x".repeat(257)}}`, "1:22", '"group" in concurrency is longer than 256 bytes', undefined],
    ] as const
  ).map(([value, at, message, help]) => ({
    about: `concurrency: ${value.slice(0, 40)}`,
    text: `concurrency: ${value}\n${task("")}`,
    code: "E093" as const,
    at,
    message,
    ...(help === undefined ? {} : { help }),
  })),
  ...(
    [
      ["cancel-in-progress: true", 'it is called "on_conflict" here: on_conflict: cancel_running'],
      ["limit: 2", 'it is called "max_runs" here: max_runs: 2'],
      ["key: db", 'it is called "group" here: group: db'],
      ["policy: skip", 'it is called "on_conflict" here: queue, queue_latest, skip or cancel_running'],
      ["max_run: 2", 'did you mean "max_runs"?'],
    ] as const
  ).map(([line, help]) => ({
    about: `concurrency with ${line}`,
    text: `concurrency: {${line}}\n${task("")}`,
    code: "E010" as const,
    at: "1:15",
    message: `unknown key "${line.split(":")[0]}" in concurrency`,
    help,
  })),
  {
    about: "a concurrency group that reads a task",
    text: `concurrency: {group: "\${{ tasks.a.status }}"}\n${task("")}`,
    code: "E034",
    at: "1:33",
    message: "tasks cannot be read here",
    help: "this is evaluated before any task runs",
  },
  {
    about: "a concurrency that is a list",
    text: `concurrency: [1]\n${task("")}`,
    code: "E012",
    at: "1:1",
    message: '"concurrency" must be a number of runs, or a mapping, not a list',
    help: "such as concurrency: 1, or concurrency: {group: warehouse, max_runs: 2}",
  },
  // E090 bad-files
  {
    about: "a file beside the directory of the workflow",
    text: `files: ["ok.sh", "../x"]\n${task("")}`,
    code: "E090",
    at: "1:18",
    message: 'entry 2 of "files" must stay below the directory of the workflow file: "../x"',
    help: "put the files there; a path starts at the directory of the workflow file",
  },
  {
    about: "an absolute path of a file",
    text: `files: [/etc/passwd]\n${task("")}`,
    code: "E090",
    at: "1:9",
    message: 'entry 1 of "files" must stay below the directory of the workflow file: "/etc/passwd"',
    help: /^put the files there/,
  },
  {
    about: "files that are one text",
    text: `files: scripts/**\n${task("")}`,
    code: "E012",
    at: "1:8",
    message: '"files" must be a list, not "scripts/**"',
    help: 'write a list: ["scripts/**"]',
  },
  {
    about: "a glob that is empty",
    text: `files: [""]\n${task("")}`,
    code: "E014",
    at: "1:9",
    message: 'entry 1 of "files" is empty',
    help: "write a path or a glob, such as scripts/**",
  },
  // E080 bad-secret, E081 unknown-secret
  {
    about: "a secret in the file itself, which is not quoted",
    text: `secrets: {DB: hunter2}\n${task("    secrets: [DB]\n")}`,
    code: "E080",
    at: "1:11",
    message: "do not put the secret itself into the file",
    help: "write DB: {file: /path}, or env, command or store instead of file",
  },
  {
    about: "a secret that is nowhere",
    text: `secrets:\n  DB:\n${task("    secrets: [DB]\n")}`,
    code: "E080",
    at: "2:3",
    message: 'the secret "DB" must say where it is: one of file, env, command, store',
    help: /^write DB: \{file/,
  },
  {
    about: "a secret in two places",
    text: `secrets: {DB: {file: /x, env: X}}\n${task("    secrets: [DB]\n")}`,
    code: "E080",
    at: "1:11",
    message: 'the secret "DB" says more than once where it is: file, env',
    help: "keep one of them",
  },
  {
    about: "a secret that is a setting of cdktr",
    text: `secrets: {DB: {env: CDKTR_KEY_FILE}}\n${task("    secrets: [DB]\n")}`,
    code: "E080",
    at: "1:11",
    message: 'the secret "DB" cannot be CDKTR_KEY_FILE, which is a setting of cdktr',
    help: "name another variable of the agent",
  },
  {
    about: "another word for where a secret is",
    text: `secrets: {DB: {path: /x}}\n${task("    secrets: [DB]\n")}`,
    code: "E010",
    at: "1:16",
    message: 'unknown key "path" in DB of secrets',
    help: "the keys allowed here are file, env, command, store",
  },
  {
    about: "a command in one piece",
    text: `secrets: {DB: {command: pass show db}}\n${task("    secrets: [DB]\n")}`,
    code: "E012",
    at: "1:25",
    message: '"command" in DB of secrets must be a list, not "pass show db"',
    help: 'write a list: ["pass show db"]',
  },
  {
    about: "a name of a secret that no variable can have",
    text: `secrets: {my-db: {file: /x}}\n${task("    secrets: {DB: my-db}\n")}`,
    code: "E053",
    at: "1:11",
    message: '"my-db" is not a valid name for a secret',
    help: "use letters, digits and _, and do not start with a digit",
  },
  {
    about: "a secret in a variable that cdktr sets",
    text: `secrets: {DB: {file: /x}}\n${task("    secrets: {CDKTR_TASK_ID: DB}\n")}`,
    code: "E053",
    at: "7:15",
    message: "CDKTR_TASK_ID is set by cdktr itself",
    help: "choose another name",
  },
  {
    about: "a secret that is not declared, though one like it is",
    text: `secrets: {DB_PASSWORD: {file: /x}}\n${task("    secrets: [DB_PASWORD]\n")}`,
    code: "E081",
    at: "7:15",
    message: 'task "a" uses the secret "DB_PASWORD", which secrets of the workflow does not declare',
    help: 'did you mean "DB_PASSWORD"?',
  },
  {
    about: "a secret in a workflow without any",
    text: task("    secrets: {PASSWORD: DB}\n"),
    code: "E081",
    at: "6:25",
    message: 'task "a" uses the secret "DB", which secrets of the workflow does not declare',
    help: "say at the top of the file where it is: secrets: {DB: {file: /path}}",
  },
  {
    about: "a variable that is in env and in secrets",
    text: `secrets: {DB: {file: /x}}\n${task("    env: {DB: y}\n    secrets: [DB]\n")}`,
    code: "E014",
    at: "8:15",
    message: '"DB" is both in env and in secrets of task "a"',
    help: "keep one of the two",
  },
  {
    about: "secrets of a task that are one name",
    text: `secrets: {DB: {file: /x}}\n${task("    secrets: DB\n")}`,
    code: "E012",
    at: "7:14",
    message: '"secrets" of task "a" must be a list of names, not "DB"',
    help: 'write a list: ["DB"]',
  },
  // E070 bad-param-type
  {
    about: "a type of JSON Schema",
    text: task("params: {x: {type: integer}}\n"),
    code: "E070",
    at: "6:20",
    message:
      '"type" of parameter "x" must be "string", "int", "number", "bool", "date" or "json", not "integer"',
    help: 'did you mean "int"?',
  },
  {
    about: "a type that nobody has",
    text: task("params: {x: {type: colour}}\n"),
    code: "E070",
    at: "6:20",
    message:
      '"type" of parameter "x" must be "string", "int", "number", "bool", "date" or "json", not "colour"',
  },
  // E071 bad-param-default
  {
    about: "a default that is no number",
    text: task("params: {days: {type: int, default: seven}}\n"),
    code: "E071",
    at: "6:37",
    message: '"default" of parameter "days" is not a whole number: "seven"',
  },
  {
    about: "a default beyond its max",
    text: task("params: {days: {type: int, max: 31, default: 40}}\n"),
    code: "E071",
    at: "6:46",
    message: '"default" of parameter "days" is larger than its max, 31: "40"',
  },
  {
    about: "a default before its min",
    text: task("params: {day: {type: date, min: 2026-01-01, default: 2025-01-01}}\n"),
    code: "E071",
    at: "6:54",
    message: '"default" of parameter "day" is before its min, 2026-01-01: "2025-01-01"',
  },
  {
    about: "a default that is not among the choices",
    text: task("params: {region: {enum: [eu, us], default: asia}}\n"),
    code: "E071",
    at: "6:44",
    message: '"default" of parameter "region" is not among its choices: "asia"',
    help: "its choices are eu, us",
  },
  {
    about: "a default that is nearly among the choices",
    text: task("params: {region: {enum: [europe, us], default: eurpe}}\n"),
    code: "E071",
    at: "6:48",
    message: '"default" of parameter "region" is not among its choices: "eurpe"',
    help: 'did you mean "europe"?',
  },
  {
    about: "a default that is no date",
    text: task("params: {day: {type: date, default: today}}\n"),
    code: "E071",
    at: "6:37",
    message: '"default" of parameter "day" is not a date: "today"',
    help: "such as 2026-02-28",
  },
  {
    about: "yes as a default",
    text: task("params: {full: {type: bool, default: yes}}\n"),
    code: "E071",
    at: "6:38",
    message: '"default" of parameter "full" is not true or false: "yes"',
    help: 'write "true"',
  },
  {
    about: "a list as the default of a string",
    text: task("params: {tables: {default: [a]}}\n"),
    code: "E012",
    at: "6:19",
    message: '"default" of parameter "tables" must be a string, not a list',
    help: "for a list or a mapping, write type: json",
  },
  // E072 bad-param-rule
  {
    about: "a min of a bool",
    text: task("params: {full: {type: bool, min: 1}}\n"),
    code: "E072",
    at: "6:34",
    message: '"min" of parameter "full" has no effect: its type is bool',
    help: "remove it",
  },
  {
    about: "a max without a type",
    text: task("params: {days: {max: 31}}\n"),
    code: "E072",
    at: "6:22",
    message: '"max" of parameter "days" has no effect: its type is string',
    help: "remove it",
  },
  {
    about: "choices of a bool",
    text: task("params: {full: {type: bool, enum: [true]}}\n"),
    code: "E072",
    at: "6:29",
    message: '"enum" of parameter "full" has no effect: its type is bool',
    help: "remove it",
  },
  {
    about: "a choice of another type",
    text: task("params: {days: {type: int, enum: [1, x]}}\n"),
    code: "E072",
    at: "6:38",
    message: 'entry 2 of "enum" of parameter "days" is not a whole number: "x"',
  },
  {
    about: "a pattern that is none",
    text: task('params: {x: {pattern: "a("}}\n'),
    code: "E072",
    at: "6:23",
    message: /^"pattern" of parameter "x" is not a regular expression: missing closing \)/,
  },
  {
    about: "a pattern of an int",
    text: task('params: {x: {type: int, pattern: "a"}}\n'),
    code: "E072",
    at: "6:34",
    message: '"pattern" of parameter "x" has no effect: its type is int',
    help: "remove it",
  },
  {
    about: "a default that does not match",
    text: task('params: {x: {pattern: "[a-z]+", default: A}}\n'),
    code: "E071",
    at: "6:42",
    message: '"default" of parameter "x" does not match its pattern, [a-z]+: "A"',
  },
  {
    about: "a min that is no number",
    text: task("params: {days: {type: int, min: one}}\n"),
    code: "E072",
    at: "6:33",
    message: '"min" of parameter "days" is not a whole number: "one"',
  },
  {
    about: "a min beyond the max",
    text: task("params: {days: {type: int, min: 5, max: 3}}\n"),
    code: "E072",
    at: "6:33",
    message: '"min" of parameter "days" is larger than its max, 3: "5"',
  },
  {
    about: "no choices",
    text: task("params: {region: {enum: []}}\n"),
    code: "E014",
    at: "6:19",
    message: /"enum" of parameter "region"/,
  },
  {
    about: "a required parameter with a default",
    text: task("params: {day: {required: true, default: x}}\n"),
    code: "E072",
    at: "6:16",
    message: '"required" of parameter "day" contradicts its default',
    help: "remove one of them: whoever gives no value gets the default",
  },
  {
    about: "a parameter that is not required and has no default",
    text: task("params: {day: {required: false}}\n"),
    code: "E072",
    at: "6:16",
    message: '"required" of parameter "day" is false, but the parameter has no default',
    help: 'give it one, such as default: ""',
    // E034 not-upstream
  },
  {
    about: "an expression that reads a task which does not run before",
    text: task('  b:\n    config: !Subprocess {cmd: ls, args: ["${{ tasks.a.outputs.rows }}"]}\n'),
    code: "E034",
    at: "7:53",
    message: 'task "b" reads the outputs of "a", which does not run before it',
    help: 'add "a" to its depends',
  },
  {
    about: "an expression in the env of the workflow that reads a task",
    text: `env: {ROWS: "\${{ tasks.a.outputs.rows }}"}\n${task("")}`,
    code: "E034",
    at: "1:24",
    message: "tasks cannot be read here",
    help: "this is evaluated before any task runs",
  },
  {
    about: "an expression that reads an output which is not declared",
    text: task(
      "    outputs: [rows, files]\n  b:\n    depends: [a]\n    env: {ROWS: '${{ tasks.a.outputs.row }}'}\n    run: ls\n",
    ),
    code: "E035",
    at: "9:38",
    message: '"a" does not declare an output "row"',
    help: 'did you mean "rows"?',
  },
  // E061 expression-syntax
  {
    about: "an operator of another language",
    text: task("    env: {DAY: '${{ params.day and 1 }}'}\nparams: {day: x}\n"),
    code: "E061",
    at: "6:32",
    message: '"and" is not an operator',
    help: 'write "&&"',
  },
  {
    about: "an expression that ends too early",
    text: task("    env:\n      DAY: ${{ (1 + 2 }}\n"),
    code: "E061",
    at: "7:21",
    message: 'the expression is not complete: ")" is missing',
  },
  {
    about: "an expression in a block of lines",
    text: task("    env:\n      TEXT: |\n        first\n        ${{ 1 & 2 }}\n"),
    code: "E061",
    at: "9:15",
    message: '"&" is not an operator',
    help: 'write "&&"',
  },
  // E062 expression-type
  {
    about: "a timeout that is a number",
    text: task("    timeout: ${{ 5 }}\n"),
    code: "E062",
    at: "6:14",
    message: '"timeout" of task "a" must be a duration such as "5m", but the expression is an int',
    help: 'add the unit: ${{ string(…) + "s" }}',
  },
  {
    about: "a number of attempts that is a list",
    text: task("    retry: {max_attempts: '${{ [3] }}'}\n"),
    code: "E062",
    at: "6:28",
    message:
      '"max_attempts" in retry of task "a" must be a whole number, but the expression is a list of int',
  },
  {
    about: "a text and a number that are compared",
    text: `params: {region: eu}\n${task("    env: {BIG: '${{ params.region > 5 }}'}\n")}`,
    code: "E062",
    at: "7:21",
    message: "cannot compare string with int",
    help: "params.region is a string; write int(params.region) if it holds a number",
  },
  // E063 unknown-reference
  {
    about: "a parameter that does not exist",
    text: `params: {region: eu}\n${task("    env: {REGION: '${{ params.regoin }}'}\n")}`,
    code: "E063",
    at: "7:31",
    message: 'there is no parameter "regoin"',
    help: 'did you mean "region"?',
  },
  {
    about: "a task that does not exist",
    text: task("    env: {ROWS: '${{ tasks.extract.outputs.rows }}'}\n"),
    code: "E063",
    at: "6:28",
    message: 'there is no task "extract"',
  },
  {
    about: "a task id with a dash",
    text: task(
      "  b-c:\n    config: !Subprocess {cmd: ls}\n  d:\n    depends: [b-c]\n    config: !Subprocess {cmd: '${{ tasks.b-c.outputs.program }}'}\n",
    ),
    code: "E063",
    at: "10:42",
    message: 'the task id "b-c" needs quotes',
    help: 'write tasks["b-c"].outputs.program',
  },
  {
    about: "a secret in an expression",
    text: task("    env: {TOKEN: '${{ secrets.TOKEN }}'}\n"),
    code: "E063",
    at: "6:23",
    message: "secrets cannot be used in expressions",
    help: "declare secrets: [NAME] at the task; it becomes the variable NAME",
  },
  {
    about: "a name of another tool",
    text: task("    env: {SHA: '${{ github.sha }}'}\n"),
    code: "E063",
    at: "6:21",
    message: '"github.sha" is unknown',
    help: "names are params, run, trigger, env, tasks",
  },
  // E064 no-expression-here
  {
    about: "an expression as cron",
    text: `cron: \${{ params.cron }}\n${task("")}`,
    code: "E064",
    at: "1:7",
    message: 'expressions are not allowed in "cron"',
    help: /^they are allowed in args, /,
  },
  {
    about: "an expression as a dependency",
    text: task("    depends: ['${{ params.task }}']\n"),
    code: "E064",
    at: "6:15",
    message: 'expressions are not allowed in "depends"',
    help: /^they are allowed in args, /,
  },
  {
    about: "the agents that are up, where an agent would have to know them",
    text: task("    env: {N: '${{ size(agents()) }}'}\n"),
    code: "E064",
    at: "6:24",
    message: "agents(…) is known to the principal only",
    help: "write it in foreach, matrix or when",
  },
  {
    about: "agents by something else than labels",
    text: task("    when: ${{ size(agents('web')) > 0 }}\n"),
    code: "E062",
    at: "6:20",
    message: "agents cannot be used with a string",
    help: 'write agents({"role": "web"}), or agents() for all',
  },
  {
    about: "agents by labels and something else",
    text: task("    when: ${{ size(agents({}, 1)) > 0 }}\n"),
    code: "E062",
    at: "6:20",
    message: "agents has 2 arguments here",
    help: 'write agents({"role": "web"}), or agents() for all',
  },
  {
    about: "the item in the labels of a task without items",
    text: task("    runs_on: {host: '${{ item.host }}'}\n"),
    code: "E056",
    at: "6:26",
    message: '"item" is known only in the items of a fan-out',
    help: "add foreach or matrix to the task",
  },
  {
    about: "a task in the labels of the workflow",
    text: `runs_on: {zone: "\${{ tasks.a.outputs.zone }}"}\n${task("")}`,
    code: "E034",
    at: "1:28",
    message: "tasks cannot be read here",
    help: "this is evaluated before any task runs",
  },
  // E065 expression-without-quotes
  {
    about: "an expression in braces without quotes",
    text: task("    env: {DAY: ${{ params.day }}}\n"),
    code: "E065",
    at: "6:16",
    message: "an expression in { } or [ ] needs quotes",
    help: "write '${{ params.day }}'",
  },
  {
    about: "an expression within text in braces, without quotes",
    text: task("    env: {FROM: s3://eu-${{ params.day }}.csv, N: a}\n"),
    code: "E065",
    at: "6:17",
    message: "an expression in { } or [ ] needs quotes",
    help: "write 's3://eu-${{ params.day }}.csv'",
  },
  {
    about: "an expression with a colon, without quotes",
    text: task('    timeout: ${{ 1 > 2 ? "5m" : "6m" }}\n'),
    code: "E065",
    at: "6:14",
    message: 'an expression that contains ": " needs quotes',
    help: 'write \'${{ 1 > 2 ? "5m" : "6m" }}\'',
  },
  {
    about: "an expression that a comment cuts off",
    text: task('    timeout: ${{ "5" + " # " }}\n'),
    code: "E065",
    at: "6:14",
    message: 'an expression that contains " #" needs quotes',
    help: "write it in quotes; a # after a blank begins a comment otherwise",
  },
  // E066 expression-too-large
  {
    about: "an expression that is not closed",
    text: task('    env: {DAY: "${{ params.day"}\n'),
    code: "E066",
    at: "6:17",
    message: '"${{" is not closed',
    help: 'write "}}" at its end; for a literal "${{" write "$${{"',
  },
  {
    about: "an expression that is too long",
    text: task(`    env: {DAY: "\${{ '${"x".repeat(5000)}' }}"}\n`),
    code: "E066",
    at: "6:17",
    message: "the expression is longer than 4096 characters",
  },
  // !Http
  {
    about: "a request without a URL",
    text: "tasks:\n  a: {config: !Http {method: GET}}\n",
    code: "E011",
    at: "2:7",
    message: '"url" is missing in config of task "a"',
    help: "such as https://api.example.com/orders",
  },
  {
    about: "a URL without a scheme",
    text: "tasks:\n  a: {config: !Http {url: api.example.com/x}}\n",
    code: "E014",
    at: "2:27",
    message: '"url" in config of task "a" must start with "http://" or "https://"',
    help: "write https://api.example.com/x",
  },
  {
    about: "a URL with a blank",
    text: "tasks:\n  a: {config: !Http {url: 'https://x/a b'}}\n",
    code: "E014",
    at: "2:27",
    message: '"url" in config of task "a" is not a valid URL',
    help: /%20/,
  },
  {
    about: "a method that does not exist",
    text: "tasks:\n  a: {config: !Http {url: 'https://x', method: FETCH}}\n",
    code: "E014",
    at: "2:48",
    message: /must be "GET", "POST", .* or "OPTIONS", not "FETCH"$/,
  },
  {
    about: "a name of a header with a blank",
    text: "tasks:\n  a: {config: !Http {url: 'https://x', headers: {X Y: z}}}\n",
    code: "E014",
    at: "2:50",
    message: '"X Y" is not a name of a header',
  },
  {
    about: "a header that the request decides on",
    text: "tasks:\n  a: {config: !Http {url: 'https://x', headers: {Host: z}}}\n",
    code: "E014",
    at: "2:50",
    message: "the header Host is set by cdktr itself",
    help: "remove it",
  },
  {
    about: "a header in two spellings",
    text: "tasks:\n  a: {config: !Http {url: 'https://x', headers: {X-Y: z, x-y: z}}}\n",
    code: "E014",
    at: "2:58",
    message: "the header x-y is given twice",
    help: "names of headers have no case",
  },
  {
    about: "a header with a line break",
    text: 'tasks:\n  a: {config: !Http {url: "https://x", headers: {X: "a\\nb"}}}\n',
    code: "E014",
    at: "2:53",
    message: /must not contain a line break, which would begin another header$/,
  },
  {
    about: "a secret in a header that is not declared",
    text: "tasks:\n  a: {config: !Http {url: 'https://x', headers: {X: {secret: TOKEN}}}}\n",
    code: "E081",
    at: "2:62",
    message: 'task "a" uses the secret "TOKEN", which secrets of the workflow does not declare',
    help: "say at the top of the file where it is: secrets: {TOKEN: {file: /path}}",
  },
  {
    about: "an expected status that is none",
    text: "tasks:\n  a: {config: !Http {url: 'https://x', expect: {status: [ok]}}}\n",
    code: "E014",
    at: "2:58",
    message: /"ok" is not a status or a range$/,
    help: "write numbers such as 200, ranges such as 200-299, or 2xx",
  },
  {
    about: "an expectation that is not an expression",
    text: "tasks:\n  a: {config: !Http {url: 'https://x', expect: {json: 'json.ok'}}}\n",
    code: "E014",
    at: "2:55",
    message: /is not an expression$/,
    help: "write ${{ json.ok }}",
  },
  {
    about: "an expectation that is not a condition",
    text: "tasks:\n  a: {config: !Http {url: 'https://x', expect: {json: '${{ status + 1 }}'}}}\n",
    code: "E062",
    at: "2:56",
    message: /must be true or false, but the expression is an int$/,
  },
];

/** Words of other tools, as lines of a task `a` or of the workflow, and what they are answered with. */
const WORDS: readonly [place: "workflow" | "task", line: string, help: string][] = [
  ["workflow", "schedule: 0 2 * * *", 'it is called "cron" here: cron: "0 2 * * *"'],
  ["workflow", "schedule_interval: {days: 1}", 'it is called "cron" here: cron: "0 2 * * *"'],
  ["workflow", "triggers: [x]", 'a schedule is "cron" here, and other events are under "on"'],
  ["workflow", "parameters: {day: x}", 'it is called "params" here: params: {day: today}'],
  ["workflow", "inputs: {day: x}", 'it is called "params" here: params: {day: today}'],
  ["task", "if: x", 'it is called "when" here'],
  ["task", "continue_on_error: true", 'it is called "allow_failure" here'],
  ["workflow", "environment: {A: x}", 'it is called "env" here: env: {NAME: value}'],
  ["workflow", "timeout-minutes: 30", 'it is called "timeout" here: timeout: 30m'],
  ["workflow", "timeoutSeconds: 30", 'it is called "timeout" here: timeout: 30s'],
  ["workflow", "dagrun_timeout: x", 'it is called "timeout" here: timeout: 5m'],
  ["workflow", "dag_id: x", "the id is the path of the file: etl/daily.yml is etl.daily"],
  [
    "workflow",
    "nodeSelector: {zone: eu}",
    'it is called "runs_on" here, and names labels of agents: runs_on: {zone: eu}',
  ],
  ["task", "needs: [extract, load]", 'it is called "depends" here: depends: [extract, load]'],
  ["task", "needs: extract", 'it is called "depends" here: depends: [extract]'],
  ["task", "depends_on: {extract: ok}", 'it is called "depends" here: depends: [extract]'],
  ["task", "dependsOn: [b]", 'it is called "depends" here: depends: [b]'],
  ["task", "upstream: [b]", 'it is called "depends" here: depends: [b]'],
  ["task", "requires: [b]", 'it is called "depends" here: depends: [b]'],
  ["task", "after: b", 'it is called "depends" here: depends: [b]'],
  ["task", "variables: {A: x}", 'it is called "env" here: env: {NAME: value}'],
  ["task", "vars: {A: x}", 'it is called "env" here: env: {NAME: value}'],
  ["task", "retries: 4", 'it is called "retry" here: retry: {max_attempts: 5}, which counts the first one'],
  ["task", "attempts: 4", 'it is called "retry" here: retry: {max_attempts: 4}'],
  [
    "task",
    "retry_delay: 5s",
    'it belongs to "retry": retry: {max_attempts: 3, delay: 10s, backoff: exponential}',
  ],
  ["task", "timeout_minutes: 15", 'it is called "timeout" here: timeout: 15m'],
  ["task", "execution_timeout: 1", 'it is called "timeout" here: timeout: 5m'],
  ["task", "tags: [eu]", 'it is called "runs_on" here, and names labels of agents: runs_on: {zone: eu}'],
  ["task", "queue: eu", 'it is called "runs_on" here, and names labels of agents: runs_on: {zone: eu}'],
  ["task", "image: python:3", "there are no containers here: run docker as the program of the task"],
  [
    "task",
    "uses: actions/checkout@v4",
    "there are no actions here: do what it does in run, such as run: git clone …",
  ],
  [
    "workflow",
    "on_failure: {run: ls}",
    'it belongs to "hooks": hooks: {on_success: …, on_failure: …, on_cancel: …, on_exit: …}',
  ],
  ["task", "id: b", "the id is the key above"],
  ["task", "operator: Bash", "the kind of a task is the tag of its config: config: !Subprocess"],
];

/** A file with a hook that has this line. */
function hook(line: string): string {
  return task(`hooks: {on_failure: {${line}, config: !Subprocess {cmd: ls}}}\n`);
}

/** The same in other mappings of a task or of the workflow. */
const INNER_WORDS: readonly [text: string, word: string, help: string][] = [
  [
    task("").replace("{cmd: ls}", "{cmd: ls, workdir: x}"),
    "workdir",
    'it is called "working_directory" here',
  ],
  [
    task("").replace("{cmd: ls}", "{cmd: ls, arguments: [-l]}"),
    "arguments",
    'it is called "args" here: args: [-l]',
  ],
  [
    task("").replace("{cmd: ls}", "{command: ls}"),
    "command",
    'it is called "cmd" here, and its arguments are "args"',
  ],
  [task("").replace("{cmd: ls}", "{cmd: ls, env: {}}"), "env", "it belongs to the task, beside config"],
  [
    task("    retry: {retries: 4}\n"),
    "retries",
    'it is called "max_attempts" here, which counts the first one: max_attempts: 5',
  ],
  [task("    retry: {max_attempts: 4, interval: 5s}\n"), "interval", 'it is called "delay" here: delay: 10s'],
  [
    task("    retry: {max_attempts: 4, multiplier: 2}\n"),
    "multiplier",
    'it is called "backoff" here: backoff: exponential',
  ],
  [task("params: {day: {value: x}}\n"), "value", 'it is called "default" here'],
  [task("params: {day: {title: x}}\n"), "title", 'it is called "description" here'],
  [task("params: {r: {choices: [eu, us]}}\n"), "choices", 'it is called "enum" here: enum: [eu, us]'],
  [task("params: {n: {type: int, minimum: 1}}\n"), "minimum", 'it is called "min" here'],
  [task("on: {schedule: x}\n"), "schedule", 'a schedule is "cron", beside "on"'],
  [task("on: {files: {glob: x}}\n"), "files", 'it is called "file" here'],
  [hook("depends: [a]"), "depends", "a hook waits for no task: it runs when all are over"],
  [hook("needs: [a]"), "needs", "a hook waits for no task: it runs when all are over"],
  [hook("when: x"), "when", "a hook has no condition: its name says when it runs"],
  [hook("if: x"), "if", "a hook has no condition: its name says when it runs"],
  [hook("foreach: [x]"), "foreach", "a hook runs once"],
  [hook("matrix: {os: [x]}"), "matrix", "a hook runs once"],
  [
    hook("repeat: {every: 1s}"),
    "repeat",
    "a hook runs once; retry: {max_attempts: 3} tries it again when it fails",
  ],
  [
    hook("allow_failure: true"),
    "allow_failure",
    "remove it: the status of a run does not depend on its hooks",
  ],
  [hook("outputs: [x]"), "outputs", "remove it: no task runs after a hook that could read them"],
  [
    hook("retries: 2"),
    "retries",
    'it is called "retry" here: retry: {max_attempts: 3}, which counts the first one',
  ],
  [task("hooks: {on_fail: {}}\n"), "on_fail", 'it is called "on_failure" here'],
  [task("hooks: {success: {}}\n"), "success", 'it is called "on_success" here'],
  [task("hooks: {finally: {}}\n"), "finally", 'it is called "on_exit" here'],
  [task("hooks: {onCancelled: {}}\n"), "onCancelled", 'it is called "on_cancel" here'],
];

/** Words for what a task does, or when, or how often. */
const TASK_WORDS: readonly [line: string, help: string][] = [
  ["command: make all", 'it is called "run" here: run: make all'],
  ["command: [make, all]", 'it is called "run" here: run: echo hello'],
  ["script: ./build.sh", 'it is called "run" here: run: ./build.sh'],
  ["bash_command: date", 'it is called "run" here: run: date'],
  ["sh: date", 'it is called "run" here: run: date'],
  ["if: always()", 'it is called "when" here'],
  ["condition: x", 'it is called "when" here'],
  ["only_if: x", 'it is called "when" here'],
  ["continue_on_error: true", 'it is called "allow_failure" here'],
  ["continue-on-error: true", 'it is called "allow_failure" here'],
  ["ignore_errors: yes", 'it is called "allow_failure" here'],
  ["with_items: [a]", 'it is called "foreach" here'],
  ["withParam: x", 'it is called "foreach" here'],
  ["loop: [a]", 'it is called "foreach" here'],
  ["for_each: [a]", 'it is called "foreach" here'],
  ["cwd: /tmp", 'it is called "working_directory" here: working_directory: /tmp'],
  ["workdir: src", 'it is called "working_directory" here: working_directory: src'],
];

describe("words of other tools", () => {
  test.each(TASK_WORDS)("%s", (line, help) => {
    const work = help.includes('"run"') ? "" : "    run: ls\n";
    const found = diagnosticsOf(`tasks:\n  a:\n    ${line}\n${work}`);
    expect(found).toMatchObject([
      { code: "E010", message: `unknown key "${line.split(":")[0]}" in task "a"`, help },
    ]);
  });

  test.each(WORDS)("%s: %s", (place, line, help) => {
    const found = diagnosticsOf(task(place === "task" ? `    ${line}\n` : `${line}\n`));
    const word = line.split(":")[0];
    expect(found).toMatchObject([
      { code: "E010", message: `unknown key "${word}"${place === "task" ? ' in task "a"' : ""}`, help },
    ]);
  });

  test.each(INNER_WORDS)("in %j: %s", (text, word, help) => {
    expect(diagnosticsOf(text)).toMatchObject([
      { code: "E010", message: expect.stringContaining(`unknown key "${word}" in `), help },
    ]);
  });

  test("stand for the key that is meant: it is not missing as well", () => {
    for (const word of ["jobs", "steps", "stages"]) {
      const text = `${word}: {a: {config: !Subprocess {cmd: ls}}}\n`;
      expect(diagnosticsOf(text)).toMatchObject([
        { code: "E010", help: 'it is called "tasks" here: a mapping with an id for each task' },
      ]);
    }
    expect(diagnosticsOf("tasks: {a: {operator: x}}\n")).toMatchObject([{ code: "E010" }]);
    expect(diagnosticsOf("tasks: {a: {}}\n")).toMatchObject([{ code: "E011" }]);
  });
});

describe("each mistake", () => {
  for (const { about, text, code, at, message, help } of CASES) {
    test(`${code} ${DIAGNOSTIC_CODES[code]}: ${about}`, () => {
      const found = diagnosticsOf(text);
      const all = found.map((each) => `${each.code} ${each.line}:${each.column} ${each.message}`);
      const match = found.find((each) => each.code === code);
      if (match === undefined) throw new Error(`not found among\n${all.join("\n")}`);
      // One mistake gives one finding: what follows from it is not reported.
      expect(all).toHaveLength(1);
      expect(`${match.line}:${match.column}`).toBe(at);
      if (typeof message === "string") expect(match.message).toBe(message);
      else expect(match.message).toMatch(message);
      if (typeof help === "string") expect(match.help).toBe(help);
      else if (help !== undefined) expect(match.help ?? "").toMatch(help);
      const severity = code.startsWith("W") ? "warning" : "error";
      expect(match).toMatchObject({ severity, kind: DIAGNOSTIC_CODES[code], path: "test.yml" });
    });
  }

  test("E004 not-utf8: the place of the first wrong byte", () => {
    const bytes = Buffer.concat([
      Buffer.from("name: wär\ndescription: caf"),
      Buffer.from([0xe9]),
      Buffer.from("\n"),
    ]);
    const result = checkWorkflowFile("test.yml", { kind: "file", bytes });
    expect(result.source).toBeNull();
    expect(result.ok ? [] : result.diagnostics).toMatchObject([
      { code: "E004", line: 2, column: 17, message: expect.stringMatching(/0xe9/), help: "save it as UTF-8" },
    ]);
  });

  test("E004 not-utf8: UTF-16 is recognized", () => {
    const bytes = Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from("name: w\n", "utf16le")]);
    const result = checkWorkflowFile("test.yml", { kind: "file", bytes });
    expect(result.ok ? [] : result.diagnostics).toMatchObject([
      { code: "E004", message: expect.stringMatching(/UTF-16/) },
    ]);
  });

  test("E005 too-large", () => {
    expect(diagnosticsOf(`# ${"x".repeat(1024 * 1024)}\n`)).toMatchObject([{ code: "E005" }]);
    // Counted in bytes: half as many characters of two bytes each.
    expect(diagnosticsOf(`# ${"ä".repeat(512 * 1024)}\n`)).toMatchObject([{ code: "E005" }]);
  });

  test("E007 bad-alias: a bomb is defused", () => {
    const levels = Array.from({ length: 9 }, (_, i) => {
      const item = i === 0 ? "x" : `*l${i - 1}`;
      return `l${i}: &l${i} [${Array.from({ length: 9 }, () => item).join(", ")}]`;
    });
    const found = diagnosticsOf(`${levels.join("\n")}\nname: w\n`).filter((each) => each.code === "E007");
    expect(found).toMatchObject([{ message: expect.stringMatching(/more than 20000 values/) }]);
  });

  test("E051 bad-workflow-id and E052 duplicate-workflow-id: see workflow-id.test.ts", () => {
    expect(findDuplicateIds(["a.yaml", "a.yml"])).toMatchObject([{ code: "E052", path: "a.yml" }]);
  });

  test("E099 too-many: a file full of mistakes is cut short", () => {
    const text = `name: w\n${Array.from({ length: 5000 }, (_, i) => `unknown_${i}: 1\n`).join("")}${task("").slice(8)}`;
    const found = diagnosticsOf(text);
    expect(found).toHaveLength(201);
    expect(found.at(-1)).toMatchObject({ code: "E099", message: "and 4800 more problems", line: null });
  });

  test("has a test: every code that a file's text can cause is here", () => {
    const elsewhere = [
      // defaults.test.ts
      "E092",
      "E004",
      "E005",
      "E008",
      "E051",
      "E052",
      "E099",
      // alert-file.test.ts
      "E125",
      "W001",
      "W002",
      "W003",
      "W004",
      "W005",
      "W016",
      "W017",
      "W006",
      "W007",
      "W010",
      // check-calls.test.ts
      "W013",
      "W014",
      "W009",
      // schedules.test.ts
      "W020",
      // check-notify.test.ts
      "W022",
      // root-settings.test.ts
      "E045",
      "W019",
      "W021",
      // channels.test.ts
      "E115",
      // check-pools.test.ts
      "W018",
      // unused.test.ts
      "W008",
      "W011",
    ];
    const tested = new Set<string>([...CASES.map((each) => each.code), ...elsewhere]);
    expect(Object.keys(DIAGNOSTIC_CODES).filter((code) => !tested.has(code))).toEqual([]);
  });
});

describe("warnings", () => {
  test.each([
    ["tasks.a.status == 'success'", "8:33", 'tasks.a.status is never "success"', 'write "COMPLETED"'],
    [
      "tasks.a.status in ['COMPLETED', 'failed']",
      "8:47",
      'tasks.a.status is never "failed"',
      'did you mean "FAILED"?',
    ],
    [
      "tasks.a.status != 'RUNNING'",
      "8:33",
      'tasks.a.status is never "RUNNING"',
      "it is COMPLETED, FAILED, CRASHED, SKIPPED or CANCELLED",
    ],
  ])("W010 never-true: %s", (when, at, message, help) => {
    const found = diagnosticsOf(task(`  b:\n    depends: [a]\n    when: \${{ ${when} }}\n    run: ls\n`));
    expect(found.map((each) => ({ ...each, at: `${each.line}:${each.column}` }))).toMatchObject([
      { code: "W010", severity: "warning", at, message, help },
    ]);
  });

  test("W001 repeated-dependency", () => {
    const text = task("  b:\n    name: b\n    depends: [a, a]\n    config: !Subprocess {cmd: ls}\n");
    const result = parseWorkflow(text, { path: "test.yml", id: "test" });
    expect(result).toMatchObject({
      ok: true,
      warnings: [{ severity: "warning", code: "W001", line: 8, column: 18 }],
    });
    expect(result.ok ? result.definition.tasks[1]?.depends : null).toEqual(["a"]);
  });

  test("W003 cannot-fire: a trigger that gives text to a parameter of another type", () => {
    const found = diagnosticsOf(task("on: {file: {glob: x}}\nparams: {path: {type: int, default: 1}}\n"));
    expect(found).toMatchObject([
      {
        code: "W003",
        line: 7,
        message:
          '"on: file" can never run this workflow: it passes text as "path", which must be a whole number',
      },
    ]);
  });

  test("W009 unreachable-task: what has to fail for it has to complete for another need", () => {
    const warningsOf = (depends: string, more = "") => {
      const tasks = [
        `  b: {${more}config: !Subprocess {cmd: ls}}`,
        "  c: {depends: [b], config: !Subprocess {cmd: ls}}",
        "  d: {depends: [c], config: !Subprocess {cmd: ls}}",
        `  e: {depends: ${depends}, config: !Subprocess {cmd: ls}}`,
      ];
      const result = parseWorkflow(task(`${tasks.join("\n")}\n`), { path: "test.yml", id: "test" });
      return result.ok ? result.warnings.map(({ code, line, message }) => [code, line, message]) : result;
    };
    const message = 'task "e" can never run: it needs "b" to be FAILED and, through "d", COMPLETED';
    expect(warningsOf("{b: failed, d: completed}")).toEqual([["W009", 9, message]]);
    expect(warningsOf("{b: failed, d: [completed, skipped]}")).toEqual([]);
    expect(warningsOf("{b: [failed, completed], d: completed}")).toEqual([]);
    expect(warningsOf("{b: failed, a: completed}")).toEqual([]);
    expect(warningsOf("{b: failed, d: completed}", "allow_failure: true, ")).toEqual([]);
  });

  test("W003 cannot-fire: a parameter that must be given, and a trigger that does not give it", () => {
    const warningsOf = (head: string) => {
      const result = parseWorkflow(`${head}\n${task("")}`, { path: "test.yml", id: "test" });
      return result.ok ? result.warnings.map(({ code, line }) => [code, line]) : result.diagnostics;
    };
    const day = "params: {day: {description: which}}";
    expect(warningsOf(`cron: "0 2 * * *"\n${day}`)).toEqual([["W003", 1]]);
    expect(warningsOf(`cron: "0 2 * * *"\nparams: {day: {default: ""}}`)).toEqual([]);
    expect(warningsOf(`on: {webhook: {path: /a, secret: none}}\n${day}`)).toEqual([]);
    expect(warningsOf(`on: {workflow: {id: other}}\n${day}`)).toEqual([["W003", 1]]);
    expect(warningsOf("on: {workflow: {id: other}}\nparams: {status: null}")).toEqual([]);
    expect(warningsOf("on: {file: {glob: /in/*}}\nparams: {path: null, file: null}")).toEqual([]);
  });

  test("W007 no-agent-fits: labels that every agent has by itself, with values that none can have", () => {
    const warningsOf = (labels: string) => {
      const result = parseWorkflow(`runs_on: {${labels}}\n${task("    runs_on: {arch: arm}\n")}`, {
        path: "test.yml",
        id: "test",
      });
      expect(result.ok).toBe(true);
      return result.ok
        ? result.warnings.map(({ code, line, message, help }) => [code, line, message, help])
        : [];
    };
    const ofTask = [
      "W007",
      7,
      "no agent has arch=arm: the arch of an agent is x64 or arm64",
      'did you mean "arm64"?',
    ];
    expect(warningsOf("arch: x64, os: linux, cores: 8, host: web-1, gpu: x86_64")).toEqual([ofTask]);
    expect(warningsOf("arch: x86_64")).toEqual([
      ["W007", 1, "no agent has arch=x86_64: the arch of an agent is x64 or arm64", 'did you mean "x64"?'],
      ofTask,
    ]);
    expect(warningsOf("os: macos, cores: '>=8'").map(([, , message]) => message)).toEqual([
      "no agent has os=macos: the os of every agent is linux",
      "no agent has cores=>=8: cores is the number of processors of an agent",
      ofTask[2],
    ]);
  });

  test("W004 unknown-workflow and W005 trigger-circle need all files", () => {
    const flow = (id: string, after?: string) => ({
      id,
      cron: null,
      catchup: "latest" as const,
      ...(after === undefined ? {} : { on: { workflow: { id: after, status: ["COMPLETED" as const] } } }),
    });
    const flows = [
      flow("a", "b"),
      flow("b", "c"),
      flow("c", "b"),
      flow("d", "a"),
      flow("e", "gone"),
      flow("f"),
    ];
    const found = checkChains(flows, new Set(["a", "b", "c", "d", "e", "f"]));
    expect([...found].map(([id, { code }]) => [id, code])).toEqual([
      ["e", "W004"],
      ["b", "W005"],
      ["c", "W005"],
    ]);
    expect(found.get("c")?.message).toContain("b → c → b");
    expect([...checkChains(flows, null).keys()]).toEqual(["b", "c"]);
  });

  test("W003 cannot-fire: after runs that are SKIPPED, of a workflow whose runs never are", () => {
    const follows = (status: string[], cron: string | null, catchup: "latest" | "all") =>
      checkChains(
        [
          { id: "a", cron, catchup },
          { id: "b", cron: null, catchup: "latest", on: { workflow: { id: "a", status } } },
        ],
        null,
      ).get("b")?.code;
    expect(follows(["SKIPPED"], null, "latest")).toBe("W003");
    expect(follows(["SKIPPED"], "* * * * *", "all")).toBe("W003");
    expect(follows(["SKIPPED"], "* * * * *", "latest")).toBeUndefined();
    expect(follows(["SKIPPED", "FAILED"], null, "latest")).toBeUndefined();
  });

  test("W002 no-effect: an interpreter without a script", () => {
    expect(diagnosticsOf(task("    shell: bash\n"))).toMatchObject([
      {
        code: "W002",
        line: 6,
        column: 5,
        message: '"shell" has no effect without run',
        help: "remove it, or write run:",
      },
    ]);
  });

  test("W002 no-effect: settings of a schedule without cron, packages of a uv project", () => {
    const found = diagnosticsOf(
      "name: w\ntimezone: UTC\ncatchup: all\ntasks:\n  a:\n    name: a\n    config: !UvPython {script_path: x, is_uv_project: true, packages: [p]}\n",
    );
    expect(found.map((each) => `${each.code} ${each.line}:${each.column}`)).toEqual([
      "W002 2:1",
      "W002 3:1",
      "W002 7:61",
    ]);
  });

  test("W002 no-effect: keys of a fan-out without one", () => {
    const found = diagnosticsOf(task("    key: x\n    max_parallel: 3\n    fail_fast: true\n"));
    expect(found.map(({ code, line, message }) => `${code} ${line} ${message}`)).toEqual([
      'W002 6 "key" has no effect without foreach or matrix',
      'W002 7 "max_parallel" has no effect without foreach or matrix',
      'W002 8 "fail_fast" has no effect without foreach or matrix',
    ]);
  });

  test.each([
    [
      "{max_attempts: 1, jitter: 0.1, on_exit_codes: [75], max_delay: 1m}",
      ["jitter", "on_exit_codes", "max_delay"].map((key) => `"${key}" has no effect with a single attempt`),
    ],
    ["{max_attempts: 3, delay: 1s, max_delay: 1m}", ['"max_delay" has no effect if the delay does not grow']],
    ["{max_attempts: 3, delay: 0s, jitter: 0.5}", ['"jitter" has no effect without a delay']],
    ["{max_attempts: 3, delay: 1s, max_delay: 1m, jitter: 0.5}", []],
    ["{max_attempts: 3, backoff: exponential, max_delay: 1m, jitter: 0.5, on_exit_codes: [1-5, '7']}", []],
  ])("W002 no-effect: keys of retry in %s", (retry, messages) => {
    const found = diagnosticsOf(task(`    retry: ${retry}\n`));
    expect(found.map(({ code, message }) => `${code} ${message}`)).toEqual(
      messages.map((message) => `W002 ${message}`),
    );
  });
});

describe("several mistakes", () => {
  test("are reported at once, in the order of the text", () => {
    const text = [
      "nme: w",
      'cron: "0 99 * * *"',
      "timeout: 90",
      "tasks:",
      "  a b:",
      "    name: a",
      "    depends: [c, zz]",
      "    config: !Subproces {cmd: ls}",
      "  c:",
      "    depends: [c]",
      "    config: {cmd: ls}",
      "  d:",
      "    name: d",
      "    depends: [e]",
      "    config: !Subprocess {cmd: ls, x: 1}",
      "  e: {name: e, depends: [d], config: !Subprocess {cmd: ls}}",
    ].join("\n");
    expect(diagnosticsOf(text).map((each) => `${each.line} ${each.code}`)).toEqual([
      "1 E010",
      "2 E040",
      "3 E043",
      "5 E050",
      "7 E030",
      "8 E021",
      "10 E031",
      "11 E020",
      "14 E032",
      "15 E010",
    ]);
  });

  test("of syntax are reported alone, without what follows from them", () => {
    const text = "name: 'it's'\nother: [1, 2\ntasks:\n";
    const codes = new Set(diagnosticsOf(text).map((each) => each.code));
    expect([...codes]).toEqual(["E001"]);
  });

  test("two cycles are two findings", () => {
    const line = (id: string, on: string) =>
      `  ${id}: {name: x, depends: [${on}], config: !Subprocess {cmd: ls}}`;
    const text = ["name: w", "tasks:", line("a", "b"), line("b", "a"), line("c", "d"), line("d", "c")].join(
      "\n",
    );
    expect(diagnosticsOf(text).map((each) => each.message)).toEqual([
      "the dependencies form a cycle: a → b → a",
      "the dependencies form a cycle: c → d → c",
    ]);
  });
});

describe("mistakes of newcomers to YAML", () => {
  const tasks = "tasks: {a: {name: a, config: !Subprocess {cmd: ls}}}";
  const CASES: readonly [about: string, text: string, expected: RegExp, at: string][] = [
    [
      "a step without quotes",
      `name: a\ncron: */15 * * * *\n${tasks}`,
      /needs quotes.*write "\*\/15 \* \* \* \*"/,
      "2:7",
    ],
    [
      "stars without quotes",
      `name: a\ncron: * * * * * # often\n${tasks}`,
      /needs quotes.*write "\* \* \* \* \*"/,
      "2:7",
    ],
    ["one star", `name: *\n${tasks}`, /needs quotes/, "1:7"],
    [
      "a glob in a list",
      `name: a\n${tasks.replace("ls", "ls, args: [*.csv]")}`,
      /put it in quotes: "\*\.csv"/,
      "2:59",
    ],
    ["a no-break space", `name: a\ncron:\u00a0"0 1 * * *"\n${tasks}`, /character U\+00A0/, "2:6"],
    [
      "a no-break space before the last value",
      `name: a\ntasks:\n  a:\n    name: a\n    config: !Subprocess\n      cmd:\u00a0ls\n`,
      /U\+00A0/,
      "6:11",
    ],
    ["a no-break space as indentation", `name: a\n\u00a0\u00a0cron: x\n${tasks}`, /U\+00A0/, "2:1"],
    [
      "an open quote",
      `name: a\ndescription: "not closed\ncron: '0 1 * * *'\n${tasks}`,
      /quote " that opens here is not closed/,
      "2:14",
    ],
    ["an open single quote", `name: 'a\n${tasks}`, /quote ' that opens here is not closed/, "1:7"],
    [
      "an apostrophe in single quotes",
      `name: 'it's a'\n${tasks}`,
      /more text follows.*write '' for '/,
      "1:10",
    ],
    [
      "typographic quotes",
      `name: a\n${tasks.replace("ls", "ls, args: [“hello world”]")}`,
      /plain quotes/,
      "2:59",
    ],
    [
      "typographic quotes around a list's comma",
      `name: a\n${tasks.replace("ls", "ls, args: [“a, b”]")}`,
      /plain quotes/,
      "2:59",
    ],
    ["no space after a colon", `name:a\n${tasks}`, /no space after "name:"/, "1:6"],
  ];
  for (const [about, text, expected, at] of CASES) {
    test(about, () => {
      const result = parseWorkflow(text, { path: "test.yml", id: "test" });
      const all = result.ok ? result.warnings : result.diagnostics;
      const first = all.find(({ message, help }) => expected.test(`${message} ${help}`));
      expect(all.length).toBeLessThan(4);
      expect(`${first?.line}:${first?.column}`).toBe(at);
    });
  }

  test("prose in typographic quotes is prose, and stars and spaces in texts are texts", () => {
    const text = `name: “Daily” load\ndescription: |\n  cron: */5 * * * *\n  a:\u00a0b\nenv: {A: "\u00a0", B: x*y}\n${tasks}`;
    const result = parseWorkflow(text, { path: "test.yml", id: "test" });
    expect(result).toMatchObject({ ok: true, warnings: [] });
  });
});
