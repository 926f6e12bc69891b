import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ROLES, unitName, unitText } from "../../src/systemd/unit.ts";
import { cdktr } from "../support/cdktr.ts";

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

function analyze(...args: string[]): { status: number; output: string } {
  const { exitCode, stdout, stderr } = Bun.spawnSync(["systemd-analyze", ...args], {
    env: { ...process.env, SYSTEMD_LOG_LEVEL: "info", XDG_RUNTIME_DIR: directory },
  });
  return { status: exitCode, output: stdout.toString() + stderr.toString() };
}

const hasSystemd = Bun.which("systemd-analyze") !== null;

describe.each([...ROLES])("the unit of the %s", (role) => {
  for (const flags of [[], ["--user"]]) {
    test.skipIf(!hasSystemd)(`is one that systemd understands ${flags.join("")}`, async () => {
      const path = join(directory, unitName(role));
      writeFileSync(path, await dryRun(role, ...flags, "--", "--port", "6000"));
      const { status, output } = analyze(
        "verify",
        "--man=no",
        ...(flags.length > 0 ? flags : ["--system"]),
        path,
      );
      // What systemd says of other units of this host is not ours.
      const ours = output
        .split("\n")
        .filter((line) => line.includes(directory) || line.includes(unitName(role)));
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

test.skipIf(!hasSystemd)("the principal is closed to what it does not need", async () => {
  const path = join(directory, "cdktr-principal.service");
  writeFileSync(path, await dryRun("principal"));
  const { output } = analyze("security", "--offline=true", path);
  const exposure = Number(/Overall exposure level for \S+: ([\d.]+)/.exec(output)?.[1]);
  expect(exposure).toBeLessThan(3);
});

test("pauses grow where systemd can", () => {
  const options = {
    role: "agent",
    user: false,
    program: ["/usr/bin/cdktr"],
    args: ["--label", 'a="b" $c 100%'],
    directory: "/srv",
    runAs: "cdktr",
    environmentFile: "/etc/cdktr/agent.env",
    stopSeconds: 900,
  } as const;
  expect(unitText({ ...options, systemdVersion: 255 })).toContain("RestartMaxDelaySec=60\n");
  expect(unitText({ ...options, systemdVersion: 252 })).not.toContain("RestartSteps=");
  expect(unitText(options)).toContain('start agent --label "a=\\"b\\" $$c 100%%"\n');
  expect(unitText({ ...options, user: true })).not.toContain("User=");
});

test("an agent has time to drain, and so has a principal with one", async () => {
  expect(await dryRun("agent")).toContain("TimeoutStopSec=900\n");
  expect(await dryRun("principal")).toContain("TimeoutStopSec=120\n");
  expect(await dryRun("principal", "--", "--with-agent")).toContain("TimeoutStopSec=900\n");
  expect(await dryRun("agent", "--stop-timeout", "60")).toContain("TimeoutStopSec=60\n");
});

test.skipIf(existsSync("/run/systemd/system"))("without systemd it says what to do instead", async () => {
  for (const args of [["install", "agent"], ["uninstall", "agent"], ["status"], ["logs", "agent"]]) {
    const { code, stderr } = await cdktr(["service", ...args]);
    expect(code).toBe(1);
    expect(stderr).toContain("systemd does not run this host");
    expect(stderr).toContain("--dry-run");
  }
});

test("a service that is none is wrong usage", async () => {
  const { code, stderr } = await cdktr(["service", "install", "database", "--dry-run"]);
  expect(code).toBe(2);
  expect(stderr).toContain("principal, agent");
});
