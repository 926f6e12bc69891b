/** Error messages name known causes outside cdktr; each suggested remedy is executed. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, cpSync, mkdirSync } from "node:fs";
import type { Finding } from "../../src/doctor/finding.ts";
import { Cluster, cdktr, freePorts } from "../support/cdktr.ts";
import { PrivateMounts } from "./failures/support.ts";
import { BINARY, COMPILED, shellWorkflow, TemporaryDirectory } from "./support/fixtures.ts";

const UID = "54321";
/** A container's user id: no entry in /etc/passwd, no HOME. */
const NOBODY = ["setpriv", "--reuid", UID, "--regid", UID, "--clear-groups", "env", "-u", "HOME"];
const NO_DEFECT = /internal|bug in cdktr/;

let cluster: Cluster;
let directory: TemporaryDirectory;
beforeAll(async () => {
  directory = new TemporaryDirectory();
  chmodSync(directory.path("."), 0o755);
  cluster = new Cluster({ workflows: { "x.yml": shellWorkflow({ a: { sh: "true" } }) } }, await freePorts(3));
  // Another user than the principal's asks here.
  await cluster.startPrincipal(["--insecure"]);
});
afterAll(async () => {
  await cluster.stop();
  directory[Symbol.dispose]();
});

test.if(COMPILED)(
  "a user id without a home: what needs none works, the rest says what to set, and that helps",
  async () => {
    const program = directory.path("cdktr");
    cpSync(BINARY, program);
    chmodSync(program, 0o755);
    const own = directory.path("own");
    mkdirSync(own, { mode: 0o777 });
    chmodSync(own, 0o777);
    const file = directory.path("x.yml");
    await Bun.write(file, shellWorkflow({ a: { sh: "true" } }));
    const options = { program, prefix: NOBODY, cwd: own, env: { CDKTR_CACHE_DIRECTORY: undefined } };
    for (const args of [
      ["--help"],
      ["workflow", "validate", file],
      ["config", "list"],
      ["start", "agent", "--help"],
    ]) {
      const { code, stderr } = await cdktr(args, options);
      expect({ args, code, stderr }).toMatchObject({
        args,
        code: 0,
        stderr: expect.not.stringMatching(NO_DEFECT),
      });
    }
    const examined = await cdktr(["doctor", "--json"], options);
    expect({ code: examined.code, stderr: examined.stderr }).toEqual({ code: 1, stderr: "" });
    const { findings } = JSON.parse(examined.stdout) as { findings: Finding[] };
    expect(findings.filter(({ severity }) => severity === "error").map(({ message }) => message)).toEqual([
      expect.stringMatching(/^CDKTR_APP_DATA_DIRECTORY has no default: HOME is not set/),
      expect.stringMatching(/^CDKTR_CACHE_DIRECTORY has no default: HOME is not set/),
    ]);
    expect(findings.map(({ check }) => check)).toEqual(expect.arrayContaining(["descriptors", "uv"]));
    // With one of the two, what it allows is checked as well.
    const withCache = await cdktr(["doctor", "--json"], {
      ...options,
      env: { CDKTR_CACHE_DIRECTORY: `${own}/cache` },
    });
    const checks = (JSON.parse(withCache.stdout) as { findings: Finding[] }).findings;
    expect(checks.filter(({ severity }) => severity === "error").length).toBe(1);
    expect(checks.map(({ check }) => check)).toEqual(
      expect.arrayContaining(["settings", "permissions", "disk", "glibc"]),
    );
    const refused = await cdktr(["workflow", "list"], options);
    expect(refused.code).toBe(2);
    const setting = /^error: (CDKTR_\w+) has no default: HOME is not set, and user 54321 has no entry/.exec(
      refused.stderr,
    )?.[1];
    expect(refused.stderr).toContain(`hint: Set ${setting}`);
    // The remedies: each setting that is asked for, or HOME.
    const told = await cdktr(["workflow", "list"], {
      ...options,
      env: { ...cluster.env, CDKTR_APP_DATA_DIRECTORY: `${own}/data`, CDKTR_CACHE_DIRECTORY: `${own}/cache` },
    });
    expect(told).toMatchObject({ code: 0, stdout: expect.stringContaining("x") });
    const home = await cdktr(["workflow", "list"], {
      program,
      prefix: [...NOBODY, `HOME=${own}`],
      cwd: own,
      env: { ...cluster.env, CDKTR_APP_DATA_DIRECTORY: undefined, CDKTR_CACHE_DIRECTORY: undefined },
    });
    expect(home).toMatchObject({ code: 0, stderr: "" });
  },
);

test.if(COMPILED)("a cache on a file system that is mounted noexec, and one of another user", async () => {
  await using mounts = await PrivateMounts.create();
  const noexec = directory.path("noexec");
  await mounts.disk(noexec, 200 * 1024);
  const remount = Bun.spawnSync([...mounts.prefix, "mount", "-o", "remount,noexec", noexec]);
  expect(remount.exitCode).toBe(0);
  const env = { ...cluster.env, CDKTR_CACHE_DIRECTORY: noexec };
  const refused = await cdktr(["workflow", "list"], { prefix: mounts.prefix, env });
  expect(refused.stderr).toMatch(/mounted noexec: the libraries in it cannot be loaded/);
  expect(refused.stderr).toContain("hint: Set CDKTR_CACHE_DIRECTORY to a directory on another one");
  expect(refused.stderr).not.toMatch(NO_DEFECT);

  const foreign = directory.path("foreign");
  mkdirSync(foreign, { mode: 0o755 });
  const options = { prefix: [...NOBODY], program: directory.path("cdktr"), cwd: "/" };
  const denied = await cdktr(["workflow", "list"], {
    ...options,
    env: { ...cluster.env, CDKTR_APP_DATA_DIRECTORY: "/nonexistent", CDKTR_CACHE_DIRECTORY: foreign },
  });
  expect(denied.stderr).toContain(`cannot be unpacked into ${foreign}: it belongs to another user (uid 0)`);
  expect(denied.code).toBe(1);
});

test("a number that is too large in a query is an error of the query", async () => {
  const { code, stderr } = await cluster.cdktr(["db", "query", "SELECT 1e400 AS x"]);
  expect(code).toBe(4);
  expect(stderr).toContain("a number in it is too large for a DOUBLE");
  const remedy = await cluster.cdktr(["db", "query", "SELECT 'infinity'::DOUBLE > 1e308 AS x", "--json"]);
  expect(JSON.parse(remedy.stdout)).toEqual([{ x: true }]);
});
