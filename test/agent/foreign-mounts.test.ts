import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, mkdirSync, realpathSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ForeignMounts } from "../../src/agent/foreign-mounts.ts";
import { TaskPaths } from "../../src/agent/task-paths.ts";
import { FileHelper } from "../../src/host/file-helper/file-helper.ts";
import { log } from "../../src/log.ts";
import { TemporaryDirectory } from "../support/temporary-directory.ts";
import { Bench, subprocess } from "./support/bench.ts";

const directory = new TemporaryDirectory();
const root = realpathSync(directory.path());
const at = (...path: string[]) => join(root, ...path);
// Looking at it would not block: it stands for a mount that does.
const mountinfo = (type: string) =>
  [
    "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw",
    `40 27 0:40 / ${at("a\\040share")} rw shared:5 master:1 - ${type} server:/x rw`,
    `41 27 0:41 / ${at("local")} rw - tmpfs none rw`,
  ].join("\n");
const mounts = (type = "nfs4", trusted = ["/"]) => new ForeignMounts(trusted, () => mountinfo(type));
const among = (mounts: ForeignMounts, paths: string[], cwd = "/", searchPath = "", passesDisks = false) =>
  mounts.among({ paths, cwd, searchPath }, passesDisks);
const pointAmong = (...query: Parameters<typeof among>) => among(...query)?.point;

beforeAll(() => {
  for (const name of ["a share/bin", "local", "bin", "deep/er"]) mkdirSync(at(name), { recursive: true });
  symlinkSync("../a share", at("deep/link"));
  symlinkSync("link/bin", at("deep/er2"));
  symlinkSync(at("loop2"), at("loop1"));
  symlinkSync(at("loop1"), at("loop2"));
  for (const [name, text] of [
    ["bin/tool", "#!/bin/sh\n"],
    ["a share/bin/tool", `#!/bin/sh\necho "in $PWD with $1 of $CDKTR_TASK_ID"\n`],
    ["bin/script", `#!${at("deep/er2/tool")} -x\n`],
  ] as const) {
    writeFileSync(at(name), text);
    chmodSync(at(name), 0o755);
  }
});
afterAll(() => directory[Symbol.dispose]());

test("a path that leads onto a foreign mount, also through links and dots", () => {
  const share = at("a share");
  for (const path of [at("a share"), at("a share/x/y"), at("deep/link/x"), at("deep/er2")])
    expect([path, pointAmong(mounts(), [path])]).toEqual([path, share]);
  for (const path of [at("local/x"), at("loop1/x"), at("a share2"), "/"])
    expect([path, pointAmong(mounts(), [path])]).toEqual([path, undefined]);
  expect(pointAmong(mounts(), ["./a share/x"], root)).toBe(share);
});

test("a name that is looked up on a foreign mount, and a script whose interpreter is there", () => {
  const share = at("a share");
  expect(pointAmong(mounts(), ["tool"], "/", `${at("bin")}:${at("a share/bin")}`)).toBeUndefined();
  expect(pointAmong(mounts(), ["tool"], "/", `${at("a share/bin")}:${at("bin")}`)).toBe(share);
  expect(pointAmong(mounts(), ["other"], "/", `${at("bin")}:${at("a share/bin")}`)).toBe(share);
  expect(pointAmong(mounts(), ["script"], "/", at("bin"))).toBe(share);
});

test("mounts in memory, and those without which the agent cannot work, are not foreign; a disk is, but not remote", () => {
  const path = [at("a share/x")];
  for (const type of ["tmpfs", "proc", "ramfs"]) expect(among(mounts(type), path)).toBeUndefined();
  for (const type of ["ext4", "xfs", "overlay"]) {
    expect(among(mounts(type), path)).toEqual({ point: at("a share"), isRemote: false });
    expect(among(mounts(type), path, "/", "", true)).toBeUndefined();
  }
  for (const type of ["nfs", "cifs", "fuse.sshfs", "9p", "autofs", "new one"])
    for (const passes of [false, true])
      expect(among(mounts(type), path, "/", "", passes)).toEqual({ point: at("a share"), isRemote: true });
  expect(pointAmong(mounts("nfs", [at("a share/bin")]), path)).toBeUndefined();
});

test("a task on a foreign mount runs as any other, and says why when it cannot", async () => {
  const foreignMounts = mounts();
  using bench = new Bench({ directory: root, foreignMounts, environment: { PATH: "/usr/bin:/bin" } });
  const outcome = await bench.run({
    good: { run: ["bin/tool", "an argument with 'quotes'"], cwd: "a share" },
    signals: { run: "grep -E 'Sig(Blk|Ign)' /proc/self/status", cwd: "a share" },
    fails: { run: "exit 3", cwd: "a share" },
    "no-directory": { run: "true", cwd: "a share/nowhere" },
    "no-program": { run: ["no-such-program"], cwd: "a share" },
    directory: { config: subprocess([at("bin")], at("a share")) },
  });
  expect(outcome.log("good")).toEqual([`INFO in ${at("a share")} with an argument with 'quotes' of good`]);
  expect(outcome.log("signals")).toEqual([
    "INFO SigBlk:\t0000000000000000",
    "INFO SigIgn:\t0000000000000000",
  ]);
  expect(outcome.last("fails")).toMatchObject({ status: "FAILED", exit_code: 3 });
  expect(outcome.log("no-directory").join()).toContain(`${at("a share/nowhere")} does not exist`);
  expect(outcome.last("no-program")).toMatchObject({ status: "FAILED", exit_code: 127 });
  expect(outcome.log("no-program").join()).toContain('"no-such-program" was not found');
  expect(outcome.log("directory").join()).toContain("is a directory");
});

test("the agent's log says that no helper can be started", () => {
  const helper = new FileHelper(["/nonexistent"]);
  const paths = new TaskPaths(new ForeignMounts(["/"]), helper);
  const said: unknown[] = [];
  const reporter = { log: ({ args }: { args: unknown[] }) => void said.push(...args) };
  log.addReporter(reporter);
  try {
    void helper.ask("touch", { places: [] });
    expect(said).toEqual([expect.stringMatching(/^No child process can be started to access files/)]);
  } finally {
    log.removeReporter(reporter);
    paths.close();
  }
});

test("secrets on a foreign mount are read by other processes than the agent: a file, a command, and for a task that is there itself", async () => {
  const helper = new FileHelper();
  const asked: string[] = [];
  const ask = helper.ask.bind(helper);
  helper.ask = ((verb: "read", request: { paths: string[] }) => {
    asked.push(`${verb} ${request.paths}`);
    return ask(verb, { ...request, maxBytes: 1000 });
  }) as typeof helper.ask;
  writeFileSync(at("a share/password"), "hunter2-file\n");
  writeFileSync(at("a share/bin/vault"), "#!/bin/sh\necho hunter2-command\n");
  chmodSync(at("a share/bin/vault"), 0o755);
  using bench = new Bench({
    directory: root,
    paths: new TaskPaths(mounts(), helper),
    environment: { PATH: "/usr/bin:/bin" },
  });
  const outcome = await bench.run(
    {
      t: {
        run: `printf "%s" "$FILE" | wc -c; printf "%s" "$COMMAND" | wc -c; echo "$FILE $COMMAND"`,
        cwd: "a share",
        secrets: { FILE: "FILE", COMMAND: "COMMAND" },
      },
      missing: { run: "true", secrets: { NONE: "NONE" } },
    },
    {
      secrets: {
        FILE: { file: "a share/password" },
        COMMAND: { command: [at("a share/bin/vault")] },
        NONE: { file: "a share/none" },
      },
    },
  );
  expect(outcome.log("t").map((line) => line.replace(/ +/g, " "))).toEqual([
    "INFO 12",
    "INFO 15",
    "INFO *** ***",
  ]);
  expect(outcome.last("missing").error).toBe(
    `Cannot start: the secret NONE cannot be read from ${at("a share/none")}: there is no such file.`,
  );
  expect(asked.sort()).toEqual([`read ${at("a share/none")}`, `read ${at("a share/password")}`]);
});
