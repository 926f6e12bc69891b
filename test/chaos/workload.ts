/** The workload of the chaos test: workflows whose tasks print numbered lines and keep their own record. */
import { join } from "node:path";
import type { PrincipalClient } from "../../src/protocol/client.ts";
import { prepareLimits } from "./limits.ts";
import type { Random } from "./random.ts";

/**
 * A task: appends to the witness file when it starts and ends (one short write with O_APPEND, so records stay whole), and prints
 * `try T line I of N`. It also records which task runs have published what it finds in its inputs, and publishes its own id. Times are
 * of the boot clock, which the shell reads without starting a process.
 */
const TASK = `#!/bin/sh
# usage: task.sh LINES PAUSE STATUS [STATUS_OF_THE_FIRST_TRY]; CHAOS_NEEDS: the tasks on which it depends
witness() {
  read -r up _ < /proc/uptime
  node=$CDKTR_TASK_ID\${CDKTR_ITEM_KEY:+[$CDKTR_ITEM_KEY]}
  printf '%s %s %s %s %s %s %s %s %s %s\\n' "$1" "$up" "$CDKTR_WORKFLOW_INSTANCE_ID" "$CDKTR_RUN_ATTEMPT" "$node" \\
    "$CDKTR_TASK_INSTANCE_ID" "$CDKTR_ATTEMPT" "$CHAOS_AGENT" "\${2:--}" "\${3:--}" >> "$CHAOS_WITNESS"
}
witness start
for need in $CHAOS_NEEDS; do
  seen=nothing
  if [ -e "$CDKTR_INPUTS/$need.json" ]; then
    read -r seen < "$CDKTR_INPUTS/$need.json"
    seen=\${seen#*'"instance":"'}
    seen=\${seen%%'"'*}
  fi
  witness input "$need" "$seen"
done
echo "instance=$CDKTR_TASK_INSTANCE_ID" >> "$CDKTR_OUTPUT"
i=1
while [ "$i" -le "$1" ]; do
  echo "try $CDKTR_ATTEMPT line $i of $1"
  [ $((i % 8)) = 0 ] && sleep "$2"
  i=$((i + 1))
done
witness end
[ "$CDKTR_ATTEMPT" = 1 ] && [ -n "$4" ] && exit "$4"
exit "$3"
`;

/** Where workflows are written. */
export interface Place {
  readonly directory: string;
  writeWorkflow(path: string, text: string): void;
}

type Task = readonly [depends: readonly string[], args: readonly string[], runsOn?: string];

function workflow(name: string, script: string, tasks: Readonly<Record<string, Task>>, head = ""): string {
  const retry = "    retry: { max_attempts: 2, delay: 100ms }\n";
  return `name: ${name}\n${head}tasks:\n${Object.entries(tasks)
    .map(
      ([id, [depends, args, runsOn]]) => `  ${id}:
    name: ${id}
    depends: ${JSON.stringify(depends)}
    env: { CHAOS_NEEDS: "${depends.join(" ")}" }
${args.length > 3 ? retry : ""}${runsOn === undefined ? "" : `    runs_on: { ${runsOn}: yes }\n`}    config:
      !Subprocess
      cmd: sh
      args: ${JSON.stringify([script, ...args])}
`,
    )
    .join("")}`;
}

/** The ids of the workflows. */
export interface Workflows {
  /** Runs of these are executed by one agent each. */
  readonly whole: readonly string[];
  /** Runs of these are shared by agents, some of which have the label `left` or `right`. */
  readonly split: readonly string[];
  /** Those of {@link split} that use the whole language. */
  readonly language: readonly string[];
}

/**
 * Tasks with these names are expected to run again: a poll tries until it is met, also after its agent was lost; what handles a failure runs
 * again if the failure does.
 */
export const RUNS_AGAIN = /^(poll|handle|cleaned)$/;

/** Workflows that use what the principal has a part in: fan-outs, waits, polls, hooks, approvals, child runs. */
function languageWorkflows(script: string): Record<string, string> {
  const run = (args: readonly string[]) =>
    `config: !Subprocess {cmd: sh, args: ${JSON.stringify([script, ...args])}}`;
  const quick = run(["8", "0.05", "0"]);
  const hooks = `hooks: {on_success: {${quick}}, on_failure: {${quick}}, on_cancel: {${quick}}, on_exit: {${quick}}}\n`;
  const file = (tasks: Readonly<Record<string, string>>, rest = "") =>
    `${rest}tasks:\n${Object.entries(tasks)
      .map(([id, text]) => `  ${id}: {${text}}\n`)
      .join("")}`;
  const items = `foreach: [a, b, c, d, e, f]`;
  return {
    "items.together": file({
      each: `${items}, max_parallel: 3, ${quick}`,
      sum: `depends: [each], runs_on: {left: "yes"}, ${quick}`,
    }),
    "items.spread": file(
      {
        first: quick,
        each: `depends: [first], ${items}, ${quick}`,
        cut: `depends: [first], ${items}, max_parallel: 2, fail_fast: true, allow_failure: true, ${run(["8", "0.05", "3"])}`,
        last: `depends: {each: completed, cut: ended}, ${quick}`,
      },
      "placement: spread\n",
    ),
    polling: file({
      poll: `repeat: {every: 200ms, until: "\${{ exit_code == 0 }}", max_attempts: 100}, ${run(["0", "0", "0", "7"])}`,
      after: `depends: [poll], ${quick}`,
    }),
    asking: file(
      {
        first: quick,
        pause: "depends: [first], config: !Wait {for: 400ms}",
        ask: "depends: [pause], config: !Approval {message: Go on?}",
        last: `depends: [ask], ${quick}`,
      },
      hooks,
    ),
    handling: file(
      {
        bad: `runs_on: {left: "yes"}, ${run(["8", "0.1", "3"])}`,
        handle: `depends: {bad: failed}, runs_on: {right: "yes"}, ${quick}`,
        cleaned: `depends: {handle: [completed, skipped]}, ${quick}`,
        never: `when: "\${{ 1 > 2 }}", ${quick}`,
      },
      hooks,
    ),
    nesting: file({
      chained: "config: !Workflow {workflow: chain}",
      polled: "config: !Workflow {workflow: polling}",
      sided: "config: !Workflow {workflow: sides}",
      end: `depends: [chained, polled, sided], ${quick}`,
    }),
  };
}

/** Writes the task script and the workflows; also those that use the whole language, or have limits, if they are to be there. */
export async function prepareWorkflows(
  place: Place,
  { language: hasLanguage = false, limits: hasLimits = false } = {},
): Promise<Workflows> {
  const script = join(place.directory, "task.sh");
  await Bun.write(script, TASK);
  const whole = {
    diamond: workflow("Diamond", script, {
      top: [[], ["24", "0.05", "0"]],
      left: [["top"], ["40", "0.1", "0"]],
      right: [["top"], ["16", "0.2", "0"]],
      bottom: [
        ["left", "right"],
        ["24", "0.02", "0"],
      ],
    }),
    chain: workflow("Chain", script, {
      one: [[], ["8", "0.4", "0"]],
      two: [["one"], ["8", "0.4", "0"]],
      three: [["two"], ["8", "0.4", "0"]],
    }),
    flaky: workflow("Flaky", script, {
      shaky: [[], ["16", "0.05", "0", "7"]],
      after: [["shaky"], ["8", "0.05", "0"]],
    }),
    failing: workflow("Failing", script, {
      bad: [[], ["8", "0.1", "3"]],
      good: [[], ["8", "0.1", "0"]],
      never: [["bad"], ["8", "0", "0"]],
    }),
    chatty: workflow("Chatty", script, { talk: [[], ["800", "0.005", "0"]] }),
  };
  const split = {
    // Three slices one after the other, of which two are on different agents for sure.
    sides: workflow("Sides", script, {
      top: [[], ["16", "0.05", "0"]],
      "left.one": [["top"], ["16", "0.1", "0"], "left"],
      "left.two": [["left.one"], ["8", "0.1", "0"], "left"],
      right: [["top"], ["16", "0.2", "0"], "right"],
      bottom: [
        ["left.two", "right"],
        ["8", "0.02", "0"],
      ],
    }),
    fan: workflow(
      "Fan",
      script,
      {
        seed: [[], ["8", "0.05", "0"]],
        ...Object.fromEntries([1, 2, 3, 4].map((n) => [`part${n}`, [["seed"], ["16", "0.1", "0"]] as const])),
        sum: [
          ["part1", "part2", "part3", "part4"],
          ["8", "0.02", "0"],
        ],
      },
      "placement: spread\n",
    ),
    broken: workflow("Broken", script, {
      shaky: [[], ["8", "0.05", "0", "7"], "left"],
      bad: [["shaky"], ["8", "0.05", "3"], "right"],
      never: [["bad"], ["8", "0", "0"], "left"],
      good: [["shaky"], ["8", "0.1", "0"]],
    }),
  };
  const language = hasLanguage ? languageWorkflows(script) : {};
  for (const [id, text] of Object.entries({ ...whole, ...split, ...language }))
    place.writeWorkflow(`${id.replace(".", "/")}.yml`, text);
  const { triggered, split: pooled } = hasLimits
    ? prepareLimits(place, script)
    : { triggered: [], split: [] };
  return {
    whole: [...Object.keys(whole), ...triggered.filter((id) => !pooled.includes(id))],
    split: [...Object.keys(split), ...Object.keys(language), ...pooled],
    language: Object.keys(language),
  };
}

/** A trigger that the principal acknowledged. */
export interface Acknowledged {
  readonly workflowId: string;
  readonly runId: string;
}

/** While the principal is away nobody answers: it is asked again soon. */
const SOON = { timeoutMs: 3000 };

/** Triggers runs steadily, each again and again until it is acknowledged, some of them twice on purpose. */
export class Load {
  readonly acknowledged: Acknowledged[] = [];
  /** A repeated request that was answered with another run: never allowed. */
  readonly doubled: string[] = [];
  readonly cancelled = new Set<string>();
  /** Task runs whose approval was acknowledged. */
  readonly answered = new Set<string>();
  #ended = false;
  #left = false;
  readonly #open = new Set<Promise<void>>();
  #loop: Promise<void> = Promise.resolve();

  constructor(
    /** Those that it triggers with, each time another one. */
    private readonly clients: readonly PrincipalClient[],
    private readonly workflowIds: readonly string[],
    private readonly random: Random,
    private readonly runsPerSecond: number,
  ) {}

  start(): void {
    this.#loop = (async () => {
      for (let n = 1; !this.#ended; n++) {
        const trigger = this.#trigger(this.random.pick(this.workflowIds), n);
        this.#open.add(trigger);
        void trigger.finally(() => this.#open.delete(trigger));
        // The rate is what was asked for, whatever happens meanwhile.
        await Bun.sleep(1000 / this.runsPerSecond);
      }
    })();
  }

  /** Whatever waits for a person is approved, until {@link leave}. */
  async answer(): Promise<void> {
    while (!this.#left) {
      const client = this.random.pick(this.clients);
      const waiting = await client.listApprovals({ limit: 100 }, SOON).catch(() => []);
      for (const { workflow_instance_id, task_id, task_instance_id } of waiting) {
        const answer = { workflow_instance_id, task_id, answer: "approve", params: {}, note: "" } as const;
        const done = await client.answerApproval({ ...answer, dedupe_key: task_instance_id }, SOON).then(
          () => true,
          () => false,
        );
        if (done) this.answered.add(task_instance_id);
      }
      // A pause, not a wait: a person looks now and then.
      await Bun.sleep(300);
    }
  }

  /** Nobody answers any more. */
  leave(): void {
    this.#left = true;
  }

  /** Triggers nothing new and waits until everything is acknowledged. */
  async stop(): Promise<void> {
    this.#ended = true;
    await this.#loop;
    await Promise.all(this.#open);
  }

  async #trigger(workflowId: string, n: number): Promise<void> {
    const twice = this.random.next() < 0.1;
    const cancel = this.random.next() < 0.05;
    const runId = await this.#untilAcknowledged(workflowId, n);
    this.acknowledged.push({ workflowId, runId });
    if (twice && (await this.#untilAcknowledged(workflowId, n)) !== runId) this.doubled.push(runId);
    if (cancel) {
      const done = await this.random
        .pick(this.clients)
        .cancelRun(runId, SOON)
        .then(
          () => true,
          () => false,
        );
      if (done) this.cancelled.add(runId);
    }
  }

  async #untilAcknowledged(workflowId: string, n: number): Promise<string> {
    for (;;) {
      try {
        const { workflow_instance_id } = await this.random
          .pick(this.clients)
          .runTask(workflowId, { dedupe_key: `chaos-${n}` }, SOON);
        return workflow_instance_id;
      } catch {
        // Not acknowledged: the principal is away or ill. What counts is that the repetition makes no second run.
        // A pause, not a wait: somebody who asks again gives the principal a moment.
        await Bun.sleep(50);
      }
    }
  }
}
