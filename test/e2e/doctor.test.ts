/** The doctor's report about a host where nothing runs. Each problem is created for real. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig } from "../../src/config.ts";
import { checkDescriptors } from "../../src/doctor/host-checks.ts";
import { checkLibraries, newest } from "../../src/doctor/library-check.ts";
import { judgeSkew, versions } from "../../src/doctor/principal-checks.ts";
import { type Examination, errorsOf, examined, findingOf } from "../doctor/support.ts";
import {
  CDKTR,
  type CommandOptions,
  cdktr,
  cleanEnvironment,
  freePorts,
  startCluster,
} from "../support/cdktr.ts";
import { lockOf } from "../support/file-lock.ts";

const directory = mkdtempSync(join(tmpdir(), "cdktr-doctor-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** For tests that mount, or become another user: without the rights they fail in CI, and only there. */
const testAsRoot = test.skipIf(process.getuid?.() !== 0 && process.env.CI === undefined);

/** Words in front of a command that sees mounts of its own, made by a shell script before. */
function mounted(script: string): readonly string[] {
  return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", `${script}\nexec "$@"`, "sh"];
}

/** What the doctor says on a host of its own: free ports, an empty data directory. */
async function hostWith(
  env: Record<string, string> = {},
  options: CommandOptions & { readonly json?: boolean } = {},
): Promise<Examination> {
  const [api, listening, publishing, metrics, webhook] = await freePorts(5);
  return examined({
    cwd: directory,
    ...options,
    env: {
      CDKTR_PRINCIPAL_HOST: "127.0.0.1",
      CDKTR_PRINCIPAL_PORT: String(api),
      CDKTR_LOGS_LISTENING_PORT: String(listening),
      CDKTR_LOGS_PUBLISHING_PORT: String(publishing),
      CDKTR_METRICS_PORT: String(metrics),
      CDKTR_WEBHOOK_PORT: String(webhook),
      CDKTR_APP_DATA_DIRECTORY: join(directory, crypto.randomUUID()),
      CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "200",
      ...env,
    },
  });
}

test("a host without problems is ready for a principal, and the doctor shows how to start one", async () => {
  mkdirSync(join(directory, "workflows"), { recursive: true });
  const report = await hostWith();
  expect({ ok: report.ok, code: report.code, errors: errorsOf(report) }).toEqual({
    ok: true,
    code: 0,
    errors: [],
  });
  expect(findingOf(report, "principal", "warning").remedy).toContain("cdktr start principal --with-agent");
  const free = report.findings.filter(({ check, severity }) => check === "ports" && severity === "ok");
  expect(free).toHaveLength(5);
  expect(findingOf(report, "glibc", "ok").message).toMatch(/glibc 2\.\d+ \(2\.\d+ is needed\)/);
  expect(findingOf(report, "libstdc++", "ok").message).toMatch(/3\.4\.\d+ \(3\.4\.\d+ is needed\)/);
  for (const check of ["workflows", "descriptors", "disk", "permissions"]) findingOf(report, check, "ok");
});

describe("ports", () => {
  test("one that another program has: it is named", async () => {
    const other = Bun.spawn(
      [
        "python3",
        "-u",
        "-c",
        "import socket as s; l=s.create_server(('127.0.0.1',0)); print(l.getsockname()[1]); input()",
      ],
      { stdin: "pipe", stdout: "pipe" },
    );
    const { value } = await other.stdout.getReader().read();
    const port = new TextDecoder().decode(value).trim();
    const intake = await hostWith({ CDKTR_LOGS_LISTENING_PORT: port });
    const metrics = await hostWith({ CDKTR_METRICS_PORT: port });
    const api = await hostWith({ CDKTR_PRINCIPAL_PORT: port });
    other.kill("SIGKILL");
    expect(intake.code).toBe(1);
    const found = findingOf(intake, "ports", "error");
    expect(found.message).toContain(`Port ${port}, the principal's log intake`);
    expect(found.message).toContain(`python3 has it (process ${other.pid})`);
    expect(found.why).toContain("cannot start");
    expect(found.remedy).toContain(`ps -fp ${other.pid}`);
    expect(found.remedy).toContain("CDKTR_LOGS_LISTENING_PORT");
    // Without metrics a principal starts all the same.
    expect([metrics.code, errorsOf(metrics)]).toEqual([0, []]);
    expect(findingOf(metrics, "ports", "warning").remedy).toContain("CDKTR_METRICS_PORT");
    // At the port of the API it might be a principal: it is asked, and does not answer as one.
    expect(api.code).toBe(1);
    expect(findingOf(api, "principal", "error").message).toContain(
      `python3 (process ${other.pid}) listens at 127.0.0.1:${port}, but does not answer like a principal`,
    );
  });

  testAsRoot("one that needs more rights", async () => {
    const report = await hostWith(
      { CDKTR_PRINCIPAL_PORT: "81", CDKTR_CACHE_DIRECTORY: nobodysCache() },
      asNobody(),
    );
    expect(findingOf(report, "ports", "error").message).toContain("only root may bind ports below 1024");
  });
});

describe("a principal elsewhere", () => {
  const elsewhere = async (host: string, prefix: readonly string[] = []) => {
    const report = await hostWith({ CDKTR_PRINCIPAL_HOST: host }, { prefix });
    expect(report.code).toBe(1);
    // Its files and its DuckDB are no business of this host.
    expect(report.findings.map(({ check }) => check)).not.toContain("workflows");
    expect(report.findings.map(({ check }) => check)).not.toContain("ports");
    const found = findingOf(report, "principal", "error");
    expect(found.remedy).toContain("CDKTR_PRINCIPAL_HOST");
    return found.message;
  };

  testAsRoot("without a way to it, or a name", async () => {
    // 192.0.2.0/24 is nobody's, and in a network namespace of its own a process reaches nothing.
    const alone = ["unshare", "--net", "--"];
    expect(await elsewhere("192.0.2.1", alone)).toContain("refused, or the network is unreachable");
    expect(await elsewhere("no-such-host.invalid", alone)).toContain(
      "the host name no-such-host.invalid cannot be resolved",
    );
  });

  testAsRoot("behind a firewall that drops everything: the wait is bounded", async () => {
    const drops = [
      ...["unshare", "--net", "sh", "-ec"],
      // A neighbour with an address, at a wire of which nobody holds the other end.
      'ip link set lo up; ip link add v0 type veth peer name v1; ip addr add 192.0.2.2/24 dev v0; ip link set v0 up; ip link set v1 up; ip neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 dev v0; exec "$@"',
      "sh",
    ];
    expect(await elsewhere("192.0.2.1", drops)).toContain("nothing answered within 0.2 s");
    // Ten minutes, which this test does not have.
    const report = await hostWith(
      { CDKTR_PRINCIPAL_HOST: "192.0.2.1", CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "600000" },
      { prefix: drops },
    );
    expect(findingOf(report, "principal", "error").message).toContain("nothing answered within 5 s");
  });
});

test("a setting that does not parse", async () => {
  const report = await hostWith({ CDKTR_RETRY_ATTEMPTS: "many" });
  expect(report.code).toBe(1);
  expect(findingOf(report, "settings", "error").message).toContain("CDKTR_RETRY_ATTEMPTS");
});

describe("the database", () => {
  test("that is none", async () => {
    const db = join(directory, "none.db");
    writeFileSync(db, "this is no database, though it is long enough to be looked at".repeat(1000));
    const report = await hostWith({ CDKTR_DB_PATH: db });
    expect(report.code).toBe(1);
    const found = findingOf(report, "database", "error");
    expect(found.message).toContain(`${db} is not a DuckDB database`);
    expect(found.remedy).toContain(`mv ${db} ${db}.bad`);
  });

  test("that is right, damaged, or held by another process", async () => {
    const cluster = await startCluster();
    const file = join(cluster.dataDirectory, "app.db");
    await cluster.principal?.stop();
    expect(findingOf(await hostWith({ CDKTR_DB_PATH: file }), "database", "ok").message).toContain(
      "can be read",
    );
    {
      await using lock = await lockOf(file);
      const found = findingOf(await hostWith({ CDKTR_DB_PATH: file }), "database", "error");
      expect(found.message).toMatch(new RegExp(`is in use by .*\\(process ${lock.pid}\\)`));
      expect(found.remedy).toContain(`ps -fp ${lock.pid}`);
      expect(found.remedy).not.toContain("mv ");
    }
    const descriptor = openSync(file, "r+");
    // Both database headers, of which one is in force.
    writeSync(descriptor, new Uint8Array(8192).fill(0xa5), 0, 8192, 4096);
    closeSync(descriptor);
    const found = findingOf(await hostWith({ CDKTR_DB_PATH: file }), "database", "error");
    expect(found.message).toContain("is damaged");
    // The remedy is tried, as a shell does it.
    const command = /\((mv \S+ \S+);/.exec(found.remedy ?? "")?.[1] ?? "false";
    expect(Bun.spawnSync(["sh", "-c", command]).exitCode).toBe(0);
    await cluster.startPrincipal();
    expect((await cluster.client.info()).history.available).toBe(true);
    await cluster.stop();
  });
});

/** A cache that such a user can fill. */
function nobodysCache(): string {
  const cache = join(directory, "nobody-cache");
  mkdirSync(cache, { recursive: true, mode: 0o700 });
  chownSync(cache, 65534, 65534);
  chmodSync(directory, 0o755);
  return cache;
}

/** The doctor as a user without rights; the executable must be somewhere where that user can read it. */
function asNobody(): CommandOptions {
  return { prefix: ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"] };
}

describe("permissions", () => {
  test("directories that are open to others, or are none; settings that others can change", async () => {
    const open = join(directory, "open");
    mkdirSync(open);
    chmodSync(open, 0o755);
    const file = join(directory, "file");
    writeFileSync(file, "");
    const loose = await hostWith({ CDKTR_APP_DATA_DIRECTORY: open });
    const found = findingOf(loose, "permissions", "warning");
    expect(found.message).toContain(open);
    expect(Bun.spawnSync(["sh", "-c", found.remedy ?? ""]).exitCode).toBe(0);
    expect(
      findingOf(await hostWith({ CDKTR_APP_DATA_DIRECTORY: open }), "permissions", "ok").message,
    ).toContain(open);

    const report = await hostWith({ CDKTR_APP_DATA_DIRECTORY: file });
    expect(report.code).toBe(1);
    expect(findingOf(report, "permissions", "error").message).toContain(`${file} is not a directory`);

    const work = join(directory, "work");
    mkdirSync(work);
    writeFileSync(join(work, ".env"), "");
    chmodSync(join(work, ".env"), 0o666);
    const dotenv = await hostWith({}, { cwd: work });
    expect(findingOf(dotenv, "permissions", "warning").remedy).toBe(`chmod go-w ${work}/.env`);
  });

  test("a database outside of the data directory that everybody can read", async () => {
    const shared = join(directory, "shared");
    mkdirSync(shared);
    const db = join(shared, "history.db");
    writeFileSync(db, "");
    chmodSync(shared, 0o755);
    chmodSync(directory, 0o755);
    chmodSync(db, 0o644);
    const report = await hostWith({ CDKTR_DB_PATH: db });
    expect(findingOf(report, "permissions", "warning").remedy).toBe(`chmod o-rwx ${db}`);
  });

  testAsRoot("a data directory of another user, and one on a disk that is read-only", async () => {
    const theirs = join(directory, "theirs");
    mkdirSync(theirs, { mode: 0o700 });
    const env = { CDKTR_APP_DATA_DIRECTORY: theirs, CDKTR_CACHE_DIRECTORY: nobodysCache() };
    const report = await hostWith(env, asNobody());
    expect(report.code).toBe(1);
    const found = findingOf(report, "permissions", "error");
    expect(found.message).toContain("cannot be written by nobody; it belongs to root");
    expect(found.remedy).toContain(`sudo chown -R nobody ${theirs}`);
    expect(found.remedy).toContain("sudo -u root cdktr");

    // What is not there is made: nobody is told to take over the directory above.
    const fresh = join(directory, "fresh");
    const made = findingOf(
      await hostWith({ ...env, CDKTR_APP_DATA_DIRECTORY: fresh }, asNobody()),
      "permissions",
      "error",
    );
    const command = /sudo (install -d -m 700 -o nobody \S+)\. /.exec(made.remedy ?? "")?.[1] ?? "false";
    expect(Bun.spawnSync(["sh", "-c", command]).exitCode).toBe(0);
    const after = await hostWith({ ...env, CDKTR_APP_DATA_DIRECTORY: fresh }, asNobody());
    expect(errorsOf(after)).toEqual([]);

    const prefix = mounted(`mount --bind '${theirs}' '${theirs}'; mount -o remount,ro,bind '${theirs}'`);
    const readOnly = findingOf(
      await hostWith({ CDKTR_APP_DATA_DIRECTORY: theirs }, { prefix }),
      "permissions",
      "error",
    );
    expect(readOnly.message).toContain("on a read-only file system");
    expect(readOnly.remedy).toContain(`findmnt -T ${theirs}`);
  });

  test("keys that others can read", async () => {
    const data = join(directory, "keyed");
    const env = { CDKTR_APP_DATA_DIRECTORY: data };
    await hostWith(env);
    expect((await cdktr(["keys", "init"], { env })).code).toBe(0);
    expect(findingOf(await hostWith(env), "keys", "ok").message).toContain(`${data}/keys`);
    for (const [place, mode] of [
      ["keys/principal.key", 0o640],
      ["keys/admin.key", 0o604],
      ["keys", 0o755],
    ] as const) {
      chmodSync(join(data, place), mode);
      const report = await hostWith(env);
      expect(report.code).toBe(1);
      const found = findingOf(report, "keys", "error");
      expect(found.message).toContain(join(data, place));
      const command = (found.remedy ?? "").replace(/^Run: /, "");
      expect(Bun.spawnSync(["sh", "-c", command]).exitCode).toBe(0);
      expect(errorsOf(await hostWith(env))).toEqual([]);
    }
    const missing = await hostWith({ CDKTR_KEY_FILE: join(data, "nothing.key") });
    expect(findingOf(missing, "keys", "error").message).toContain("There is no key file");
  });
});

describe("limits", () => {
  test("too few file descriptors", async () => {
    const limited = (setting: string) => ["sh", "-c", `ulimit ${setting} 64; exec "$@"`, "sh"];
    const report = await hostWith({ CDKTR_AGENT_MAX_TASKS: "100" }, { prefix: limited("-n") });
    expect(report.code).toBe(1);
    const found = findingOf(report, "descriptors", "error");
    expect(found.message).toContain("Only 64 open files are allowed: 100 concurrent tasks need about 928");
    expect(found.remedy).toContain("LimitNOFILE=");
    // The executable raises a soft limit by itself.
    findingOf(await hostWith({}, { prefix: limited("-Sn") }), "descriptors", "ok");
    const { values } = loadConfig({}, {}, directory);
    expect(checkDescriptors(values, "Max open files   1024   unlimited  files").severity).toBe("ok");
  });

  testAsRoot("a disk that is almost full, and one without inodes", async () => {
    const place = join(directory, "small");
    mkdirSync(place);
    const small = (options: string) => ({
      prefix: mounted(`mount -t tmpfs -o ${options},mode=0700 none '${place}'`),
    });
    const env = { CDKTR_APP_DATA_DIRECTORY: place };
    const full = await hostWith(env, small("size=20m"));
    expect(full.code).toBe(1);
    expect(findingOf(full, "disk", "error").remedy).toContain(`du -xhd1 ${place} | sort -h`);
    expect(Bun.spawnSync(["sh", "-c", `du -xhd1 '${place}' | sort -h`]).exitCode).toBe(0);
    const low = await hostWith(env, small("size=500m"));
    expect([low.code, findingOf(low, "disk", "warning").message]).toEqual([
      0,
      expect.stringContaining(place),
    ]);
    const inodes = await hostWith(env, small("size=2g,nr_inodes=100"));
    expect(findingOf(inodes, "disk", "error").message).toContain("inodes are free");
  });
});

describe("uv", () => {
  const bin = join(directory, "bin");
  const env = { PATH: bin, HOME: directory };
  beforeAll(() => mkdirSync(bin));
  const uv = (script: string) => {
    writeFileSync(join(bin, "uv"), `#!/bin/sh\n${script}\n`);
    chmodSync(join(bin, "uv"), 0o755);
  };

  test("is missing", async () => {
    const found = findingOf(await hostWith(env), "uv", "warning");
    expect(found.message).toContain("uv was found neither");
    expect(found.remedy).toContain("pip install uv");
  });

  test("does not work, or gives no answer", async () => {
    uv("exit 3");
    expect(findingOf(await hostWith(env), "uv", "warning").message).toContain("exits with status 3");
    uv("exec /bin/sleep 600");
    expect(findingOf(await hostWith(env), "uv", "warning").message).toContain("does not answer within 5 s");
    uv("echo uv 9.9.9");
    expect(findingOf(await hostWith(env), "uv", "ok").message).toContain(`uv 9.9.9 at ${bin}/uv`);
  });
});

(process.env.CDKTR_TEST_BINARY === undefined ? test.skip : testAsRoot)(
  "a cache directory from which no library can be loaded",
  async () => {
    const place = join(directory, "noexec");
    mkdirSync(place);
    const prefix = mounted(`mount -t tmpfs -o size=300m,mode=0700,noexec none '${place}'`);
    const report = await hostWith({ CDKTR_CACHE_DIRECTORY: place }, { prefix });
    expect(report.code).toBe(1);
    const found = findingOf(report, "libraries", "error");
    expect(found.message).toContain("cannot be loaded");
    expect(found.why).toContain("noexec");
  },
);

test("people get what, why and remedy within the width of the terminal, no colour and no trace of waiting in a pipe", async () => {
  const { stdout, stderr } = await hostWith({ CDKTR_RETRY_ATTEMPTS: "many" }, { json: false });
  expect(`${stdout}${stderr}`).not.toContain("\x1b");
  expect(`${stdout}${stderr}`).not.toContain("…");
  expect(stderr).toBe("1 error\n");
  const lines = stdout.trimEnd().split("\n");
  expect(lines[0]).toMatch(/^✗ settings {4}CDKTR_RETRY_ATTEMPTS="many"/);
  expect(lines.some((line) => line.startsWith("              → "))).toBe(true);
  for (const line of lines) expect(Bun.stringWidth(line)).toBeLessThanOrEqual(80);
});

test("in a terminal it says what it waits for, and takes that away again", async () => {
  using mute = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  let shown = "";
  const shell = Bun.spawn([...CDKTR, "doctor", "--principal", `127.0.0.1:${mute.port}`], {
    cwd: directory,
    env: cleanEnvironment({
      CDKTR_APP_DATA_DIRECTORY: join(directory, "seen"),
      CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "300",
      TERM: "xterm",
    }),
    terminal: {
      cols: 60,
      rows: 50,
      data: (_, data) => {
        shown += Buffer.from(data).toString("utf8");
      },
    },
  });
  await shell.exited;
  shell.terminal?.close();
  const waited = shown.indexOf(`asking the principal at 127.0.0.1:${mute.port} …`);
  expect(waited).toBeGreaterThan(-1);
  const erased = shown.indexOf("\r\x1b[K", waited);
  expect(erased).toBeGreaterThan(waited);
  expect(shown.lastIndexOf("listens at")).toBeGreaterThan(erased);
});

describe("judgements", () => {
  test("skew", () => {
    expect(judgeSkew(-200).severity).toBe("ok");
    expect(judgeSkew(2500)).toMatchObject({ severity: "warning" });
    expect(judgeSkew(2500).message).toContain("2500 ms ahead of");
  });

  test("versions", () => {
    const peer = (version: string, protocol = 1, oldest = 1) => ({
      version,
      protocol: { version: protocol, oldest },
    });
    const agent = { agent_id: "a", version: "0.1.0", status: "UP", protocol: 1 } as const;
    const judged = (...args: Parameters<typeof versions>) =>
      versions(...args).map(({ check, severity }) => `${check} ${severity}`);
    expect(judged(peer("0.1.0"), [agent], peer("0.1.0"))).toEqual(["versions ok"]);
    expect(judged(peer("0.2.0"), [agent, { ...agent, status: "LOST" }], peer("0.1.0"))).toEqual([
      "versions warning",
      "versions warning",
      "agents warning",
    ]);
    // Too far apart to work together.
    expect(judged(peer("1.0.0", 3, 2), [agent], peer("0.1.0"))).toEqual(["versions error", "versions error"]);
  });

  test("libraries that are old or missing", () => {
    const judged = (host: Parameters<typeof checkLibraries>[1]) =>
      checkLibraries(["libzmq", "libduckdb"], host).map(({ check, severity }) => `${check} ${severity}`);
    expect(judged({ glibc: "2.17", libstdcxx: null })).toEqual(["glibc error", "libstdc++ error"]);
    // RHEL 7 with the libstdc++ of a newer compiler, which lacks one thing.
    const versions = Array.from({ length: 31 }, (_, i) => `GLIBCXX_3.4${i === 0 ? "" : `.${i}`}`);
    expect(judged({ glibc: "2.36", libstdcxx: new Set(versions) })).toEqual(["glibc ok", "libstdc++ error"]);
    expect(newest(["2.9", "2.10", "2.2.5"])).toBe("2.10");
  });
});
