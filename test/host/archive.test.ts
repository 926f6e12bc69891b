import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { ArchiveError, type Packed, packing, type Source, unpacking } from "../../src/host/archive.ts";
import { matchingFiles } from "../../src/host/matching-files.ts";
import { packFiles } from "../../src/host/pack-files.ts";
import { TemporaryDirectory } from "../support/temporary-directory.ts";

let directory: TemporaryDirectory;
beforeEach(() => {
  directory = new TemporaryDirectory();
});
afterEach(() => directory[Symbol.dispose]());

function write(path: string, content: string | Uint8Array = path, mode = 0o644): string {
  const absolute = directory.path("in", path);
  mkdirSync(dirname(absolute), { recursive: true });
  writeFileSync(absolute, content);
  chmodSync(absolute, mode);
  return absolute;
}

function pack(
  sources: readonly Source[],
  to = directory.path(`archive-${crypto.randomUUID()}`),
): Packed & { to: string } {
  const steps = packing(sources, to);
  for (;;) {
    const step = steps.next();
    if (step.done === true) return { ...step.value, to };
  }
}

function unpack(archive: string): string {
  const into = directory.path(`out-${crypto.randomUUID()}`);
  mkdirSync(into);
  for (const _ of unpacking(archive, into));
  return into;
}

const treeOf = (root: string) =>
  Object.fromEntries(
    readdirSync(root, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => [path.slice(root.length + 1), readFileSync(path, "utf8")]),
  );

describe("an archive", () => {
  const NAMES = [
    "a",
    "b/c/d.txt",
    `${"long-".repeat(30)}name`,
    "späte Äste/日本.sql",
    "-rf",
    "$(x) `y` 'z'\n\"q\"",
    "%41",
  ];

  test("brings back files with their names, contents and whether they can be executed", () => {
    const sources = NAMES.map((path) => ({ path, from: write(path) }));
    sources.push({ path: "tool", from: write("tool", "#!/bin/sh\n", 0o755) });
    sources.push({ path: "empty", from: write("empty", "") });
    const into = unpack(pack(sources).to);
    expect(treeOf(into)).toEqual({
      ...Object.fromEntries(NAMES.map((name) => [name, name])),
      tool: "#!/bin/sh\n",
      empty: "",
    });
    expect(statSync(join(into, "tool")).mode & 0o111).not.toBe(0);
    expect(statSync(join(into, "a")).mode & 0o111).toBe(0);
  });

  test("says where the content of each file is", () => {
    const { to, files, bytes, hash } = pack(NAMES.map((path) => ({ path, from: write(path) })));
    const archive = readFileSync(to);
    expect(archive).toHaveLength(bytes);
    expect(new Bun.CryptoHasher("sha256").update(archive).digest("hex")).toBe(hash);
    for (const file of files)
      expect(archive.toString("utf8", file.offset, file.offset + file.bytes)).toBe(file.path);
  });

  test("is the same for the same files, whatever their order, times and owners", () => {
    const sources = NAMES.map((path) => ({ path, from: write(path) }));
    const { hash } = pack(sources);
    for (const { from } of sources) utimesSync(from, 1000, 1000);
    expect(pack(sources.toReversed()).hash).toBe(hash);
    write("a", "changed");
    expect(pack(sources).hash).not.toBe(hash);
  });

  test("can be read by tar", async () => {
    const { to } = pack(NAMES.map((path) => ({ path, from: write(path) })));
    const into = directory.path("by-tar");
    mkdirSync(into);
    expect(await Bun.spawn(["tar", "-xf", to, "-C", into], { stderr: "inherit" }).exited).toBe(0);
    expect(treeOf(into)).toEqual(Object.fromEntries(NAMES.map((name) => [name, name])));
  });

  test.each(["../x", "/x", "a/../../x", "a//b", ""])("never writes elsewhere: %p", (path) => {
    const { to } = pack([{ path: "safe", from: write("safe") }]);
    const archive = readFileSync(to);
    archive.fill(0, 0, 100);
    archive.write(path);
    // With a checksum that is right.
    archive.write("        ", 148);
    const sum = archive.subarray(0, 512).reduce((total, byte) => total + byte, 0);
    archive.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
    writeFileSync(to, archive);
    expect(() => unpack(to)).toThrow(ArchiveError);
  });

  test("that is cut short, or is none, is refused", () => {
    const { to, bytes } = pack([{ path: "a", from: write("a", "x".repeat(5000)) }]);
    for (const length of [bytes - 1024, 3000, 100, 0]) {
      truncateSync(to, length);
      expect(() => unpack(to)).toThrow("the archive is damaged");
    }
    writeFileSync(to, "no archive ".repeat(100));
    expect(() => unpack(to)).toThrow("the archive is damaged: a header is not valid");
  });

  test("is not made of what is no file, and leaves nothing then", () => {
    symlinkSync("/etc/passwd", directory.path("link"));
    const to = directory.path("archive");
    expect(() => pack([{ path: "link", from: directory.path("link") }], to)).toThrow();
    expect(() => pack([{ path: "dir", from: directory.root }], to)).toThrow('"dir" is not a regular file');
    expect(readdirSync(directory.root)).toEqual(["link"]);
  });
});

describe("the files that globs name", () => {
  const find = (globs: string[], options = {}) =>
    matchingFiles(directory.path("in"), globs, options).sources.map(({ path }) => path);

  beforeEach(() => {
    for (const path of [
      "x.sh",
      "sql/a.sql",
      "sql/b.sql",
      "sql/old/c.sql",
      "py/m/__init__.py",
      "py/m/n.py",
      ".hidden",
      "sql/.git/config",
    ])
      write(path);
  });

  test.each([
    [["x.sh"], ["x.sh"]],
    [["*.sh", "x.sh"], ["x.sh"]],
    [["sql/*.sql"], ["sql/a.sql", "sql/b.sql"]],
    [["sql/**"], ["sql/a.sql", "sql/b.sql", "sql/old/c.sql"]],
    [["sql"], ["sql/a.sql", "sql/b.sql", "sql/old/c.sql"]],
    [["**/*.py"], ["py/m/__init__.py", "py/m/n.py"]],
    [["**/c.sql"], ["sql/old/c.sql"]],
    [["./sql/?.sql"], ["sql/a.sql", "sql/b.sql"]],
    [["{py,sql}/**/n.py", "sql/[ab].sql"], null],
    [[".hidden"], [".hidden"]],
    [["sql/.git/*"], ["sql/.git/config"]],
  ])("%p", (globs, paths) => {
    if (paths === null) expect(() => find(globs)).not.toThrow();
    else expect(find(globs)).toEqual(paths);
  });

  test("hidden ones count when they are asked for", () => {
    expect(find(["**"])).not.toContain(".hidden");
    expect(find(["**"], { hidden: true })).toContain("sql/.git/config");
  });

  test("a link is what it leads to, as long as that is inside; circles end", () => {
    symlinkSync("sql/a.sql", directory.path("in/link.sql"));
    symlinkSync("../sql", directory.path("in/py/queries"));
    symlinkSync("..", directory.path("in/sql/up"));
    expect(find(["link.sql"])).toEqual(["link.sql"]);
    expect(find(["py/queries/*.sql"])).toEqual(["py/queries/a.sql", "py/queries/b.sql"]);
    expect(find(["sql/**"]).length).toBeGreaterThan(3);
    const into = unpack(pack(matchingFiles(directory.path("in"), ["link.sql"]).sources).to);
    expect(treeOf(into)).toEqual({ "link.sql": "sql/a.sql" });
  });

  test("what is outside is not accessed if it must not be, wherever links lead", () => {
    const stays = (glob: string, from = "in") =>
      matchingFiles(directory.path(from), [glob], { stays: true }).sources.map(({ path }) => path);
    symlinkSync("/does/not/exist", directory.path("in/far"));
    symlinkSync("far", directory.path("in/chain"));
    symlinkSync("loop", directory.path("in/loop"));
    symlinkSync("missing", directory.path("in/broken"));
    symlinkSync("../in/./sql/../sql/a.sql", directory.path("in/round"));
    symlinkSync("in", directory.path("alias"));
    symlinkSync(directory.path("alias/sql/a.sql"), directory.path("in/named"));
    symlinkSync("..", directory.path("in/up"));
    for (const out of ["far", "chain"])
      expect(() => stays(out)).toThrow(`"${out}" is a link that leads out of the directory`);
    for (const nowhere of ["loop", "broken"])
      expect(() => stays(nowhere)).toThrow(`"${nowhere}" is a link that leads nowhere`);
    expect(() => stays("up")).toThrow("leads out of the directory");
    expect(stays("round")).toEqual(["round"]);
    expect(stays("named", "alias")).toEqual(["named"]);
  });

  test.each([
    ["*.none", () => {}, 'no file matches "*.none"'],
    [
      "out",
      () => symlinkSync("/etc/passwd", directory.path("in/out")),
      '"out" is a link that leads out of the directory',
    ],
    ["up/*", () => symlinkSync("..", directory.path("in/up")), 'no file matches "up/*"'],
    [
      "broken",
      () => symlinkSync("nothing", directory.path("in/broken")),
      '"broken" is a link that leads nowhere',
    ],
    ["pipe", () => void Bun.spawnSync(["mkfifo", directory.path("in/pipe")]), '"pipe" is a pipe, not a file'],
  ])("%p is refused", (glob, prepare, message) => {
    prepare();
    expect(() => find([glob])).toThrow(message);
  });

  test("too much is refused, and what has not changed is not read again", () => {
    const request = { directory: directory.path("in"), globs: ["sql"], maxBytes: 1000, signature: null };
    const to = directory.path("a");
    const { signature, packed } = packFiles({ ...request, to }, () => {});
    expect(packed?.files.map(({ path }) => path)).toEqual(["sql/a.sql", "sql/b.sql", "sql/old/c.sql"]);
    expect(packFiles({ ...request, signature, to: directory.path("b") }, () => {})).toEqual({
      signature,
      packed: null,
    });
    write("sql/a.sql", "select 2");
    expect(packFiles({ ...request, signature, to: directory.path("c") }, () => {}).packed?.hash).not.toBe(
      packed?.hash,
    );
    write("sql/big.sql", "x".repeat(2_000_000));
    const refused = () => packFiles({ ...request, maxBytes: 1024 * 1024, to: directory.path("d") }, () => {});
    expect(refused).toThrow("they have 2 MiB; at most 1 MiB");
  });
});
