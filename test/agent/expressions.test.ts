/** The expressions of tasks, evaluated when a task starts. */
import { describe, expect, test } from "bun:test";
import { HOSTILE_VALUES } from "../support/hostile-values.ts";
import { Bench, type TaskSpec } from "./support/bench.ts";

/** A program that shows its arguments and a variable, byte by byte. */
const SHOW = [
  "sh",
  "-c",
  'for each in "$@" "$SHOWN"; do printf "%s" "$each" | od -An -v -tx1 | tr -d " \\n"; echo; done',
  "-",
] as const;

/** Runs tasks of a workflow that has expressions. */
async function run(
  tasks: Readonly<Record<string, TaskSpec>>,
  more: {
    params?: Record<string, string>;
    env?: Record<string, string>;
    event?: Record<string, string>;
  } = {},
  options: ConstructorParameters<typeof Bench>[0] = {},
) {
  const { params = {}, env = {}, event = {} } = more;
  const declared = Object.fromEntries(
    Object.keys(params).map((name) => [name, { description: null, default: null }]),
  );
  const bench = new Bench(options);
  try {
    const outcome = await bench.run(
      tasks,
      { language: 2, params: declared, env },
      { params, event, scheduled_time_ms: Date.UTC(2026, 10, 27) },
    );
    return outcome;
  } finally {
    bench[Symbol.dispose]();
  }
}

const textOf = (line: string | undefined): string =>
  Buffer.from(line?.replace(/^INFO /, "") ?? "", "hex").toString();

describe("expressions of a task", () => {
  test("become its program, its arguments and its variables", async () => {
    const outcome = await run(
      {
        a: {
          run: [
            "${{ params.program }}",
            "-c",
            'echo "$1 $DAY $BUCKET $RUN"',
            "-",
            "${{ params.region }}-${{ run.attempt }}",
          ],
          env: { DAY: '${{ date(run.scheduled_time, "%Y-%m-%d") }}', RUN: "${{ run.trigger }}" },
        },
      },
      {
        params: { program: "sh", region: "eu" },
        env: { BUCKET: "s3://${{ params.region }}", PLAIN: "$${{ x }}" },
      },
    );
    expect(outcome.log("a")).toEqual(["INFO eu-1 2026-11-27 s3://eu cli"]);
    expect(outcome.end).toBe("COMPLETED");
  });

  test("read what tasks before it have published, also those that it does not depend on directly", async () => {
    const outcome = await run({
      list: { run: `echo '{"files": ["a b", "c"], "rows": 17}' > "$CDKTR_OUTPUT"` },
      middle: { depends: ["list"] },
      load: {
        depends: ["middle"],
        run: [
          "sh",
          "-c",
          'echo "$@"',
          "-",
          "${{ tasks.list.outputs.files }}",
          "${{ tasks.list.outputs.rows + 1 }}",
          "${{ tasks.middle.status }}",
        ],
      },
    });
    expect(outcome.log("load")).toEqual(['INFO ["a b","c"] 18 COMPLETED']);
  });

  test("read what the event offered", async () => {
    const outcome = await run(
      { a: { run: ["echo", "${{ file_name(trigger.path) }}", '${{ default(trigger.size, "?") }}'] } },
      { event: { path: "/in/a b.csv" } },
    );
    expect(outcome.log("a")).toEqual(["INFO a b.csv ?"]);
  });

  test("set its timeout and its retries", async () => {
    const outcome = await run(
      {
        a: { run: "sleep 60", templates: { timeout: "${{ params.limit }}" } },
        b: {
          run: "exit 1",
          retry: {
            max_attempts: 1,
            delay_ms: 1000,
            backoff: 1,
            templates: { max_attempts: "${{ params.attempts }}", delay: "${{ duration('1ms') }}" },
          },
        },
      },
      { params: { limit: "100ms", attempts: "3" } },
    );
    expect(outcome.last("a")).toMatchObject({ status: "FAILED", error: "timed out after 100ms" });
    expect(outcome.statuses("b")).toEqual(["RUNNING", "WAITING", "RUNNING", "WAITING", "RUNNING", "FAILED"]);
  });

  test("without a value fail it, once, and say which", async () => {
    const outcome = await run(
      {
        list: {},
        load: {
          depends: ["list"],
          env: { ROWS: "${{ tasks.list.outputs.rows }}" },
          retry: { max_attempts: 5, delay_ms: 0, backoff: 1 },
        },
        more: { depends: ["load"] },
      },
      {},
    );
    const error = 'Cannot start: env.ROWS: tasks.list.outputs.rows has no value: "list" published no "rows".';
    expect(outcome.last("load")).toMatchObject({ status: "FAILED", error });
    expect(outcome.statuses("load")).toEqual(["RUNNING", "FAILED"]);
    expect(outcome.log("load")).toEqual([`ERROR ${error}`]);
    expect(outcome.statuses("more")).toEqual(["SKIPPED"]);
    expect(outcome.end).toBe("FAILED");
  });

  test("of a type that does not fit fail it, with what to do", async () => {
    const outcome = await run({
      list: { run: 'echo rows=17 >> "$CDKTR_OUTPUT"' },
      load: { depends: ["list"], run: ["echo", "${{ tasks.list.outputs.rows > 10 }}"] },
    });
    expect(outcome.log("load")).toEqual([
      'ERROR Cannot start: args[0]: cannot compare text with int: tasks.list.outputs.rows is "17".',
      "ERROR values of lines in CDKTR_OUTPUT are text: write int(tasks.list.outputs.rows)",
    ]);
  });

  test.each([
    ["timeout", "5", 'Cannot start: timeout: "5" has no unit.'],
    ["timeout", "", "Cannot start: timeout: the value is empty."],
  ])("%s %j is not what the key takes", async (key, value, error) => {
    const outcome = await run({ a: { templates: { [key]: "${{ params.x }}" } } }, { params: { x: value } });
    expect(outcome.last("a")).toMatchObject({ status: "FAILED", error });
  });

  test("an empty program is refused as it is in a file", async () => {
    const outcome = await run({ a: { run: ["${{ params.x }}"] } }, { params: { x: " " } });
    expect(outcome.last("a").error).toBe("Cannot start: cmd: the value is empty.");
  });

  test("a workflow that an older cdktr read keeps its braces", async () => {
    using bench = new Bench();
    const outcome = await bench.run({ a: { run: ["echo", "${{ params.x }}"] } }, { language: undefined });
    expect(outcome.log("a")).toEqual(["INFO ${{ params.x }}"]);
  });
});

describe("a value reaches the task as it is", () => {
  test.each(HOSTILE_VALUES)("%s", async (_, value) => {
    const outcome = await run(
      {
        pass: { run: ["sh", "-c", 'printf "%s" "$V" > value; exit 0'], env: { V: "${{ params.value }}" } },
        publish: {
          run: 'printf "%s" "$JSON" > "$CDKTR_OUTPUT"',
          env: { JSON: '${{ {"value": params.value} }}' },
        },
        show: {
          depends: ["publish", "pass"],
          run: [...SHOW, "${{ params.value }}", "${{ tasks.publish.outputs.value }}"],
          env: { SHOWN: "${{ env.VALUE }}" },
        },
      },
      { params: { value, other: "evaluated" }, env: { VALUE: "${{ params.value }}" } },
    );
    expect(outcome.log("show").map(textOf)).toEqual([value, value, value]);
    expect(outcome.end).toBe("COMPLETED");
  });

  test("1 MB of it, as standard input", async () => {
    const outcome = await run({
      publish: { run: `head -c 200000 /dev/zero | tr '\\0' x | sed 's/^/big=/' > "$CDKTR_OUTPUT"` },
      a: {
        depends: ["publish"],
        run: ["wc", "-c"],
        stdin: "${{ [1, 2, 3, 4, 5].map(n, tasks.publish.outputs.big).join() }}",
      },
    });
    expect(outcome.log("a")).toEqual(["INFO 1000000"]);
  });

  test("also inside other text", async () => {
    const value = `a'"$(touch pwned)\n-rf`;
    const outcome = await run(
      { show: { run: [...SHOW, "--value=${{ params.value }};"], env: { SHOWN: "<${{ params.value }}>" } } },
      { params: { value } },
    );
    expect(outcome.log("show").map(textOf)).toEqual([`--value=${value};`, `<${value}>`]);
  });

  test("100 KiB of it", async () => {
    const value = "é".repeat(50 * 1024);
    const outcome = await run(
      { a: { run: ["sh", "-c", 'printf "%s" "$1" | wc -c', "-", "${{ params.value }}"] } },
      { params: { value } },
    );
    expect(outcome.log("a")).toEqual([`INFO ${100 * 1024}`]);
  });

  test("1 MiB is more than the system takes in one argument, and the task says so", async () => {
    const outcome = await run({
      publish: { run: `head -c 200000 /dev/zero | tr '\\0' x | sed 's/^/big=/' > "$CDKTR_OUTPUT"` },
      a: {
        depends: ["publish"],
        run: [
          "echo",
          "${{ tasks.publish.outputs.big + tasks.publish.outputs.big + tasks.publish.outputs.big }}",
        ],
      },
    });
    expect(outcome.last("a").error).toContain("its arguments and environment are too long");
  });

  test.each([
    ["NUL", "a\0b", "Cannot start: args[0]: the value contains a NUL character."],
    [
      "half of a character",
      "a\ud800b",
      "Cannot start: args[0]: the value has half of a character, which no program can be given.",
    ],
  ])("%s cannot, and the task says so", async (_, value, error) => {
    const outcome = await run({ a: { run: ["echo", "${{ params.value }}"] } }, { params: { value } });
    expect(outcome.last("a").error).toBe(error);
  });
});
