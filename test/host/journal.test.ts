import { expect, test } from "bun:test";
import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";
import { TemporaryDirectory } from "../support/temporary-directory.ts";

const MODULE = JSON.stringify(new URL("../../src/host/journal.ts", import.meta.url).pathname);
const PROGRAM = `import { withPriority } from ${MODULE};
for (const priority of ["error", "warning", "info", "debug"]) process.stderr.write(withPriority(priority + "\\n  more", priority) + "\\n");`;
const PLAIN = "error\n  more\nwarning\n  more\ninfo\n  more\ndebug\n  more\n";

/** Returns what a process writes to its stderr, which is a file; `stream` gives JOURNAL_STREAM from the numbers of that file. */
async function written(stream: (dev: number, ino: number) => string | undefined): Promise<string> {
  using directory = new TemporaryDirectory();
  const path = directory.path("stderr");
  const descriptor = openSync(path, "w");
  try {
    const { dev, ino } = fstatSync(descriptor);
    const { JOURNAL_STREAM: _, ...env } = process.env;
    const value = stream(dev, ino);
    const child = Bun.spawn([process.execPath, "-e", PROGRAM], {
      env: value === undefined ? env : { ...env, JOURNAL_STREAM: value },
      stderr: descriptor,
    });
    expect(await child.exited).toBe(0);
  } finally {
    closeSync(descriptor);
  }
  return readFileSync(path, "utf8");
}

test("each line for the journal has its priority", async () => {
  expect(await written((dev, ino) => `${dev}:${ino}`)).toBe(
    "<3>error\n<3>  more\n<4>warning\n<4>  more\n<6>info\n<6>  more\n<7>debug\n<7>  more\n",
  );
});

test("without a journal lines stay as they are", async () => {
  expect(await written(() => undefined)).toBe(PLAIN);
});

test("an inherited variable for another stream has no effect", async () => {
  expect(await written((dev, ino) => `${dev}:${ino + 1}`)).toBe(PLAIN);
  expect(await written(() => "nonsense")).toBe(PLAIN);
});
