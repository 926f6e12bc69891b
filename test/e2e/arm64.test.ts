/** The executable for arm64, built here, and run by qemu on x64, with its own libzmq and DuckDB. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { closeSync, mkdirSync, openSync, readFileSync, readSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { duckdbVersion } from "../../scripts/build/lake-extensions.ts";
import type { Finding } from "../../src/doctor/finding.ts";
import { LAKE_EXTENSIONS, lakeExtensionDirectory } from "../../src/native/lake-extensions.ts";
import { PrincipalClient } from "../../src/protocol/client.ts";
import { CdktrProcess, freePorts } from "../support/cdktr.ts";
import { unpacked } from "../support/debian.ts";
import { BINARY, COMPILED, ROOT, runOver, shellWorkflow, TemporaryDirectory } from "./support/fixtures.ts";

/** `e_machine` of an ELF file. */
const MACHINE = { x64: 62, arm64: 183 };

const directory = new TemporaryDirectory();
const outfile = directory.path("cdktr-arm64");
const testCompiled = test.if(COMPILED);

beforeAll(async () => {
  if (!COMPILED) return;
  const build = Bun.spawn(
    [process.execPath, "scripts/build.ts", "--target", "linux-arm64", "--outfile", outfile],
    { cwd: ROOT, stdout: "pipe", stderr: "pipe" },
  );
  const [status, out, err] = await Promise.all([
    build.exited,
    new Response(build.stdout).text(),
    new Response(build.stderr).text(),
  ]);
  expect(`${status} ${err}`).toStartWith("0 ");
  expect(out).toContain("linux-arm64");
}, 10 * 60_000);
afterAll(() => directory[Symbol.dispose]());

function machine(bytes: Uint8Array): number {
  expect([...bytes.subarray(0, 4)]).toEqual([0x7f, 0x45, 0x4c, 0x46]);
  return (bytes[18] ?? 0) | ((bytes[19] ?? 0) << 8);
}

testCompiled("it is an arm64 program with arm64 libraries inside", () => {
  const head = new Uint8Array(20);
  const file = openSync(outfile, "r");
  readSync(file, head, 0, 20, 0);
  closeSync(file);
  expect(machine(head)).toBe(MACHINE.arm64);
  expect(statSync(outfile).size).toBeLessThan(175e6);

  // Every compressed library that the build has in stock, by platform, and whether the executable holds it.
  const executable = readFileSync(outfile);
  const held = new Set<number>();
  let libraries = 0;
  for (const name of new Bun.Glob("*.zst").scanSync({ cwd: join(ROOT, ".cache/native") })) {
    const compressed = readFileSync(join(ROOT, ".cache/native", name));
    // The SDK that it carries as well is a script, in many versions here.
    if (compressed.length < 1e6 && Bun.zstdDecompressSync(compressed)[0] !== 0x7f) continue;
    if (!executable.includes(compressed)) continue;
    const carried = Bun.zstdDecompressSync(compressed);
    libraries++;
    held.add(machine(carried));
  }
  expect(libraries).toBe(4);
  expect([...held]).toEqual([MACHINE.arm64]);
  // The extensions of DuckDB are compressed as one.
  const extensions = lakeExtensionDirectory(duckdbVersion(), "arm64");
  const machines = LAKE_EXTENSIONS.map((name) =>
    machine(readFileSync(join(extensions, `${name}.duckdb_extension`)).subarray(0, 20)),
  );
  expect(machines).toEqual(LAKE_EXTENSIONS.map(() => MACHINE.arm64));
});

/** Words in front of the executable: nothing on a machine of its kind, qemu with Debian's libraries for arm64 on others. */
async function runner(): Promise<string[]> {
  if (process.arch === "arm64") return [];
  const libraries = ["libc6-arm64-cross", "libgcc-s1-arm64-cross", "libstdc++6-arm64-cross"];
  const files = await unpacked(["qemu-user-static", ...libraries]);
  return [`${files}/usr/bin/qemu-aarch64-static`, "-L", `${files}/usr/aarch64-linux-gnu`];
}

testCompiled(
  "it works: version, doctor, and a principal, an agent and a run with its log in DuckDB",
  async () => {
    const prefix = await runner();
    const [api = 0, listening = 0, publishing = 0] = await freePorts(3);
    const env = {
      CDKTR_PRINCIPAL_HOST: "127.0.0.1",
      CDKTR_PRINCIPAL_PORT: String(api),
      CDKTR_LOGS_LISTENING_PORT: String(listening),
      CDKTR_LOGS_PUBLISHING_PORT: String(publishing),
      CDKTR_METRICS_PORT: "0",
      CDKTR_APP_DATA_DIRECTORY: directory.path("data"),
      // Everything takes its time when it is emulated, and code that is compiled at run time is translated once more.
      ...(prefix.length > 0 ? { BUN_JSC_useBaselineJIT: "0" } : {}),
      CDKTR_AGENT_HEARTBEAT_TIMEOUT_MS: "120000",
    };
    mkdirSync(directory.path("workflows"));
    writeFileSync(
      directory.path("workflows/hello.yml"),
      shellWorkflow({ say: { sh: "echo from $CDKTR_TASK_ID" } }),
    );
    const start = (...words: string[]) =>
      new CdktrProcess(words, { cwd: directory.root, env, prefix, program: outfile });
    const own = Bun.spawnSync([BINARY, "version"]).stdout.toString().trim();
    const facts = JSON.parse((await start("version", "--json").finished).stdout);
    expect(facts).toMatchObject({ version: own, target: "linux-arm64", platform: "linux-arm64" });

    await using principal = start("start", "principal");
    await principal.waitFor(/Principal ready/);
    await using agent = start("start", "agent", "--suffix", "arm");
    await agent.waitFor(/is registered/);
    // The client is of this machine's kind: the two understand each other.
    const client = new PrincipalClient({ host: "127.0.0.1", port: api, timeoutMs: 20_000 });
    try {
      const { workflow_instance_id: run } = await client.runTask("hello", { dedupe_key: "one" });
      expect(await runOver(client, run)).toMatchObject({ status: "COMPLETED", attempt: 1 });
      const { rows } = await client.queryDatabase({
        sql: "SELECT payload FROM logstore WHERE level = 'INFO' ORDER BY timestamp_ms",
      });
      expect(rows).toEqual([["from say"]]);
      const { findings } = JSON.parse((await start("doctor", "--json").finished).stdout) as {
        findings: Finding[];
      };
      expect(findings.filter(({ severity }) => severity === "error")).toEqual([]);
      expect(findings.find(({ check }) => check === "glibc")?.message).toMatch(/\(2\.25 is needed\)/);
    } finally {
      await client.close();
    }
    expect((await agent.stop(60_000)).code).toBe(0);
    expect((await principal.stop(60_000)).code).toBe(0);
  },
  180_000,
);
