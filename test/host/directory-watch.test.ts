import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { DirectoryWatch } from "../../src/host/directory-watch.ts";
import { LogBook } from "../principal/support.ts";
import { TemporaryDirectory } from "../support/temporary-directory.ts";

let directory: TemporaryDirectory;
let root = "";
const watches: DirectoryWatch[] = [];

beforeEach(() => {
  directory = new TemporaryDirectory();
  root = directory.path("watched");
});
afterEach(() => {
  for (const watch of watches.splice(0)) watch.close();
  directory[Symbol.dispose]();
});

/** A watch of `root` that counts what it tells, and lets a test wait for it. */
class Witness {
  readonly watch: DirectoryWatch;
  readonly book = new LogBook();
  /** Relevant events as they came. */
  readonly seen: string[] = [];
  changes = 0;
  #wake: () => void = () => {};

  constructor(relevant: (path: string | null) => boolean = () => true, recursive = true) {
    this.watch = new DirectoryWatch({
      root,
      relevant: (_event, path) => {
        if (!relevant(path)) return false;
        this.seen.push(path ?? "");
        return true;
      },
      changed: () => {
        this.changes++;
        this.#wake();
      },
      log: this.book.log,
      recursive,
    });
    watches.push(this.watch);
    this.watch.refresh();
  }

  /** Resolves when something holds; that is looked at after each change. */
  async until(holds: () => boolean): Promise<void> {
    while (!holds()) {
      await new Promise<void>((wake) => {
        this.#wake = wake;
      });
    }
  }
}

test("tells of files that come, change and go, at any depth", async () => {
  mkdirSync(`${root}/sub`, { recursive: true });
  const witness = new Witness();
  expect(witness.watch.hasEvents).toBe(true);
  writeFileSync(`${root}/a`, "1");
  await witness.until(() => witness.seen.includes("a"));
  writeFileSync(`${root}/sub/b`, "1");
  await witness.until(() => witness.seen.includes("sub/b"));
  const before = witness.seen.length;
  rmSync(`${root}/a`);
  await witness.until(() => witness.seen.slice(before).includes("a"));
});

test("simultaneous events are reported together", async () => {
  mkdirSync(root);
  const witness = new Witness();
  for (let i = 0; i < 50; i++) writeFileSync(`${root}/file-${i}`, "x");
  await witness.until(() => witness.seen.includes("file-49"));
  // Fifty would be one each; a machine that is busy may pause in between.
  expect(witness.changes).toBeLessThan(10);
});

test("continuous changes are reported too", async () => {
  mkdirSync(root);
  const witness = new Witness();
  // Closer together than events have to be to count as one.
  const writing = setInterval(() => writeFileSync(`${root}/busy`, "x"), 5);
  await witness.until(() => witness.changes >= 2);
  clearInterval(writing);
  expect(new Set(witness.seen)).toEqual(new Set(["busy"]));
});

test("irrelevant changes, and those below other directories, are not reported", async () => {
  mkdirSync(`${root}/sub`, { recursive: true });
  const flat = new Witness((path) => path !== "ignored", false);
  const deep = new Witness();
  writeFileSync(`${root}/ignored`, "x");
  writeFileSync(`${root}/sub/below`, "x");
  await deep.until(() => deep.seen.includes("ignored") && deep.seen.includes("sub/below"));
  writeFileSync(`${root}/wanted`, "x");
  await flat.until(() => flat.seen.includes("wanted"));
  expect(new Set(flat.seen)).toEqual(new Set(["wanted"]));
});

test("a directory that is created later is watched from then on, and so is its replacement", async () => {
  const witness = new Witness();
  const { watch } = witness;
  const before = watch.generation;
  expect(watch.hasEvents).toBe(false);
  mkdirSync(root);
  await witness.until(() => watch.hasEvents);
  const first = watch.generation;
  expect(first).toBeGreaterThan(before);

  renameSync(root, directory.path("away"));
  await witness.until(() => !watch.hasEvents);
  mkdirSync(directory.path("new"));
  writeFileSync(directory.path("new", "was there before"), "x");
  renameSync(directory.path("new"), root);
  await witness.until(() => watch.hasEvents);
  const second = watch.generation;
  expect(second).toBeGreaterThan(first);

  writeFileSync(directory.path("away", "nobody looks here"), "x");
  writeFileSync(`${root}/later`, "x");
  await witness.until(() => witness.seen.includes("later"));
  expect(witness.seen).not.toContain("nobody looks here");
  // Nothing has changed: it is the same directory.
  watch.refresh();
  expect(watch.generation).toBe(second);
});

test("a closed one reports nothing and does not watch again", async () => {
  mkdirSync(root);
  // The event has come, and waits for others.
  const closed = new Witness(() => {
    queueMicrotask(() => {
      closed.watch.close();
      closed.watch.refresh();
    });
    return true;
  });
  const witness = new Witness();
  writeFileSync(`${root}/a`, "x");
  await witness.until(() => witness.seen.includes("a"));
  writeFileSync(`${root}/b`, "x");
  await witness.until(() => witness.seen.includes("b"));
  expect(closed.changes).toBe(0);
  expect(closed.seen).not.toContain("b");
});
