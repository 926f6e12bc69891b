import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { CdktrError, UsageError } from "../../src/errors.ts";
import {
  checkPrivate,
  createPrivate,
  makePrivateDirectory,
  removeLeftovers,
  shellWord,
  writePrivate,
} from "../../src/host/private-files.ts";
import { TemporaryDirectory } from "../support/temporary-directory.ts";

let directory: TemporaryDirectory;
let umask = 0;
beforeEach(() => {
  directory = new TemporaryDirectory();
  // The most permissive one: what is private is so by its own mode.
  umask = process.umask(0);
});
afterEach(() => {
  process.umask(umask);
  directory[Symbol.dispose]();
});

const modeOf = (path: string) => statSync(path).mode & 0o777;

/** What a function throws. */
function thrown(work: () => void): CdktrError {
  try {
    work();
  } catch (error) {
    if (error instanceof CdktrError) return error;
    throw error;
  }
  throw new Error("it did not throw");
}

describe("checking", () => {
  test("accepts what only its owner can use", () => {
    const path = directory.path("key");
    writeFileSync(path, "secret", { mode: 0o600 });
    checkPrivate(path);
    checkPrivate(directory.root);
  });

  test.each(["0640", "0604", "0610", "0601"])(
    "refuses a file of mode %s and shows the command that helps",
    (mode) => {
      const path = directory.path("a key");
      writeFileSync(path, "secret", { mode: Number.parseInt(mode, 8) });
      const error = thrown(() => checkPrivate(path));
      expect(error).toBeInstanceOf(UsageError);
      expect(error.message).toContain(`(${mode})`);
      expect(error.hint).toBe(`Run: chmod 600 '${path}'`);
      expect(Bun.spawnSync(["sh", "-c", error.hint?.replace("Run: ", "") ?? ""]).exitCode).toBe(0);
      checkPrivate(path);
    },
  );

  test("refuses an open directory", () => {
    chmodSync(directory.root, 0o750);
    expect(thrown(() => checkPrivate(directory.root)).hint).toBe(`Run: chmod 700 ${directory.root}`);
  });

  test("a path is quoted for the shell as it needs", () => {
    for (const path of ["/plain/path-1.key", "with space", "it's", "$HOME;`x`", "-", "ü"]) {
      const { stdout } = Bun.spawnSync(["sh", "-c", `printf %s ${shellWord(path)}`]);
      expect(stdout.toString()).toBe(path);
    }
  });
});

describe("directories", () => {
  test("are made private, with their parents, whatever the umask", () => {
    const path = directory.path("a", "b", "keys");
    makePrivateDirectory(path);
    expect(modeOf(path)).toBe(0o700);
    makePrivateDirectory(path);
  });

  test("an existing one with loose permissions is refused, not fixed", () => {
    const path = directory.path("keys");
    mkdirSync(path, { mode: 0o755 });
    expect(thrown(() => makePrivateDirectory(path))).toBeInstanceOf(UsageError);
    expect(modeOf(path)).toBe(0o755);
  });
});

describe("writing", () => {
  test("makes a private file and replaces one, also one that was open, and leaves nothing else", () => {
    const path = directory.path("key");
    writePrivate(path, "one");
    expect(modeOf(path)).toBe(0o600);
    chmodSync(path, 0o644);
    writePrivate(path, "two");
    expect([readFileSync(path, "utf8"), modeOf(path)]).toEqual(["two", 0o600]);
    expect(readdirSync(directory.root)).toEqual(["key"]);
  });

  test("creating leaves a file that is there as it was", () => {
    const path = directory.path("key");
    expect(createPrivate(path, "first")).toBe(true);
    expect(createPrivate(path, "second")).toBe(false);
    expect([readFileSync(path, "utf8"), modeOf(path)]).toEqual(["first", 0o600]);
    expect(readdirSync(directory.root)).toEqual(["key"]);
  });

  test.each([
    ["writePrivate", writePrivate],
    ["createPrivate", createPrivate],
  ])("%s into a directory that is not there says which file, and why", (_name, write) => {
    const path = directory.path("missing", "key");
    expect(thrown(() => write(path, "x")).message).toBe(`${path} cannot be written: ENOENT.`);
  });

  test("where a directory is in the way, what was begun is removed", () => {
    const path = directory.path("key");
    mkdirSync(path);
    expect(thrown(() => writePrivate(path, "x")).message).toContain("EISDIR");
    expect(createPrivate(path, "x")).toBe(false);
    expect(readdirSync(directory.root)).toEqual(["key"]);
  });

  test("if two processes create the same file at once, one wins", async () => {
    const path = directory.path("key");
    const create = (text: string) =>
      Bun.spawn([process.execPath, "-e", creating(path, text)], { stdout: "pipe", stderr: "inherit" });
    const children = ["a", "b", "c", "d"].map(create);
    const said = await Promise.all(children.map((child) => new Response(child.stdout).text()));
    const winners = said.filter((text) => text !== "lost");
    expect(winners).toHaveLength(1);
    expect(readFileSync(path, "utf8")).toBe(winners[0] ?? "");
  });

  test("a process that is killed while it writes leaves the old content or the new, whole", async () => {
    const path = directory.path("key");
    const texts = ["a", "b"].map((letter) => letter.repeat(300_000));
    writePrivate(path, texts[0] ?? "");
    for (let round = 0; round < 8; round++) {
      const child = Bun.spawn([process.execPath, "-e", writing(path)], { stdout: "pipe", stderr: "inherit" });
      // It has begun, and does nothing else from here on.
      await child.stdout.getReader().read();
      child.kill("SIGKILL");
      await child.exited;
      expect(texts).toContain(readFileSync(path, "utf8"));
      expect(modeOf(path)).toBe(0o600);
    }
  });

  test.if(process.getuid?.() === 0)("what root writes belongs to whom the directory belongs", () => {
    chownSync(directory.root, 4321, 4322);
    const owner = (path: string) => [statSync(path).uid, statSync(path).gid];
    writePrivate(directory.path("key"), "x");
    createPrivate(directory.path("other"), "x");
    makePrivateDirectory(directory.path("keys"));
    for (const name of ["key", "other", "keys"]) expect(owner(directory.path(name))).toEqual([4321, 4322]);
  });
});

test("leftovers of killed processes are removed, but no files that are being written, and nothing else", () => {
  const now = Date.now();
  const old = new Date(now - 3_600_000);
  const left = `.new-${crypto.randomUUID()}`;
  const current = `.new-${crypto.randomUUID()}`;
  for (const name of [left, current, "principal.key", ".new-key"]) {
    writeFileSync(directory.path(name), "x");
    if (name !== current) utimesSync(directory.path(name), old, old);
  }
  removeLeftovers(directory.root, now);
  expect(existsSync(directory.path(left))).toBe(false);
  expect(readdirSync(directory.root).sort()).toEqual([current, ".new-key", "principal.key"].sort());
});

const MODULE = JSON.stringify(new URL("../../src/host/private-files.ts", import.meta.url).pathname);

function creating(path: string, text: string): string {
  return `import { createPrivate } from ${MODULE};
    process.stdout.write(createPrivate(${JSON.stringify(path)}, "${text}") ? "${text}" : "lost");`;
}

function writing(path: string): string {
  return `import { writePrivate } from ${MODULE};
    process.stdout.write("writes");
    for (;;) for (const letter of ["a", "b"]) writePrivate(${JSON.stringify(path)}, letter.repeat(300000));`;
}
