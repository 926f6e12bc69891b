import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { hostname, userInfo } from "node:os";
import { LocalHost } from "../../../src/agent/local/local-host.ts";
import { type Asker, LocalRun } from "../../../src/agent/local/local-run.ts";
import { endAbandoned, PrivatePlace } from "../../../src/agent/local/private-place.ts";
import { readEnvironment } from "../../../src/agent/proc-files.ts";
import { askerOf } from "../../../src/cli/task/asker.ts";
import { loadConfig } from "../../../src/config.ts";
import { LogLineReader } from "../../../src/contract/log-line.ts";
import type { RunDetails } from "../../../src/contract/messages.ts";
import type { WorkflowDefinition } from "../../../src/workflow/model.ts";
import { resolveParams } from "../../../src/workflow/params.ts";
import { parseWorkflow } from "../../../src/workflow/parse.ts";
import { TemporaryDirectory } from "../../support/temporary-directory.ts";
import { until } from "../../support/until.ts";
import { isRunning } from "../support/bench.ts";

const directory = new TemporaryDirectory();
afterAll(() => directory[Symbol.dispose]());

/** A run that can be watched. */
interface Watched {
  readonly run: LocalRun;
  readonly lines: string[];
  readonly host: LocalHost;
}

function definitionOf(text: string, id: string): WorkflowDefinition {
  const parsed = parseWorkflow(text, { path: `${id}.yml`, id });
  if (!parsed.ok) throw new Error(parsed.diagnostics.map(({ message }) => message).join("\n"));
  return parsed.definition;
}

function begin(text: string, others: Readonly<Record<string, string>> = {}, asker?: Asker): Watched {
  const definition = definitionOf(text, "t");
  const lines: string[] = [];
  const reader = new LogLineReader();
  const host = new LocalHost({
    config: loadConfig().values,
    output: {
      addLines: (text) => {
        for (const line of text.split("\n")) {
          const { task_name, level, payload } = reader.decode(line);
          lines.push(`${task_name}${level === "INFO" ? "" : ` ${level}`}: ${payload}`);
        }
      },
      room: () => undefined,
    },
    cleaner: null,
    parent: directory.root,
    directory: directory.root,
  });
  const run = new LocalRun(host, {
    definition,
    workflow_instance_id: crypto.randomUUID(),
    created_at_ms: Date.now(),
    params: resolveParams(definition, {}),
    directory: directory.root,
    trigger: "cli",
    ...(asker === undefined ? {} : { asker }),
    workflows: new Map(
      Object.entries({ t: text, ...others }).map(([id, text]) => [
        id,
        { definition: definitionOf(text, id), directory: directory.root },
      ]),
    ),
  });
  run.start();
  return { run, lines, host };
}

async function finish({ run, lines, host }: Watched) {
  const details = await run.over;
  await host.idle;
  await host.sweep();
  await host.close();
  return { details, lines, tasks: statusesOf(details) };
}

const runOf = (text: string, others?: Readonly<Record<string, string>>) => finish(begin(text, others));

function statusesOf({ status, tasks }: RunDetails): string {
  return [status, ...tasks.map(({ task_id, status }) => `${task_id} ${status}`)].join(", ");
}

describe("what a principal would do", () => {
  test("results travel between parts of the run; the outputs of the workflow are computed", async () => {
    const { details, lines, tasks } = await runOf(`
outputs: {total: "\${{ tasks.sum.outputs.total }}"}
tasks:
  load:
    foreach: [a, bb]
    key: \${{ item }}
    run: echo "rows=\${#CDKTR_ITEM}" >> "$CDKTR_OUTPUT"
  pause: {depends: [load], config: !Wait {for: 5ms}}
  sum:
    depends: [pause, load]
    env: {ROWS: "\${{ tasks.load.outputs.rows }}"}
    run: |
      echo "$ROWS $(cat "$CDKTR_INPUTS/load/bb.json")"
      echo total=3 >> "$CDKTR_OUTPUT"
`);
    expect(tasks).toBe("COMPLETED, load COMPLETED, pause COMPLETED, sum COMPLETED");
    expect(details.outputs).toEqual({ total: "3" });
    expect(details.tasks[0]?.items).toEqual({ total: 2, by_status: { COMPLETED: 2 } });
    expect(lines).toEqual(["pause: Waits for 5ms.", 'sum: ["1","2"] {"rows":"2"}']);
  });

  test("a poll goes on with its tries, and its limits count all of them", async () => {
    const { details, lines, tasks } = await runOf(`
tasks:
  ready:
    repeat: {every: 100ms, until: "\${{ exit_code == 0 }}"}
    run: echo "try $CDKTR_ATTEMPT"; [ "$CDKTR_ATTEMPT" = 3 ]
  never:
    repeat: {every: 100ms, until: "\${{ exit_code == 0 }}", max_attempts: 2}
    run: exit 1
`);
    expect(tasks).toBe("FAILED, ready COMPLETED, never FAILED");
    expect(lines).toEqual(["ready: try 1", "ready: try 2", "ready: try 3"]);
    expect(details.tasks.map(({ task_attempt }) => task_attempt)).toEqual([3, 2]);
    expect(details.tasks[1]?.error).toBe("the condition was not met after 2 tries: exit_code == 0");
  });

  test("each item of a fan-out may wait", async () => {
    const { details, tasks, lines } = await runOf(`
tasks:
  list: {run: "echo 'ms=[\\"1ms\\",\\"2ms\\"]' >> \\"$CDKTR_OUTPUT\\""}
  wait: {depends: [list], foreach: "\${{ json(tasks.list.outputs.ms) }}", config: !Wait {for: "\${{ item }}"}}
  then: {depends: [wait], run: echo then}
`);
    expect(tasks).toBe("COMPLETED, list COMPLETED, wait COMPLETED, then COMPLETED");
    expect(details.tasks[1]?.items).toEqual({ total: 2, by_status: { COMPLETED: 2 } });
    expect(lines).toEqual(["wait[0]: Waits for 1ms.", "wait[1]: Waits for 2ms.", "then: then"]);
  });

  test("hooks follow any end, and know it", async () => {
    const hooks = `
hooks:
  on_success: {run: echo "well"}
  on_failure: {run: 'echo "badly: $CDKTR_RUN_ERROR"'}
  on_exit: {env: {S: "\${{ run.status }}"}, run: 'echo "exit $S"; exit 1'}
`;
    const well = await runOf(`tasks: {a: {run: "true"}}${hooks}`);
    expect(well.tasks).toBe(
      "COMPLETED, a COMPLETED, on_success COMPLETED, on_failure SKIPPED, on_exit FAILED",
    );
    expect(well.lines.sort()).toEqual(["on_exit: exit COMPLETED", "on_success: well"]);
    const badly = await runOf(`tasks: {a: {run: exit 1}}${hooks}`);
    expect(badly.tasks).toBe("FAILED, a FAILED, on_success SKIPPED, on_failure COMPLETED, on_exit FAILED");
    expect(badly.lines.sort()).toEqual(["on_exit: exit FAILED", "on_failure: badly: failed: a"]);
    expect(badly.details.tasks.map(({ hook = false }) => hook)).toEqual([false, true, true, true]);
  });

  test("conditions, allowed failures and skipped tasks", async () => {
    const { details, tasks } = await runOf(`
params: {region: {enum: [eu, us], default: eu}}
tasks:
  us: {when: '\${{ params.region == "us" }}', run: echo us}
  bad: {allow_failure: true, run: exit 3}
  pause: {depends: {us: skipped, bad: failed}, config: !Wait {for: 1ms}}
  handled: {depends: [pause], env: {E: "\${{ tasks.bad.error }}"}, run: '[ "$E" = "exit status 3" ]'}
`);
    expect(tasks).toBe("COMPLETED, us SKIPPED, bad FAILED, pause COMPLETED, handled COMPLETED");
    expect(details.allowed_failures).toBe(1);
    expect(details.tasks[0]?.error).toBe('when: params.region == "us" is false');
  });

  test("there is one place: labels and placement mean nothing", async () => {
    const { tasks } = await runOf(`
placement: spread
runs_on: {zone: moon}
tasks:
  a: {runs_on: {gpu: "true"}, run: echo "x=1" >> "$CDKTR_OUTPUT"}
  b: {depends: [a], foreach: [1, 2], run: '[ -d "$CDKTR_RUN_DIRECTORY" ]'}
hooks: {on_exit: {runs_on: {gpu: "true"}, run: "true"}}
`);
    expect(tasks).toBe("COMPLETED, a COMPLETED, b COMPLETED, on_exit COMPLETED");
  });

  test("the time limit is about the tasks, and hooks follow", async () => {
    const { details, tasks } = await runOf(`
timeout: 100ms
tasks:
  slow: {run: sleep 1000}
  wait: {config: !Wait {for: 1h}}
  later: {depends: [slow], run: "true"}
hooks: {on_failure: {run: "true"}}
`);
    expect(tasks).toBe("FAILED, slow FAILED, wait FAILED, later SKIPPED, on_failure COMPLETED");
    expect(details.error).toBe("timed out after 100ms");
  });

  test("secrets are masked; one of a principal's store is missed with what to do", async () => {
    const { tasks, lines } = await runOf(`
secrets: {TOKEN: {command: [echo, a-token-of-the-test]}, KEY: {store: api_key}}
tasks:
  a: {secrets: [TOKEN], run: 'echo "token $TOKEN"; echo "t=$TOKEN" >> "$CDKTR_OUTPUT"'}
  b: {secrets: [KEY], run: "true"}
`);
    expect(tasks).toBe("FAILED, a COMPLETED, b FAILED");
    expect(lines.sort()).toEqual([
      "a: token ***",
      "b ERROR: Cannot start: the secret KEY cannot be read from the principal's store: this run has no principal.",
      "b ERROR: Run the workflow on the principal, or declare where the secret is on this host: file, env or command.",
    ]);
  });
});

describe("runs of other workflows", () => {
  const child = `
params: {n: {type: int}}
outputs: {twice: "\${{ tasks.count.outputs.twice }}"}
tasks: {count: {run: 'echo "twice=$(($CDKTR_PARAM_N * 2))" >> "$CDKTR_OUTPUT"; [ "$CDKTR_PARAM_N" != 9 ]'}}
`;

  test("their parameters and outputs, also for each item; their failures", async () => {
    const text = (list: string) => `
outputs: {all: "\${{ tasks.each.outputs.twice }}", one: "\${{ tasks.one.outputs.twice }}"}
tasks:
  each: {foreach: ${list}, config: !Workflow {workflow: child, params: {n: "\${{ item }}"}}}
  one: {config: !Workflow {workflow: child, params: {n: 5}}}
  free: {config: !Workflow {workflow: child, params: {n: 6}, wait: false}}
`;
    const { details, tasks } = await runOf(text("[1, 2]"), { child });
    expect(tasks).toBe("COMPLETED, each COMPLETED, one COMPLETED, free COMPLETED");
    expect(details.outputs).toEqual({ all: ["2", "4"], one: "10" });
    const badly = await runOf(text("[1, 9, x]"), { child });
    expect(badly.tasks).toBe("FAILED, each FAILED, one COMPLETED, free COMPLETED");
    expect(badly.details.tasks[0]?.items?.by_status).toEqual({ COMPLETED: 1, FAILED: 2 });
  });

  test("what is not there, and circles, fail the task", async () => {
    const { details } = await runOf("tasks: {a: {config: !Workflow {workflow: missing}}}");
    expect(details.tasks[0]?.error).toBe('there is no workflow "missing"');
    const { lines } = await runOf("tasks: {a: {config: !Workflow {workflow: t}}}");
    expect(lines[0]).toContain("a ERROR: Cannot start: 10 runs are nested already");
    expect(lines.length).toBe(11);
  });

  test("are cancelled with the run, and by the time limit of the task", async () => {
    const slow = { slow: "tasks: {a: {run: echo up; sleep 1000}}\nhooks: {on_cancel: {run: echo hook}}" };
    const late = await runOf("tasks: {a: {timeout: 50ms, config: !Workflow {workflow: slow}}}", slow);
    expect(late.details.tasks[0]?.error).toBe("timed out after 50ms");
    const watched = begin("tasks: {a: {config: !Workflow {workflow: slow}}}", slow);
    await until("it runs", () => watched.lines.includes("a: up"));
    watched.host.cancel();
    const { tasks, lines } = await finish(watched);
    expect(tasks).toBe("CANCELLED, a CANCELLED");
    expect(lines).toContain("on_cancel: hook");
  });
});

test("files of the workflow are in the directory of the run; what tasks leave is there for those after them", async () => {
  writeFileSync(directory.path("query.sql"), "select 1\n");
  const { tasks, lines } = await runOf(`
files: ["*.sql"]
tasks:
  read: {run: 'cat query.sql; echo "$(pwd)" > "$CDKTR_ARTIFACTS/where"'}
  wait: {depends: [read], config: !Wait {for: 1ms}}
  each: {depends: [wait], foreach: [a, b], key: "\${{ item }}", run: 'echo $CDKTR_ITEM > "$CDKTR_ARTIFACTS/x"'}
  more: {depends: [each], config: !Wait {for: 1ms}}
  write: {depends: [wait, more], run: '[ "$(cat "$CDKTR_INPUTS/read/where")" = "$(pwd)" ]; cat "$CDKTR_INPUTS"/each/*/x; rm query.sql'}
`);
  expect(lines).toEqual([
    "read: select 1",
    "wait: Waits for 1ms.",
    "more: Waits for 1ms.",
    "write: a",
    "write: b",
  ]);
  expect(tasks).toBe(
    "COMPLETED, read COMPLETED, wait COMPLETED, each COMPLETED, more COMPLETED, write COMPLETED",
  );
  expect(existsSync(directory.path("query.sql"))).toBe(true);
  const other = 'files: ["*.py"]\ntasks: {a: {run: "true"}}';
  const { details } = await runOf("tasks: {a: {config: !Workflow {workflow: other}}}", { other });
  expect(details.tasks[0]?.error).toStartWith("The files of other cannot be packed: ");
});

describe("approvals", () => {
  const text = `
tasks:
  go: {config: !Approval {message: "Go on?", form: {share: {type: int, default: 100}}}}
  on: {depends: [go], env: {S: "\${{ tasks.go.outputs.share }} \${{ tasks.go.outputs.approved_by }}"}, run: echo "$S"}
  back: {depends: {go: failed}, env: {E: "\${{ tasks.go.error }}"}, run: echo "$E"}
`;
  const dialogue = (...typed: string[]) => {
    const said: string[] = [];
    return { said, say: (text: string) => void said.push(text), line: async () => typed.shift() ?? null };
  };
  const answeredBy = async (...typed: string[]) => {
    const told = dialogue(...typed);
    const ended = await finish(begin(text, {}, askerOf(told)));
    return { ...ended, said: told.said };
  };

  test("the person at the terminal is asked until the answer fits", async () => {
    const { said, lines, tasks } = await answeredBy("perhaps", "y", "many", "50");
    expect(tasks).toBe("COMPLETED, go COMPLETED, on COMPLETED, back SKIPPED");
    expect(lines).toEqual([`on: 50 ${userInfo().username}`]);
    expect(said.map((each) => Bun.stripANSI(each))).toEqual([
      'go asks: Go on?\n  share (int, default "100")',
      "Approve? Type yes or no.",
      "Approve? Type yes or no.",
      'share? (Enter for "100")',
      "share must be a whole number.",
      'share? (Enter for "100")',
    ]);
    expect((await answeredBy("yes", "")).lines).toEqual([`on: 100 ${userInfo().username}`]);
  });

  test("Enter alone is no value of a field that must be given", async () => {
    const told = dialogue("y", "", " ", "a ticket");
    const asks =
      'tasks: {go: {config: !Approval {message: "Go on?", form: {why: {type: string, required: true}}}}, on: {depends: [go], env: {W: "${{ tasks.go.outputs.why }}"}, run: \'echo "$W"\'}}';
    expect((await finish(begin(asks, {}, askerOf(told)))).lines).toEqual(["on: a ticket"]);
    expect(told.said.slice(2).map((each) => Bun.stripANSI(each))).toEqual([
      "why?",
      "why must be given.",
      "why?",
      "why must be given.",
      "why?",
    ]);
  });

  test("a question that is not to be answered any more says so before the next one", async () => {
    const told = dialogue("yes");
    let isFirst = true;
    const person = {
      ...told,
      line: async (signal: AbortSignal) => {
        if (!isFirst) return told.line();
        isFirst = false;
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        return null;
      },
    };
    const asks =
      'tasks: {late: {config: !Approval {message: "One?", timeout: 10ms}}, next: {config: !Approval {message: "Two?"}}}';
    expect((await finish(begin(asks, {}, askerOf(person)))).tasks).toBe(
      "FAILED, late FAILED, next COMPLETED",
    );
    expect(told.said.map((each) => Bun.stripANSI(each))).toEqual([
      "late asks: One?",
      "Approve? Type yes or no.",
      "late waits for no answer any more.",
      "next asks: Two?",
      "Approve? Type yes or no.",
    ]);
  });

  test("a refusal, the end of the input, and no terminal fail the task with the reason", async () => {
    expect((await answeredBy("no", "too late")).lines).toEqual([
      `back: rejected by ${userInfo().username}: too late`,
    ]);
    expect((await answeredBy("y")).lines).toEqual(["back: nobody answered: the input has ended"]);
    const nobody = "nobody can approve here, because there is no terminal; a principal can wait for a person";
    expect((await runOf(text)).lines).toEqual([`go ERROR: Cannot start: ${nobody}.`, `back: ${nobody}`]);
  });

  test("nobody answers in time; the run is cancelled meanwhile", async () => {
    const silent: Asker = () => new Promise(() => {});
    const late = text.replace('message: "Go on?"', 'message: "Go on?", timeout: 10ms, on_timeout: approve');
    expect((await finish(begin(late, {}, silent))).lines).toEqual(["on: 100 timeout"]);
    const watched = begin(text, {}, silent);
    watched.run.cancel();
    expect((await finish(watched)).tasks).toBe("CANCELLED, go CANCELLED, on CANCELLED, back CANCELLED");
  });
});

test("there is one agent: this host", async () => {
  const { details, lines, tasks } = await runOf(`
tasks:
  each: {foreach: "\${{ agents() }}", key: "\${{ item.id }}", runs_on: {host: "\${{ item.host }}"}, run: 'echo "x=1" >> "$CDKTR_OUTPUT"; echo "$CDKTR_ITEM_KEY"'}
  after: {depends: [each], env: {X: "\${{ tasks.each.outputs.x }}"}, run: echo "$X"}
`);
  expect(tasks).toBe("COMPLETED, each COMPLETED, after COMPLETED");
  expect(lines).toEqual([`each[${hostname()}]: ${hostname()}`, 'after: ["1"]']);
  expect(details.tasks[0]?.items).toEqual({ total: 1, by_status: { COMPLETED: 1 } });
});

describe("cancelling", () => {
  test("everything is over, and on_cancel follows", async () => {
    const watched = begin(`
tasks:
  runs: {run: "echo up; sleep 1000"}
  waits: {config: !Wait {for: 1h}}
  polls: {repeat: {every: 1h, until: "\${{ exit_code == 0 }}"}, run: "echo tried; exit 1"}
  later: {depends: [runs], run: "true"}
hooks: {on_cancel: {run: 'echo "$CDKTR_RUN_STATUS"'}}
`);
    const { lines, run } = watched;
    await until("they run", () => lines.includes("runs: up") && lines.includes("polls: tried"));
    run.cancel();
    const { tasks, details } = await finish(watched);
    expect(tasks).toBe(
      "CANCELLED, runs CANCELLED, waits CANCELLED, polls CANCELLED, later CANCELLED, on_cancel COMPLETED",
    );
    expect(details.error).toBe("cancelled");
    expect(lines).toContain("on_cancel: CANCELLED");
  });

  test("while only hooks run, it stops them and changes nothing else", async () => {
    const watched = begin(`
tasks: {a: {run: "true"}}
hooks: {on_success: {run: "echo up; sleep 1000"}}
`);
    await until("the hook runs", () => watched.lines.includes("on_success: up"));
    watched.run.cancel();
    const { tasks } = await finish(watched);
    expect(tasks).toBe("COMPLETED, a COMPLETED, on_success CANCELLED");
  });

  test("kill does not wait for a task that does not want to end", async () => {
    const watched = begin(`
tasks:
  stubborn: {grace: 1h, run: "trap '' TERM; echo up; while :; do sleep 0.01; done"}
  other: {run: "echo up; env -i setsid sleep 1000"}
`);
    const { lines, run, host } = watched;
    await until("both run", () => lines.length === 2);
    run.cancel();
    await host.kill();
    expect((await finish(watched)).tasks).toBe("CANCELLED, stubborn CANCELLED, other CANCELLED");
  });
});

describe("what it leaves", () => {
  const names = () => readdirSync(directory.root).filter((name) => name.includes("cdktr-run"));

  test("nothing, also of a run that failed, and of what a task has left running", async () => {
    const { tasks, lines } = await runOf(`
tasks:
  a:
    run: |
      mkdir closed; touch closed/file; chmod 0 closed
      setsid sh -c 'echo $$ > pid; exec sleep 1000' &
      until [ -s pid ]; do sleep 0.01; done
      cat pid; exit 1
`);
    expect(tasks).toBe("FAILED, a FAILED");
    const [pid] = lines.flatMap((line) => /^a: (\d+)$/.exec(line)?.[1] ?? []);
    expect(isRunning(Number(pid))).toBe(false);
    expect(names()).toEqual([]);
  });

  test("what a process left that was killed goes with the next run; what a live one has stays", async () => {
    const live = new PrivatePlace(null, directory.root);
    const dead = new PrivatePlace(null, directory.root);
    const child = Bun.spawn(["sleep", "1000"], {
      env: { CDKTR_AGENT_STREAM_ID: dead.streamId, CDKTR_TASK_INSTANCE_ID: "a task" },
    });
    const mark = `CDKTR_AGENT_STREAM_ID=${dead.streamId}`;
    await until("it is what it was started as", () => readEnvironment(child.pid).includes(mark));
    mkdirSync(`${dead.path}/runs`);
    // As if its process was gone: nothing else lets go of the lock.
    dead.abandon();
    // Half removed.
    const half = `${directory.root}/cdktr-run-half`;
    mkdirSync(half);
    writeFileSync(`${half}/stream`, "x");
    await endAbandoned(directory.root);
    expect(await child.exited).not.toBe(0);
    expect([existsSync(dead.path), existsSync(half), existsSync(live.path)]).toEqual([false, false, true]);
    await live.close();
    expect(names()).toEqual([]);
  });

  test("a directory for temporary files that cannot be written is told with what to do", () => {
    expect(() => new PrivatePlace(null, `${directory.root}/missing`)).toThrow(
      `No private directory for the run can be made in ${directory.root}/missing: ENOENT`,
    );
  });
});
