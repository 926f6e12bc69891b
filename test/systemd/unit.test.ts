import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ROLES, unitName } from "../../src/systemd/service-id.ts";
import { unitText } from "../../src/systemd/unit.ts";
import { choicesOf, differences, isEdited } from "../../src/systemd/unit-file.ts";
import { processesWith, until } from "../e2e/support/fixtures.ts";
import { cdktr, startCluster } from "../support/cdktr.ts";
import { installed, skipWithout } from "../support/debian.ts";

const directory = mkdtempSync(join(tmpdir(), "cdktr-unit-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const program = join(directory, "cdktr");
writeFileSync(program, "#!/bin/sh\n");
chmodSync(program, 0o755);

async function dryRun(role: string, ...flags: string[]): Promise<string> {
  const { code, stdout, stderr } = await cdktr(
    ["service", "install", role, "--dry-run", "--program", program, ...flags],
    {
      cwd: directory,
    },
  );
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return stdout;
}

/** Where the executable finds its libraries unpacked, as all tests have it. */
function cache(): Record<string, string> {
  const { CDKTR_CACHE_DIRECTORY: place } = process.env;
  return place === undefined ? {} : { CDKTR_CACHE_DIRECTORY: place };
}

function analyze(...args: string[]): { status: number; output: string } {
  const { exitCode, stdout, stderr } = Bun.spawnSync(["systemd-analyze", ...args], {
    env: { ...process.env, SYSTEMD_LOG_LEVEL: "info", XDG_RUNTIME_DIR: directory },
  });
  return { status: exitCode, output: stdout.toString() + stderr.toString() };
}

const noSystemd = skipWithout(await installed("systemd", () => Bun.which("systemd-analyze") !== null));

describe.each([...ROLES])("the unit of the %s", (role) => {
  for (const flags of [[], ["--user"], ["--directory", "/srv/50% of it"]]) {
    test.skipIf(noSystemd)(`is one that systemd understands ${flags.join("")}`, async () => {
      const path = join(directory, unitName({ role, user: flags.includes("--user") }));
      writeFileSync(path, await dryRun(role, ...flags, "--", "--port", "6000"));
      const { status, output } = analyze(
        "verify",
        "--man=no",
        flags.includes("--user") ? "--user" : "--system",
        path,
      );
      // What systemd says of other units of this host is not ours.
      const ours = output.split("\n").filter((line) => line.includes(directory) || line.includes("cdktr-"));
      expect({ status, ours }).toEqual({ status: 0, ours: [] });
    });
  }

  test("says when it is ready, is restarted with pauses, and leaves no process behind", async () => {
    const text = await dryRun(role);
    for (const line of [
      "Type=notify",
      "WatchdogSec=60",
      "Restart=on-failure",
      "KillMode=mixed",
      "User=cdktr",
      `EnvironmentFile=-/etc/cdktr/${role}.env`,
      `ExecStart=${program} start ${role}`,
      "WantedBy=multi-user.target",
    ]) {
      expect(text.split("\n")).toContain(line);
    }
  });
});

// An agent runs other people's programs, which must be able to do their work.
for (const [role, most] of [
  ["principal", 3],
  ["listeners", 3],
  ["agent", 6],
] as const) {
  test.skipIf(noSystemd)(`the ${role} is closed to what it does not need`, async () => {
    const path = join(directory, unitName({ role, user: false }));
    writeFileSync(path, await dryRun(role));
    const { output } = analyze("security", "--offline=true", path);
    const exposure = Number(/Overall exposure level for \S+: ([\d.]+)/.exec(output)?.[1]);
    expect(exposure).toBeLessThan(most);
  });
}

test("pauses grow where systemd can", () => {
  const options = {
    role: "agent",
    user: false,
    program: ["/usr/bin/cdktr"],
    args: ["--label", 'a="b" $c 100%'],
    directory: "/srv",
    runAs: "cdktr",
    environmentFile: "/etc/cdktr/agent.env",
  } as const;
  expect(unitText({ ...options, systemdVersion: 255 })).toContain("RestartMaxDelaySec=60\n");
  expect(unitText({ ...options, systemdVersion: 252 })).not.toContain("RestartSteps=");
  expect(unitText(options)).toContain('start agent --label "a=\\"b\\" $$c 100%%"\n');
  expect(unitText({ ...options, user: true })).not.toContain("User=");
});

test("a unit with tasks leaves it to the agent how long they may take", async () => {
  for (const args of [["agent"], ["principal", "--", "--with-agent"]]) {
    const text = await dryRun(args[0] ?? "", ...args.slice(1));
    expect(text).toContain("TimeoutStopSec=60\n");
    expect(text).toContain("CDKTR_AGENT_STOP_GRACE_S");
  }
  expect(await dryRun("principal")).not.toContain("CDKTR_AGENT_STOP_GRACE_S");
});

test("a second agent has a unit, settings and an id of its own", async () => {
  const text = await dryRun("agent", "--name", "gpu", "--", "--label", "gpu=a100");
  expect(text).toContain(`ExecStart=${program} start agent --suffix gpu --label gpu=a100\n`);
  expect(text).toContain("EnvironmentFile=-/etc/cdktr/agent-gpu.env\n");
  expect(unitName({ role: "agent", name: "gpu", user: false })).toBe("cdktr-agent-gpu.service");
  for (const [role, name] of [
    ["principal", "b"],
    ["agent", "../b"],
  ] as const) {
    expect((await cdktr(["service", "install", role, "--name", name, "--dry-run"])).code).toBe(2);
  }
});

test("another user has its own directories: systemd assigns them to the user of the service", async () => {
  const text = await dryRun("agent", "--run-as", "deploy");
  expect(text).toContain("User=deploy\nStateDirectory=cdktr-deploy\n");
  expect(text).toContain("WorkingDirectory=/var/lib/cdktr-deploy\n");
});

test("an edited unit is distinguished from an unedited one", async () => {
  const text = await dryRun("agent");
  expect(isEdited(text)).toBe(false);
  const edited = text.replace("WatchdogSec=60", "WatchdogSec=5");
  expect(isEdited(edited)).toBe(true);
  expect(isEdited("[Service]\n")).toBe(true);
  expect(differences(edited, text)).toEqual(["- WatchdogSec=5", "+ WatchdogSec=60"]);
});

test("a unit remembers what was chosen for it", async () => {
  const chosen = { args: ["--label", "a=b c\n{}"], directory: "/srv/50%", runAs: "deploy" };
  const text = await dryRun(
    "agent",
    "--run-as",
    chosen.runAs,
    "--directory",
    chosen.directory,
    "--",
    ...chosen.args,
  );
  expect(choicesOf(text)).toEqual(chosen);
  expect(choicesOf("# Made with: {}\n")).toBeUndefined();
  expect(choicesOf("[Service]\n")).toBeUndefined();
});

test("a join token is never written into a unit", async () => {
  const { code, stdout, stderr } = await cdktr([
    "service",
    "install",
    "agent",
    "--join",
    "SECRET",
    "--dry-run",
  ]);
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toContain("--join-only");
  expect(stderr).not.toContain("SECRET");
});

const elsewhere = test.skipIf(existsSync("/run/systemd/system"));

elsewhere(
  "the line for cron that it says instead starts an agent once, and again when it has died",
  async () => {
    await using cluster = await startCluster();
    // The home of cron's user, with the settings in .env.
    const home = join(directory, "cron user's 100%");
    mkdirSync(home);
    const { CDKTR_WORKFLOW_DIR: _, ...settings } = cluster.env;
    const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}\n`);
    writeFileSync(join(home, ".env"), lines.join(""));
    const { code, stderr } = await cdktr(["service", "install", "agent"], { cwd: home });
    expect(code).toBe(1);
    const line = /^ *\* \* \* \* \* (.+)$/m.exec(stderr)?.[1] ?? "";
    expect(line).toContain("start agent");
    // What cron does: `\\%` is a percent sign, a shell gets the rest, with little in its environment.
    const cron = () =>
      Bun.spawn(["sh", "-c", line.replaceAll("\\%", "%")], {
        cwd: "/",
        env: { HOME: home, PATH: "/usr/bin:/bin", ...cache() },
        stdout: "inherit",
        stderr: "inherit",
      });
    const agents = async () =>
      (await cluster.client.registeredAgents()).filter(({ status }) => status === "UP");
    const agentProcesses = () =>
      processesWith(`PWD=${home}`).filter(
        (pid) =>
          readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("start\0agent") &&
          readFileSync(`/proc/${pid}/comm`, "utf8") !== "flock\n",
      );
    const log = join(home, "cdktr-agent.log");
    // The principal knows that it is registered before the agent does.
    const registrations = () =>
      existsSync(log) ? (readFileSync(log, "utf8").match(/is registered/g) ?? []).length : 0;
    const first = cron();
    await until("the agent is there", async () => (await agents()).length === 1 && registrations() === 1);
    expect(await cron().exited).toBe(1);
    expect(await agents()).toHaveLength(1);
    for (const pid of agentProcesses()) process.kill(pid, "SIGKILL");
    await first.exited;
    const again = cron();
    await until("it is there again", () => registrations() === 2);
    for (const pid of agentProcesses()) process.kill(pid, "SIGTERM");
    await again.exited;
    expect(readFileSync(log, "utf8")).toContain("has stopped");
  },
  60_000,
);

elsewhere("without systemd it says what to do instead", async () => {
  for (const args of [["install", "agent"], ["uninstall", "agent"], ["status"], ["logs", "agent"]]) {
    const { code, stderr } = await cdktr(["service", ...args]);
    expect(code).toBe(1);
    expect(stderr).toContain("not managed by systemd");
    expect(stderr).toContain("--dry-run");
  }
});

test("values with special characters cannot inject anything into a unit", async () => {
  for (const args of [
    ["--run-as", "cdktr\nExecStartPre=+/bin/true"],
    ["--directory", "/srv\nUser=root"],
  ]) {
    const { code, stdout } = await cdktr(["service", "install", "agent", "--dry-run", ...args]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  }
  const text = await dryRun("agent", "--", "--label", "a=b\nUser=root");
  expect(text).toContain('--label "a=b\\nUser=root"\n');
});

test("an unknown service is a usage error", async () => {
  const { code, stderr } = await cdktr(["service", "install", "database", "--dry-run"]);
  expect(code).toBe(2);
  expect(stderr).toContain("principal, agent, listeners");
});
