import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import {
  type ChildOutcome,
  SupervisedProcess,
  type SupervisedProcessOptions,
} from "../../src/host/supervised-process.ts";
import { LogBook } from "../principal/support.ts";
import { TemporaryDirectory } from "../support/temporary-directory.ts";

let directory: TemporaryDirectory;
let book: LogBook;
beforeEach(() => {
  directory = new TemporaryDirectory();
  book = new LogBook();
});
afterEach(() => directory[Symbol.dispose]());

function supervise(command: () => readonly string[], more: Partial<SupervisedProcessOptions> = {}) {
  return new SupervisedProcess({
    name: "child",
    command,
    env: process.env,
    log: book.log,
    firstPauseMs: 1,
    ...more,
  });
}

/** A child that is a piece of a program of Bun's. */
const bun = (program: string) => [process.execPath, "-e", program];
const sh = (script: string) => ["sh", "-c", script];

/** Resolves when a child has said so much. */
function heardOf(count: number) {
  const messages: unknown[] = [];
  const all = Promise.withResolvers<unknown[]>();
  const heard = (message: unknown) => {
    messages.push(message);
    if (messages.length === count) all.resolve(messages);
  };
  return { heard, all: all.promise };
}

describe("starting again", () => {
  test("a child that succeeds is not restarted", async () => {
    const child = supervise(() => sh("exit 0"));
    await child.start();
    expect(await child.done).toBe(0);
    expect([child.restarts, child.failure]).toEqual([0, undefined]);
    await child.stop();
  });

  test("one that fails is restarted, with a new command each time, until it succeeds", async () => {
    let starts = 0;
    const outcomes: ChildOutcome[] = [];
    const child = supervise(() => {
      const commands = [sh("exit 3"), sh("kill -KILL $$"), [directory.path("missing")], sh("exit 0")];
      return commands[starts++] ?? [];
    });
    child.signals.on("failed", (outcome) => {
      outcomes.push(outcome);
      expect(child.failure).toBe(outcome);
    });
    await child.start();
    expect(await child.done).toBe(0);
    expect(outcomes).toEqual([3, "SIGKILL", expect.stringMatching(/ENOENT|not found/)]);
    expect([child.restarts, child.failure, starts]).toEqual([3, undefined, 4]);
    // Each pause is twice as long as the one before.
    expect(book.lines.map((line) => /restarting in ([\d.]+) s/.exec(line)?.[1])).toEqual([
      "0.001",
      "0.002",
      "0.004",
    ]);
  });

  test("the options say which end is the last", async () => {
    const asked: [ChildOutcome, number][] = [];
    const child = supervise(() => sh("exit 7"), {
      isFinal: (outcome, start) => {
        asked.push([outcome, start]);
        return start === 2;
      },
    });
    await child.start();
    expect(await child.done).toBe(7);
    expect(asked).toEqual([
      [7, 1],
      [7, 2],
    ]);
  });
});

describe("stopping", () => {
  test("tells the child, and waits until it has done what it has to", async () => {
    const path = directory.path("tidied");
    const { heard, all } = heardOf(1);
    const child = supervise(
      () =>
        bun(`process.on("SIGTERM", async () => {
          await new Promise(setImmediate);
          require("node:fs").writeFileSync(${JSON.stringify(path)}, "x");
          process.exit(5);
        });
        setInterval(() => {}, 1000);
        process.send("ready");`),
      { heard },
    );
    await child.start();
    await all;
    await child.stop();
    expect(existsSync(path)).toBe(true);
    expect([await child.done, child.restarts]).toEqual([5, 0]);
  });

  test("does not wait for the pause before the next start", async () => {
    const child = supervise(() => sh("exit 1"), { firstPauseMs: 3_600_000 });
    const failed = new Promise((resolve) => child.signals.on("failed", resolve));
    await child.start();
    await failed;
    await child.stop();
    expect([await child.done, child.restarts]).toEqual([1, 0]);
  });

  test("a child that has only just been started is told too", async () => {
    const child = supervise(() => bun("setInterval(() => {}, 1000)"));
    const started = child.start();
    await child.stop();
    await started;
    expect(await child.done).toBe("SIGTERM");
  });

  test("a child that does not end in time is killed, with what it started", async () => {
    const { heard, all } = heardOf(1);
    const child = supervise(
      () =>
        bun(`process.on("SIGTERM", () => {});
        const { pid } = Bun.spawn(["sleep", "1000"]);
        setInterval(() => {}, 1000);
        process.send(pid);`),
      { heard, stopMs: 50 },
    );
    await child.start();
    const [pid] = await all;
    await child.stop();
    expect(await child.done).toBe("SIGKILL");
    // It was killed as well, and is gone when the kernel has got round to it.
    while (isAlive(Number(pid))) await new Promise(setImmediate);
    expect(book.count(/does not stop; killing it/)).toBe(1);
  });

  test("a child that is frozen may take the time it has, and less once it has been told twice", async () => {
    const { heard, all } = heardOf(1);
    const child = supervise(
      () => bun(`process.on("SIGTERM", () => {}); setInterval(() => {}, 1000); process.send(process.pid);`),
      {
        heard,
        stopMs: 3_600_000,
        urgentStopMs: 50,
      },
    );
    await child.start();
    const [pid] = await all;
    process.kill(Number(pid), "SIGSTOP");
    child.requestStop();
    child.requestStop();
    await child.stop();
    expect(await child.done).toBe("SIGKILL");
  });
});

test("messages of the child arrive in order, and it has the given environment", async () => {
  const { heard, all } = heardOf(3);
  const child = supervise(
    () => bun(`process.send({ n: 1 }); process.send(process.env.GIVEN); process.send(null);`),
    { heard, env: { ...process.env, GIVEN: "a value" } },
  );
  await child.start();
  expect(await all).toEqual([{ n: 1 }, "a value", null]);
  await child.stop();
});

test("a child sees the end of its stdin when its supervisor is killed", async () => {
  const path = directory.path("alone");
  const module = new URL("../../src/host/supervised-process.ts", import.meta.url).pathname;
  const program = directory.path("supervisor.ts");
  writeFileSync(
    program,
    `import { createConsola } from ${JSON.stringify(require.resolve("consola"))};
    import { SupervisedProcess } from ${JSON.stringify(module)};
    await new SupervisedProcess({
      name: "child", env: process.env, log: createConsola(), firstPauseMs: 1,
      command: () => ["sh", "-c", "echo running; cat; echo alone > ${path}.new; mv ${path}.new ${path}; echo done"],
    }).start();`,
  );
  const supervisor = Bun.spawn([process.execPath, program], { stdout: "pipe", stderr: "inherit" });
  const reader = supervisor.stdout.getReader();
  await reader.read();
  supervisor.kill("SIGKILL");
  // The child has the same stdout, and ends it when it ends.
  while (!(await reader.read()).done);
  expect(readFileSync(path, "utf8")).toBe("alone\n");
});

/** Whether a process exists and is not only waiting to be collected. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}
