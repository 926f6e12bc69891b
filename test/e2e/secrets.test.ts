import { expect, test } from "bun:test";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { decodeJoinToken } from "../../src/protocol/join-token.ts";
import { CdktrProcess, cdktr, freePorts } from "../support/cdktr.ts";
import { shellWorkflow, TemporaryDirectory } from "./support/fixtures.ts";

/** Every file below a directory. */
function filesIn(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

/** What `ps` and /proc say of every process of this machine that is cdktr's, of its tasks, and of the tests themselves not. */
function processes(): Map<string, string> {
  const found = new Map<string, string>();
  for (const pid of readdirSync("/proc")) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    for (const file of ["cmdline", "environ"]) {
      try {
        found.set(`/proc/${pid}/${file}`, readFileSync(`/proc/${pid}/${file}`, "latin1"));
      } catch {
        // It has ended.
      }
    }
  }
  return found;
}

test("secrets are in key files, and nowhere else: not in ps, logs, settings, units, messages, databases or tasks", async () => {
  using a = new TemporaryDirectory();
  const [api = 0, logsIn = 0, logsOut = 0] = await freePorts(3);
  const env = {
    CDKTR_PRINCIPAL_PORT: String(api),
    CDKTR_LOGS_LISTENING_PORT: String(logsIn),
    CDKTR_LOGS_PUBLISHING_PORT: String(logsOut),
    CDKTR_APP_DATA_DIRECTORY: a.path("data"),
    CDKTR_LOG_LEVEL: "DEBUG",
    CDKTR_LOG_FLUSH_INTERVAL_MS: "100",
    HOME: a.root,
  };
  const onA = { cwd: a.root, env };
  /** Everything that anybody can see, by where. */
  const seen = new Map<string, string>();
  const run = async (args: readonly string[], more: Record<string, string> = {}, stdin?: string) => {
    const name = `${JSON.stringify(more)} cdktr ${args.join(" ").slice(0, 60)} (${seen.size})`;
    const done = await cdktr(args, {
      ...onA,
      env: { ...env, ...more },
      ...(stdin === undefined ? {} : { stdin }),
    });
    seen.set(name, `${done.stdout}\n${done.stderr}`);
    return done;
  };
  // Of those that print a secret, because that is what they are for.
  const tokenOf = async () =>
    (await cdktr(["join-token", "create", "--address", `127.0.0.1:${api}`], onA)).stdout.trim();

  await run(["keys", "init"]);
  const look = "env; tr '\\\\0' ' ' < /proc/$PPID/cmdline; tr '\\\\0' ' ' < /proc/$PPID/environ; echo looked";
  await Bun.write(a.path("workflows/look.yml"), shellWorkflow({ look: { sh: look } }));
  await using principal = new CdktrProcess(["start", "principal", "--with-agent"], onA);
  await principal.waitFor(/secured: encrypted/);
  const [first, second, third, unused] = [await tokenOf(), await tokenOf(), await tokenOf(), await tokenOf()];
  // Each way in which a token can be given.
  const host = (name: string) => ({
    cwd: a.root,
    env: { ...env, CDKTR_APP_DATA_DIRECTORY: a.path(name), CDKTR_WORKFLOW_DIR: a.path("none") },
  });
  await using one = new CdktrProcess(["start", "agent", "--suffix", "one", "--join", first], host("one"));
  await using two = new CdktrProcess(["start", "agent", "--suffix", "two", `--join=${second}`], host("two"));
  await using three = new CdktrProcess(["start", "agent", "--suffix", "three", "--join", "-"], {
    ...host("three"),
    stdin: `${third}\n`,
  });
  for (const agent of [one, two, three]) await agent.waitFor(/is registered/);
  const alice = (await run(["keys", "add", "alice"])).stdout.trim();
  await using tail = new CdktrProcess(["logs", "tail"], { ...onA, env: { ...env, CDKTR_KEY_FILE: alice } });

  const keyFiles = [a.path("data/keys/principal.key"), a.path("data/keys/admin.key"), alice].concat(
    ["one", "two", "three"].map((name) => a.path(name, "keys/agent.key")),
  );
  const tokens = [first, second, third, unused];
  const secrets = [
    ...keyFiles.map((path): string => JSON.parse(readFileSync(path, "utf8")).secret_key),
    // In the text of a token, and in what it holds.
    ...tokens.map((token) => token.slice(30)),
    ...tokens.map((token) => decodeJoinToken(token).secretKey),
  ];
  expect(secrets.every((secret) => secret.length >= 40)).toBe(true);

  // Runs on every agent; what its task sees is in the logs.
  for (let count = 0; count < 4; count++) await run(["run", "look", "--follow"]);
  await run(["run", "look", "--follow", "--wait", "--json"], { CDKTR_KEY_FILE: alice });
  await run(["logs", "query", "--json"]);
  for (const words of [
    ["config", "list"],
    ["keys", "list"],
    ["join-token", "list"],
    ["agents", "list"],
    ["runs", "list"],
    ["doctor"],
    ["version"],
  ]) {
    await run(words, { CDKTR_KEY_FILE: alice });
    await run([...words, "--json"]);
  }
  await run(["db", "query", "SELECT * FROM workflow_run_status"]);
  await run(["service", "install", "principal", "--dry-run"]);
  await run(["service", "install", "agent", "--dry-run"], { CDKTR_KEY_FILE: alice });
  const { stderr: made } = await cdktr(["join-token", "create"], onA);
  expect(made).toContain("the principal listens on 127.0.0.1, which other hosts cannot reach");
  await run(["join-token", "revoke", String(/Token (\S+):/.exec(made)?.[1])]);

  // A token where it does not belong, or not whole; what is said of it must not hold it.
  for (const words of [
    ["start", "agent", unused],
    ["start", "agent", "--suffix", unused],
    ["start", "agent", "--label", unused],
    ["start", "agent", "--join", unused.slice(0, -1)],
    ["start", "agent", "--join", `x${unused}`],
    ["service", "install", "agent", "--join", unused, "--dry-run"],
    ["service", "install", "agent", unused, "--dry-run"],
    ["service", "install", "agent", "--dry-run", "--", "--join", unused],
    ["join-token", "revoke", unused],
    ["keys", "add", unused],
    ["keys", "revoke", unused],
    ["runs", "show", unused],
    ["run", unused],
    ["docs", unused],
    [unused],
  ])
    expect(`${words[0]} ${(await run(words)).code > 0}`).toBe(`${words[0]} true`);
  for (const words of [["runs", "list"], ["config", "list"], ["config", "list", "--json"], ["doctor"]])
    await run(words, { CDKTR_KEY_FILE: unused });
  await run(["runs", "list", "--principal", unused], { CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "200" });

  // Key files that are broken, or open to others.
  const text = readFileSync(alice, "utf8");
  mkdirSync(a.path("broken"), { mode: 0o700 });
  for (const [name, content, mode] of [
    ["cut", text.slice(0, -20), 0o600],
    ["not-json", `secret_key=${secrets[2]}`, 0o600],
    ["no-public-key", text.replace("public_key", "publik_key"), 0o600],
    ["swapped", text.replace(/"secret_key": ".*"/, `"secret_key": ["${secrets[2]}"]`), 0o600],
    ["open", text, 0o644],
  ] as const) {
    const path = a.path("broken", name);
    writeFileSync(path, content, { mode });
    for (const words of [
      ["runs", "list"],
      ["doctor", "--json"],
      ["start", "agent"],
    ])
      expect((await run(words, { CDKTR_KEY_FILE: path, CDKTR_LOG_LEVEL: "DEBUG" })).code).toBeGreaterThan(0);
  }
  const forged = a.path("broken", "forged");
  copyFileSync(alice, forged);
  writeFileSync(forged, text.replace(/"public_key": ".*"/, `"public_key": "${"0".repeat(40)}"`));
  await run(["runs", "list"], { CDKTR_KEY_FILE: forged });
  await run(["start", "agent"], { CDKTR_KEY_FILE: alice, CDKTR_RETRY_ATTEMPTS: "1" });

  for (const [where, what] of processes()) seen.set(where, what);
  for (const child of [tail, one, two, three, principal]) await child.stop();
  for (const [name, child] of Object.entries({ principal, one, two, three, tail }))
    seen.set(`the output of ${name}`, `${child.stdout}\n${child.stderr}`);
  for (const path of filesIn(a.root))
    if (!keyFiles.includes(path) && !path.startsWith(a.path("broken")))
      seen.set(path, readFileSync(path, "latin1"));

  // What is looked at is what is meant: it has what may be there.
  const everything = [...seen.values()].join("\n");
  for (const known of [
    "looked",
    "CDKTR_WORKFLOW_INSTANCE_ID=",
    "DEBUG",
    "alice",
    "public_key",
    "cdktr-join-…",
    "start\0agent",
  ])
    expect(`${known}: ${everything.includes(known)}`).toBe(`${known}: true`);
  for (const [index, path] of keyFiles.entries()) {
    expect(readFileSync(path, "utf8")).toContain(secrets[index] ?? "?");
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(join(path, "..")).mode & 0o777).toBe(0o700);
  }
  const leaks = [...seen].flatMap(([where, what]) =>
    secrets.flatMap((secret, index) => (what.includes(secret) ? [`secret ${index}: ${where}`] : [])),
  );
  expect(leaks).toEqual([]);
}, 60_000);
