import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig } from "../../src/config.ts";
import type { Finding } from "../../src/doctor/finding.ts";
import { checkDescriptors } from "../../src/doctor/host-checks.ts";
import { checkLibraries, newest } from "../../src/doctor/library-check.ts";
import { judgeSkew, versions, visitPrincipal } from "../../src/doctor/principal-checks.ts";
import { type Cluster, type CommandOptions, cdktr, freePorts, startCluster } from "../support/cdktr.ts";

const directory = mkdtempSync(join(tmpdir(), "cdktr-doctor-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

interface Report {
  readonly ok: boolean;
  readonly findings: readonly Finding[];
}

/** What the doctor says on a host of its own: free ports, an empty data directory. */
async function examined(
  env: Record<string, string> = {},
  options: CommandOptions = {},
): Promise<Report & { code: number }> {
  const [api, listening, publishing] = await freePorts(3);
  const data = join(directory, crypto.randomUUID());
  const result = await cdktr(["doctor", "--json"], {
    ...options,
    env: {
      CDKTR_PRINCIPAL_HOST: "127.0.0.1",
      CDKTR_PRINCIPAL_PORT: String(api),
      CDKTR_LOGS_LISTENING_PORT: String(listening),
      CDKTR_LOGS_PUBLISHING_PORT: String(publishing),
      CDKTR_APP_DATA_DIRECTORY: data,
      CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "200",
      ...env,
    },
  });
  if (result.stdout === "") throw new Error(result.stderr);
  return { ...(JSON.parse(result.stdout) as Report), code: result.code };
}

function findingOf(report: Report, check: string, severity: Finding["severity"]): string {
  const found = report.findings.find((finding) => finding.check === check && finding.severity === severity);
  if (found === undefined) throw new Error(`no ${severity} of ${check}: ${JSON.stringify(report, null, 1)}`);
  if (severity !== "ok") expect(found.remedy).toBeTruthy();
  return found.message;
}

describe("a host without a principal", () => {
  test("is fit for one, and says how to start it", async () => {
    const report = await examined();
    expect({ ok: report.ok, code: report.code }).toEqual({ ok: true, code: 0 });
    expect(findingOf(report, "principal", "warning")).toContain("No principal runs");
    expect(
      report.findings.filter(({ check, severity }) => check === "ports" && severity === "ok"),
    ).toHaveLength(3);
    expect(findingOf(report, "glibc", "ok")).toMatch(/glibc 2\.\d+ \(2\.\d+ is needed\)/);
  });

  test("a port that another program has", async () => {
    const server = createServer();
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const { port } = server.address() as { port: number };
    const report = await examined({ CDKTR_LOGS_LISTENING_PORT: String(port) });
    server.close();
    expect(report.code).toBe(1);
    expect(findingOf(report, "ports", "error")).toContain(`Port ${port}`);
  });

  test("a principal elsewhere that cannot be reached", async () => {
    // 192.0.2.0/24 is nobody's.
    const report = await examined({ CDKTR_PRINCIPAL_HOST: "192.0.2.1" });
    expect(report.code).toBe(1);
    expect(findingOf(report, "principal", "error")).toContain("192.0.2.1");
  });

  test("a setting that does not parse", async () => {
    const report = await examined({ CDKTR_RETRY_ATTEMPTS: "many" });
    expect(report.code).toBe(1);
    expect(findingOf(report, "settings", "error")).toContain("CDKTR_RETRY_ATTEMPTS");
  });

  test("a damaged database", async () => {
    const db = join(directory, "damaged.db");
    writeFileSync(db, "this is no database, though it is long enough to be looked at".repeat(1000));
    const report = await examined({ CDKTR_DB_PATH: db });
    expect(report.code).toBe(1);
    expect(findingOf(report, "database", "error")).toContain(db);
  });

  test("directories that are open to others, or are none", async () => {
    const open = join(directory, "open");
    mkdirSync(open);
    chmodSync(open, 0o755);
    const file = join(directory, "file");
    writeFileSync(file, "");
    expect(findingOf(await examined({ CDKTR_APP_DATA_DIRECTORY: open }), "permissions", "warning")).toContain(
      open,
    );
    const report = await examined({ CDKTR_APP_DATA_DIRECTORY: file });
    expect(report.code).toBe(1);
    expect(findingOf(report, "permissions", "error")).toContain(`${file} is not a directory`);
  });

  test("too few file descriptors", async () => {
    const prefix = ["sh", "-c", 'ulimit -n 150; exec "$@"', "sh"];
    const report = await examined({ CDKTR_AGENT_MAX_TASKS: "100" }, { prefix });
    expect(report.code).toBe(1);
    expect(findingOf(report, "descriptors", "error")).toContain("Only 150 files");
    const { values } = loadConfig({}, {}, directory);
    expect(checkDescriptors(values, "Max open files   unlimited   unlimited  files").severity).toBe("ok");
  });

  test.skipIf(process.getuid?.() !== 0 || Bun.which("unshare") === null)(
    "a disk that is almost full",
    async () => {
      const place = join(directory, "small");
      mkdirSync(place);
      const prefix = [
        ...["unshare", "--mount", "sh", "-c"],
        `mount -t tmpfs -o size=20m,mode=0700 none '${place}' && exec "$@"`,
        "sh",
      ];
      const report = await examined({ CDKTR_APP_DATA_DIRECTORY: place }, { prefix });
      expect(report.code).toBe(1);
      expect(findingOf(report, "disk", "error")).toContain(place);
    },
  );

  test("uv that is missing", async () => {
    const env = { PATH: "/usr/bin:/bin", HOME: directory };
    if (Bun.which("uv", { PATH: env.PATH }) !== null) return;
    expect(findingOf(await examined(env), "uv", "warning")).toContain("uv was not found");
  });
});

describe("a host with a principal", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await startCluster({ agents: 1, workflows: { "bad.yml": "name: Bad\n" } });
  });
  afterAll(() => cluster.stop());

  test("is well", async () => {
    const { code, stdout, stderr } = await cluster.cdktr(["doctor"]);
    expect({ code, stderr: stderr.includes("error") }).toEqual({ code: 0, stderr: false });
    expect(stdout).toMatch(/✓ principal +The principal at \S+ answers/);
    expect(stdout).toMatch(/✓ clock +The clock is within/);
    expect(stdout).toMatch(/✓ database +The principal can read and write its history/);
    expect(stdout).toMatch(/✓ versions/);
    expect(stdout).toMatch(/! workflows +\S*bad\.yml is invalid/);
  });

  test("log ports that differ from the principal's", async () => {
    const { code, stdout } = await cluster.cdktr(["doctor", "--json"], {
      env: { CDKTR_LOGS_LISTENING_PORT: "1" },
    });
    expect(code).toBe(1);
    expect(findingOf(JSON.parse(stdout), "ports", "error")).toContain("the settings here say 1");
  });

  test("a clock that is wrong", async () => {
    const config = loadConfig({}, cluster.env, directory).values;
    const { findings } = await visitPrincipal(config, () => Date.now() - 90_000);
    const clock = findings.find(({ check }) => check === "clock");
    expect(clock).toMatchObject({ severity: "error" });
    expect(clock?.message).toMatch(/^This host's clock is (89|90|91) s behind the principal's/);
  });
});

describe("judgements", () => {
  test("skew", () => {
    expect(judgeSkew(-200).severity).toBe("ok");
    expect(judgeSkew(2500)).toMatchObject({ severity: "warning" });
    expect(judgeSkew(2500).message).toContain("2500 ms ahead of");
  });

  test("versions", () => {
    const agent = { agent_id: "a", version: "0.1.0", status: "UP" } as const;
    expect(versions("0.1.0", [agent], "0.1.0").map(({ severity }) => severity)).toEqual(["ok"]);
    const found = versions("0.2.0", [agent, { ...agent, agent_id: "b", status: "LOST" }], "0.1.0");
    expect(found.map(({ check, severity }) => `${check} ${severity}`)).toEqual([
      "versions warning",
      "versions warning",
      "agents warning",
    ]);
  });

  test("libraries that are old or missing", () => {
    const found = checkLibraries({ glibc: "2.17", libstdcxx: null });
    expect(found.map(({ check, severity }) => `${check} ${severity}`)).toEqual([
      "glibc error",
      "libstdc++ error",
    ]);
    expect(newest(["2.9", "2.10", "2.2.5"])).toBe("2.10");
  });
});
