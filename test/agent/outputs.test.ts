/** What tasks publish, and what those that depend on them get. */
import { describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { OutputsError, parseOutputs } from "../../src/agent/parse-outputs.ts";
import { TaskFiles } from "../../src/agent/task-files.ts";
import { MAX_OUTPUTS_BYTES } from "../../src/contract/outputs.ts";
import { assignmentOf, Bench, until, workflowOf } from "./support/bench.ts";

const parse = (text: string) => parseOutputs(new TextEncoder().encode(text));

describe("the file", () => {
  test.each<[string, string, Record<string, unknown> | null]>([
    ["nothing", "", null],
    ["empty lines", " \n\n", null],
    [
      "lines",
      "rows=17\npath=/a b\nurl=http://x/?a=b<<c\n",
      { rows: "17", path: "/a b", url: "http://x/?a=b<<c" },
    ],
    ["a last line that does not end", "a=1\nb=2", { a: "1", b: "2" }],
    ["a name twice", "a=1\na=2\n", { a: "2" }],
    ["an empty value", "a=\n", { a: "" }],
    ["values are not trimmed", "a= x \r\n", { a: " x \r" }],
    ["a block", "text<<END\none\n\ntwo=2\nEND\nb=2\n", { text: "one\n\ntwo=2", b: "2" }],
    ["an empty block", "text<<-- x\n-- x\n", { text: "" }],
    ["a block that ends with the file", "text<<E\n E\nE", { text: " E" }],
    [
      "an object",
      ' \n{"rows": 17, "files": [{"a": null}], "text": "a=b"}\n',
      { rows: 17, files: [{ a: null }], text: "a=b" },
    ],
    ["an empty object", "{}", {}],
    [
      "a whole number as large as can be",
      '{"a": 9007199254740991, "b": 1e30, "c": 0.1}',
      { a: 9007199254740991, b: 1e30, c: 0.1 },
    ],
  ])("%s", (_, text, outputs) => {
    expect(parse(text)).toEqual(outputs);
  });

  test.each<[string, string, string]>([
    [
      "a line of something else",
      "a=1\nRows: 17\n",
      'line 2 is neither "name=value" nor "name<<END": "Rows: 17"',
    ],
    ["a name with a space", "my rows=1\n", 'line 1: "my rows" is not the name of an output'],
    ["no name", "=1\n", 'line 1: "" is not the name of an output'],
    [
      "a block without an end",
      "a=1\ntext<<END\nb=2\n",
      'line 2: the block of text has no end, a line with "END" alone',
    ],
    ["a block without a mark", "text<<\n\n", "line 1: the block of text has no end"],
    ["two objects", "{}\n{}\n", 'begins with "{" but is not one JSON object'],
    ["half an object", '{"a": 1', 'begins with "{" but is not one JSON object'],
    [
      "a number that would be another one",
      '{"id": 12345678901234567891}',
      "the number 12345678901234567891 cannot be held exactly",
    ],
    ["a number out of range", '{"a": 1e999}', "a number is out of range"],
    ["a prototype", '{"__proto__": {"a": 1}}', '"__proto__" is not the name of an output'],
    [
      "too much",
      `a=${"x".repeat(MAX_OUTPUTS_BYTES)}`,
      "bytes of JSON are too much: at most 262144 are published",
    ],
  ])("%s is refused", (_, text, message) => {
    expect(() => parse(text)).toThrow(OutputsError);
    expect(() => parse(text)).toThrow(message);
  });

  test("what is not UTF-8 is refused", () => {
    expect(() => parseOutputs(new Uint8Array([0x61, 0x3d, 0xff]))).toThrow("the file is not valid UTF-8");
  });
});

/** Resolves when no file of a task is there. */
const allRemoved = (bench: Bench) =>
  until(() => readdirSync(join(bench.directory, "data", "tasks")).length === 0, "the files are removed");

describe("tasks", () => {
  test("get what their dependencies have published, each in a file; nothing is left afterwards", async () => {
    using bench = new Bench();
    const outcome = await bench.run({
      a: { run: 'echo rows=17 > "$CDKTR_OUTPUT"' },
      "b.c": { run: `echo '{"files": ["x y"]}' > "$CDKTR_OUTPUT"` },
      quiet: { run: '[ ! -e "$CDKTR_OUTPUT" ] && [ ! -e "$CDKTR_INPUTS" ]' },
      next: {
        run: 'cd "$CDKTR_INPUTS" && for f in *; do echo "$f $(cat "$f") $(stat -c %a "$f")"; done; stat -c %a . ..',
        depends: ["a", "b.c", "quiet"],
      },
      last: { run: '[ ! -e "$CDKTR_INPUTS" ]', depends: ["next"] },
    });
    expect(outcome.end).toBe("COMPLETED");
    expect(outcome.log("next")).toEqual([
      'INFO a.json {"rows":"17"} 600',
      'INFO b.c.json {"files":["x y"]} 600',
      "INFO 700",
      "INFO 700",
    ]);
    const published = outcome.reports.filter(({ outputs }) => outputs !== null);
    expect(published.map(({ task_id, status }) => `${task_id} ${status}`).sort()).toEqual([
      "a COMPLETED",
      "b.c COMPLETED",
    ]);
    expect(outcome.last("a").outputs).toEqual({ rows: "17" });
    await allRemoved(bench);
  });

  test("get what tasks of another attempt or another agent have published", async () => {
    using bench = new Bench();
    const outcome = await bench.run(
      { a: {}, b: {}, c: { run: 'cat "$CDKTR_INPUTS"/*', depends: ["a", "b"] } },
      {},
      {
        completed_tasks: ["a", "b"],
        results: {
          a: { status: "COMPLETED", outputs: { n: 1 } },
          b: { status: "COMPLETED", outputs: null },
        },
      },
    );
    expect([outcome.end, outcome.log("c")]).toEqual(["COMPLETED", ['INFO {"n":1}']]);
  });

  test("what a failed try has written is gone for the next one, and is not published", async () => {
    using bench = new Bench();
    const outcome = await bench.run({
      a: {
        run: 'cat "$CDKTR_OUTPUT" 2>/dev/null; echo "try=$CDKTR_ATTEMPT" >> "$CDKTR_OUTPUT"; [ "$CDKTR_ATTEMPT" = 2 ]',
        retry: { max_attempts: 2, delay_ms: 0, backoff: 1 },
      },
      b: { run: 'echo x=1 > "$CDKTR_OUTPUT"; exit 1' },
    });
    expect(outcome.reports.filter(({ outputs }) => outputs !== null)).toMatchObject([
      { task_id: "a", task_attempt: 2, outputs: { try: "2" } },
    ]);
    expect(outcome.log("a").filter((line) => line.includes("try="))).toEqual([]);
    await allRemoved(bench);
  });

  test.each<[string, string, string]>([
    ["something else", "echo hello", 'line 1 is neither "name=value" nor "name<<END": "hello"'],
    ["more than is read", "head -c 2000000 /dev/zero", "the file has more than 1048576 bytes"],
  ])("one that writes %s fails with the reason", async (_, command, reason) => {
    using bench = new Bench();
    const outcome = await bench.run({ a: { run: `${command} > "$CDKTR_OUTPUT"` }, b: { depends: ["a"] } });
    expect(outcome.end).toBe("FAILED");
    expect(outcome.last("a")).toMatchObject({ status: "FAILED", exit_code: 0, outputs: null });
    expect(outcome.last("a").error).toBe(`its outputs cannot be published: ${reason}`);
    expect(outcome.log("a").at(-1)).toBe(`ERROR Its outputs cannot be published: ${reason}.`);
    expect(outcome.last("b").status).toBe("SKIPPED");
    await allRemoved(bench);
  });

  test("one that lacks an output that it declares fails, and is tried again; others publish more than they declare", async () => {
    using bench = new Bench();
    const outcome = await bench.run({
      a: {
        run: 'echo "rows=$CDKTR_ATTEMPT" > "$CDKTR_OUTPUT"; [ "$CDKTR_ATTEMPT" = 1 ] || echo size=7 >> "$CDKTR_OUTPUT"',
        outputs: ["rows", "size"],
        retry: { max_attempts: 2, delay_ms: 0, backoff: 1 },
      },
      b: {
        run: 'echo more=1 > "$CDKTR_OUTPUT"; echo x=1 >> "$CDKTR_OUTPUT"',
        outputs: ["x"],
        depends: ["a"],
      },
      c: { outputs: ["x"] },
      d: { run: 'echo z=1 > "$CDKTR_OUTPUT"', outputs: ["x", "y"] },
    });
    expect(outcome.end).toBe("FAILED");
    expect(outcome.last("a")).toMatchObject({ status: "COMPLETED", outputs: { rows: "2", size: "7" } });
    expect(outcome.log("a")[0]).toBe(
      'ERROR It ended with status 0, but failed: it declares the output "size" but did not publish it.',
    );
    expect(outcome.last("b")).toMatchObject({ status: "COMPLETED", outputs: { more: "1", x: "1" } });
    expect(outcome.last("c")).toMatchObject({
      status: "FAILED",
      exit_code: 0,
      error: 'it declares the output "x" but did not publish it',
    });
    expect(outcome.last("d")).toMatchObject({
      outputs: null,
      error: 'it declares the outputs "x", "y" but did not publish them',
    });
  });

  test.each([
    ["a pipe", 'mkfifo "$CDKTR_OUTPUT"', /the file is not a regular one/],
    ["a directory", 'mkdir -p "$CDKTR_OUTPUT/a"', /the file is not a regular one|cannot be read/],
    ["a link", 'ln -s /etc/passwd "$CDKTR_OUTPUT"', /the file cannot be read: ELOOP/],
    ["a link to nothing", 'ln -s /nowhere "$CDKTR_OUTPUT"', /the file cannot be read: ELOOP/],
  ])(
    "%s in place of the file neither holds up the agent nor leads it elsewhere",
    async (_, command, reason) => {
      using bench = new Bench();
      const outcome = await bench.run({ a: { run: command } });
      expect(outcome.last("a").error).toMatch(reason);
      await allRemoved(bench);
      expect(existsSync("/etc/passwd")).toBe(true);
    },
  );

  test("a directory of the agent that a task has made unreadable fails that task, not the agent", async () => {
    using bench = new Bench();
    // Permissions would not stop root; a link to itself does.
    const outcome = await bench.run({
      a: { run: 'd=$(dirname "$CDKTR_OUTPUT"); mv "$d" "$d.away"; ln -s "$d" "$d"' },
      b: {},
      c: { depends: ["a"] },
    });
    expect(outcome.end).toBe("FAILED");
    expect(outcome.last("a")).toMatchObject({ status: "FAILED", exit_code: 0 });
    expect(outcome.last("a").error).toMatch(
      /^its outputs cannot be published: the file cannot be read: ELOOP/,
    );
    expect(outcome.last("c").status).toBe("SKIPPED");
  });

  // Permissions do not stop root.
  test.skipIf(process.getuid?.() === 0)("one that takes the permissions away fails alone", async () => {
    using bench = new Bench();
    const outcome = await bench.run({
      a: {
        run: 'echo a=1 > "$CDKTR_OUTPUT"; [ "$CDKTR_ATTEMPT" = 2 ] || chmod 000 "$(dirname "$CDKTR_OUTPUT")"',
        retry: { max_attempts: 2, delay_ms: 500, backoff: 1 },
      },
    });
    expect(outcome.reports.find(({ status }) => status === "WAITING")?.error).toMatch(
      /^its outputs cannot be published: the file cannot be read: EACCES/,
    );
    expect(outcome.end).toBe("COMPLETED");
    await allRemoved(bench);
  });

  test("a directory with many files in place of the file does not hold up the agent", async () => {
    using bench = new Bench();
    const run = bench.prepare(
      assignmentOf(
        workflowOf({ a: { run: 'mkdir "$CDKTR_OUTPUT" && cd "$CDKTR_OUTPUT" && seq 5000 | xargs touch' } }),
      ),
    );
    const files = () => readdirSync(join(bench.directory, "data", "tasks"));
    const atEnd = run.over.then(files);
    run.start();
    expect(await atEnd).toHaveLength(1);
    await allRemoved(bench);
  });

  test("one whose end cannot be handled has failed", async () => {
    using bench = new Bench();
    const of = bench.context.files.of.bind(bench.context.files);
    bench.context.files.of = (id, attempt) =>
      Object.assign(of(id, attempt), {
        readOutputs: () => {
          throw new Error("something else");
        },
      });
    const outcome = await bench.run({ a: {} });
    expect(outcome.last("a")).toMatchObject({
      status: "FAILED",
      error: "the agent could not handle its end: something else",
    });
  });

  test.each<[string, (inputs: string) => void, RegExp, RegExp]>([
    [
      "on a full disk",
      (inputs) => {
        mkdirSync(inputs);
        symlinkSync("/dev/full", join(inputs, "a.json"));
      },
      /^The outputs of the tasks on which it depends cannot be written to .+\.inputs: the disk is full\.$/,
      /^ERROR Free some space, then trigger the run again: df -h .+tasks shows/,
    ],
    [
      "where a file is in the way",
      (inputs) => writeFileSync(inputs, ""),
      /^The outputs of .+\.inputs: EEXIST/,
      /^ERROR The agent has to be able to write to .+tasks, in its data directory/,
    ],
  ])("cannot start without their inputs: %s", async (_, spoil, error, hint) => {
    using bench = new Bench();
    const of = bench.context.files.of.bind(bench.context.files);
    bench.context.files.of = (id, attempt) => {
      const files = of(id, attempt);
      spoil(files.inputs);
      return files;
    };
    const outcome = await bench.run(
      { a: {}, b: { depends: ["a"] } },
      {},
      { completed_tasks: ["a"], results: { a: { status: "COMPLETED", outputs: { n: 1 } } } },
    );
    expect(outcome.last("b")).toMatchObject({ status: "FAILED", error: expect.stringMatching(error) });
    expect(outcome.log("b").at(-1)).toMatch(hint);
    await allRemoved(bench);
  });
});

test("what a killed agent left is removed when the next one starts", async () => {
  using bench = new Bench();
  const directory = join(bench.directory, "data", "tasks");
  writeFileSync(join(directory, "i-1.output"), "a=1");
  mkdirSync(join(directory, "i-1.inputs"));
  writeFileSync(join(directory, "i-1.inputs", "a.json"), "{}");
  chmodSync(directory, 0o500);
  expect(new TaskFiles(join(bench.directory, "data"))).toBeDefined();
  await allRemoved(bench);
  expect(statSync(directory).mode & 0o777).toBe(0o700);
});

describe("what others still need", () => {
  const publish = "{ printf v=; head -c 1600 /dev/zero | tr '\\0' x; } > $CDKTR_OUTPUT";

  test("has a limit: who exceeds it fails; what nobody needs does not count", async () => {
    using bench = new Bench({ slots: 1, keptOutputsBytes: 3000 });
    const outcome = await bench.run({
      loose: { run: publish },
      a: { run: publish },
      b: { run: publish },
      c: { depends: ["a", "b"] },
    });
    expect(["loose", "a", "b", "c"].map((id) => outcome.last(id).status)).toEqual([
      "COMPLETED",
      "COMPLETED",
      "FAILED",
      "SKIPPED",
    ]);
    expect(outcome.last("b").error).toMatch(
      /^its outputs cannot be published: what tasks of this run have published on this agent, and others of them still need, would exceed/,
    );
  });

  test("is kept no longer than that", async () => {
    using bench = new Bench({ keptOutputsBytes: 4000 });
    const chain = ["a", "b", "c", "d", "e"];
    const outcome = await bench.run(
      Object.fromEntries(
        chain.map((id, i) => [id, { run: publish, depends: i === 0 ? [] : [chain[i - 1] ?? ""] }]),
      ),
    );
    expect(outcome.end).toBe("COMPLETED");
    expect(chain.map((id) => String(outcome.last(id).outputs?.v).length)).toEqual([
      1600, 1600, 1600, 1600, 1600,
    ]);
  });
});
