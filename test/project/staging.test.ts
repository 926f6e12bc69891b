import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { recover, Staging } from "../../src/project/staging.ts";

const FILES = [".data/secret", "a.txt", "b.txt", "deep/down/c.txt", "kept/d.txt"];

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "cdktr-staging-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function run(target: string, killAt: number): { killed: boolean; steps: number } {
  const { signalCode, stdout, stderr } = Bun.spawnSync([
    process.execPath,
    join(import.meta.dir, "staging-child.ts"),
    target,
    String(killAt),
  ]);
  if (signalCode === undefined && stdout.length === 0) throw new Error(stderr.toString());
  return { killed: signalCode === "SIGKILL", steps: Number(stdout.toString()) };
}

function filesIn(directory: string): string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((name) => statSync(join(directory, name)).isFile())
    .sort();
}

function expectWhole(target: string, further: string[] = []): void {
  expect(filesIn(target)).toEqual([...FILES, ...further].sort());
  for (const name of FILES) expect(readFileSync(join(target, name), "utf8")).toBe(`new ${name}`);
  expect(statSync(join(target, ".data")).mode & 0o777).toBe(0o700);
  expect(statSync(join(target, ".data/secret")).mode & 0o777).toBe(0o600);
  expect(statSync(join(target, "a.txt")).mode & 0o777).toBe(0o644);
}

describe("killed before each step", () => {
  test("a new directory with its parents: it is missing or complete", () => {
    const { steps } = run(join(root, "whole/project"), 0);
    expect(steps).toBeGreaterThan(6);
    expectWhole(join(root, "whole/project"));
    rmSync(join(root, "whole"), { recursive: true });
    for (let step = 1; step <= steps; step++) {
      const target = join(root, "parent/project");
      expect(run(target, step).killed).toBe(true);
      expect(existsSync(join(root, "parent"))).toBe(false);
      expect(recover(target)).toBe(false);
      // Nothing stays behind.
      expect(readdirSync(root)).toEqual([]);
    }
  });

  test("an existing directory: nothing has changed, or the next run completes it", () => {
    const prepare = () => {
      const target = join(root, "project");
      rmSync(target, { recursive: true, force: true });
      mkdirSync(join(target, "kept"), { recursive: true });
      writeFileSync(join(target, "kept/mine"), "mine");
      writeFileSync(join(target, "b.txt"), "old");
      return target;
    };
    const target = prepare();
    const { steps } = run(target, 0);
    expectWhole(target, ["kept/mine"]);
    const outcomes = new Set<string>();
    for (let step = 1; step <= steps; step++) {
      prepare();
      expect(run(target, step).killed).toBe(true);
      const completed = recover(target);
      outcomes.add(String(completed));
      if (completed) expectWhole(target, ["kept/mine"]);
      else {
        expect(filesIn(target)).toEqual(["b.txt", "kept/mine"]);
        expect(readFileSync(join(target, "b.txt"), "utf8")).toBe("old");
      }
      expect(readFileSync(join(target, "kept/mine"), "utf8")).toBe("mine");
      expect(readdirSync(target).filter((name) => name.startsWith(".cdktr-init"))).toEqual([]);
      expect(recover(target)).toBe(false);
    }
    expect(outcomes).toEqual(new Set(["true", "false"]));
  });
});

test("files written after the interruption are not overwritten by its completion", async () => {
  const target = join(root, "project");
  mkdirSync(target);
  const { steps } = run(target, 0);
  let step = steps;
  // Back to the first step after the point of no return.
  for (; step > 1; step--) {
    rmSync(target, { recursive: true });
    mkdirSync(target);
    run(target, step);
    if (
      !existsSync(join(target, "a.txt")) &&
      readdirSync(target).some((name) => existsSync(join(target, name, "commit")))
    )
      break;
  }
  writeFileSync(join(target, "a.txt"), "by hand");
  // What is written at nearly the same time may get the same time.
  const later = new Date(Date.now() + 1000);
  utimesSync(join(target, "a.txt"), later, later);
  expect(recover(target)).toBe(true);
  expect(readFileSync(join(target, "a.txt"), "utf8")).toBe("by hand");
  expect(filesIn(target)).toEqual(FILES);
});

test("two at once: the directory of one that still writes is left to it", () => {
  const target = join(root, "project");
  mkdirSync(target);
  const child = Bun.spawnSync([
    process.execPath,
    "-e",
    `import { Staging } from ${JSON.stringify(join(import.meta.dir, "../../src/project/staging.ts"))};
     const staging = Staging.open(${JSON.stringify(target)});
     staging.write("a.txt", "a", 0o644);
     const other = Bun.spawnSync([process.execPath, ${JSON.stringify(join(import.meta.dir, "staging-child.ts"))}, ${JSON.stringify(target)}, "0"]);
     console.log(other.stderr.toString());
     staging.commit();`,
  ]);
  expect(child.stdout.toString()).toMatch(/Another 'cdktr init' \(process \d+\) is writing/);
  expect(filesIn(target)).toEqual(["a.txt"]);
});

test("a directory that appears meanwhile is not touched", () => {
  const target = join(root, "project");
  const staging = Staging.open(target);
  staging.write("a.txt", "a", 0o644);
  mkdirSync(target);
  expect(() => staging.commit()).toThrow(/was created in the meantime/);
  staging.discard();
  expect(readdirSync(root)).toEqual(["project"]);
  expect(readdirSync(target)).toEqual([]);
});

test("files that cannot be moved into place are reported, and moved when possible", () => {
  const target = join(root, "project");
  mkdirSync(target);
  const staging = Staging.open(target);
  staging.write("a.txt", "a", 0o644);
  staging.write("in/b.txt", "b", 0o644);
  // A file where a directory is to be.
  writeFileSync(join(target, "in"), "");
  expect(() => staging.commit()).toThrow(/Not all files have been moved into place: .*in/);
  staging.discard();
  rmSync(join(target, "in"));
  expect(recover(target)).toBe(true);
  expect(filesIn(target)).toEqual(["a.txt", "in/b.txt"]);
});

test("given up: nothing stays", () => {
  const staging = Staging.open(join(root, "a/b/c"));
  staging.write("x", "x", 0o644);
  staging.discard();
  expect(readdirSync(root)).toEqual([]);
  expect(() => Staging.open(join(root, "file/x"))).not.toThrow();
  rmSync(root, { recursive: true });
  mkdirSync(root);
  writeFileSync(join(root, "file"), "");
  expect(() => Staging.open(join(root, "file/x"))).toThrow(/is not a directory/);
});
