/** The file helper where its child process cannot be started: under an emulator, or with the executable gone. */
import { afterAll, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/clock.ts";
import { FileHelper } from "../../src/host/file-helper/file-helper.ts";
import { TemporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";

const temporary = new TemporaryDirectory();
const directory = temporary.root;
afterAll(() => temporary[Symbol.dispose]());
const file = join(directory, "a.yml");
writeFileSync(file, "text");
const foreign = join(directory, "program-of-another-machine");
writeFileSync(foreign, Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 0, 0, 0, 0));
chmodSync(foreign, 0o755);

for (const [what, command] of [
  ["is missing", [join(directory, "missing")]],
  ["is for another kind of machine", [foreign]],
  ["exits at once", ["/bin/false"]],
] as const) {
  test(`a helper program that ${what}: files are read all the same, and a warning says what that means`, async () => {
    const helper = new FileHelper(command);
    const warnings: string[] = [];
    helper.signals.on("warning", (text) => warnings.push(text));
    try {
      const replies = await Promise.all([
        helper.ask("read", { paths: [file], maxBytes: 100 }),
        helper.ask("read", { paths: [join(directory, "none")], maxBytes: 100 }),
      ]);
      expect(replies).toMatchObject([
        [{ kind: "file", base64: Buffer.from("text").toString("base64") }],
        [{ kind: "failed", code: "ENOENT" }],
      ]);
      expect(warnings).toHaveLength(1);
      expect(warnings[0]).toMatch(/^No child process can be started to access files \(.+\): a mount/);
      const changed = new Promise((resolve) => helper.signals.on("changed", resolve));
      await helper.ask("tree", { key: "t", root: directory, endings: [".yml"], skip: [] });
      writeFileSync(join(directory, "b.yml"), "new");
      expect(await changed).toBe("t");
    } finally {
      helper.close();
    }
  });
}

test("a helper program that was prepared is there before the first request, which it handles", async () => {
  const starts = join(directory, "prepared");
  const main = join(import.meta.dir, "../../src/host/file-helper/main.ts");
  const helper = new FileHelper([
    "sh",
    "-c",
    `echo >> ${starts}; exec ${process.execPath} --no-env-file ${main}`,
  ]);
  try {
    helper.prepare();
    await until("it has started", () => existsSync(starts));
    helper.prepare();
    const [found] = await helper.ask("read", { paths: [file], maxBytes: 100 });
    expect(found).toMatchObject({ kind: "file" });
    expect(readFileSync(starts, "utf8")).toBe("\n");
  } finally {
    helper.close();
  }
  // One that cannot be started is the affair of the first request.
  const missing = new FileHelper([join(directory, "missing")]);
  missing.prepare();
  expect(await missing.ask("read", { paths: [file], maxBytes: 100 })).toMatchObject([{ kind: "file" }]);
  missing.close();
});

test("a helper program that works again takes over: no file is accessed in this process any more", async () => {
  const works = join(directory, "works");
  const program = join(directory, "program");
  const starts = join(directory, "starts");
  const main = join(import.meta.dir, "../../src/host/file-helper/main.ts");
  const script = [
    "#!/bin/sh",
    `echo >> ${starts}`,
    `[ -e ${works} ] && exec ${process.execPath} --no-env-file ${main}`,
    "exit 1",
  ];
  writeFileSync(program, `${script.join("\n")}\n`, { mode: 0o755 });
  const waits: number[] = [];
  const helper = new FileHelper([program], {
    ...systemClock,
    after(ms, ring) {
      waits.push(ms);
      return systemClock.after(ms === 60_000 ? 50 : ms, ring);
    },
  });
  const warnings: string[] = [];
  helper.signals.on("warning", (text) => warnings.push(text));
  try {
    await helper.ask("tree", { key: "t", root: directory, endings: [".yml"], skip: [] });
    expect(warnings).toHaveLength(1);
    expect(waits.slice(0, 3)).toEqual([100, 400, 60_000]);
    // Trials that fail neither disturb nor warn.
    const started = () => readFileSync(starts, "utf8").length;
    await until("a child was tried in vain", () => started() > 4);
    expect(warnings).toHaveLength(1);
    const restarted = helper.signals.next("restarted");
    writeFileSync(works, "");
    await restarted;
    expect(warnings.slice(1)).toEqual([expect.stringMatching(/^A child process accesses files again/)]);
    const children = started();
    await helper.ask("touch", { places: [[file]] });
    const changed = helper.signals.next("changed");
    await helper.ask("tree", { key: "t", root: directory, endings: [".yml"], skip: [] });
    writeFileSync(join(directory, "c.yml"), "new");
    expect(await changed).toBe("t");
    expect(started()).toBe(children);
  } finally {
    helper.close();
  }
});

test("a tree that has not changed is not listed again, and of one that has, what has changed", async () => {
  const tree = join(directory, "tree");
  mkdirSync(tree);
  const file = join(tree, "a.yml");
  writeFileSync(file, "a");
  writeFileSync(join(tree, "b.yml"), "b");
  const helper = new FileHelper();
  const list = (known?: string) =>
    helper.ask("tree", { key: "t", root: tree, endings: [".yml"], skip: [], known });
  try {
    const first = await list();
    expect(first.files.map(([path]) => path)).toEqual(["a.yml", "b.yml"]);
    expect(first.base).toBeUndefined();
    expect(await list(first.hash)).toEqual({ hash: first.hash, files: [], unreadable: [], devices: [] });
    writeFileSync(file, "another");
    const second = await list(first.hash);
    expect(second.hash).not.toBe(first.hash);
    expect(second).toMatchObject({ base: first.hash, files: [["a.yml", expect.any(String)]], gone: [] });
    rmSync(file);
    writeFileSync(join(tree, "c.yml"), "c");
    const third = await list(second.hash);
    expect(third).toMatchObject({
      base: second.hash,
      files: [["c.yml", expect.any(String)]],
      gone: ["a.yml"],
    });
    // Whoever knows another listing than the last one gets all of it.
    const whole = await list(second.hash);
    expect(whole.base).toBeUndefined();
    expect(whole).toMatchObject({ hash: third.hash, files: [["b.yml", expect.any(String)], third.files[0]] });
  } finally {
    helper.close();
  }
});
