/** Services on a machine with a real systemd, installed and managed as an operator would. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { ensureUv } from "../../scripts/support/tools.ts";
import type { Finished } from "../support/cdktr.ts";
import { skipWithout } from "../support/debian.ts";
import { BINARY, gate, shellWorkflow, until } from "./support/fixtures.ts";
import { type Machine, machineOrWhyNot } from "./systemd/machine.ts";

const WORKFLOWS = "/etc/cdktr/workflows";
const found = await machineOrWhyNot();

describe.skipIf(skipWithout(typeof found === "string" ? found : undefined))("a host with systemd", () => {
  let machine: Machine;

  beforeAll(async () => {
    if (typeof found === "string") throw new Error(found);
    machine = found;
    machine.install(BINARY, "/usr/local/bin/cdktr");
    machine.install(join(await ensureUv(() => {}), "uv"), "/usr/local/bin/uv");
  });
  afterAll(async () => {
    if (typeof found !== "string") await found[Symbol.asyncDispose]();
  });

  const cdktr = (...args: string[]) => machine.run(["cdktr", ...args]);
  const service = (...args: string[]) => cdktr("service", ...args);

  /** Starts a run and does not wait for it. */
  async function begin(workflow: string): Promise<string> {
    return JSON.parse(await machine.out("cdktr", "run", workflow, "--json")).workflow_instance_id;
  }

  async function finished(run: string): Promise<{ status: string; attempt: number }> {
    return until(`run ${run} is over`, async () => {
      const { status, attempt } = JSON.parse(await machine.out("cdktr", "runs", "show", run, "--json"));
      return ["COMPLETED", "FAILED", "CANCELLED", "CRASHED"].includes(status) && { status, attempt };
    });
  }

  function workflow(name: string, text: string): Promise<unknown> {
    machine.write(`${WORKFLOWS}/${name}.yml`, text);
    return until(`${name} is loaded`, async () => (await cdktr("workflow", "show", name)).code === 0);
  }

  /** A drop-in, as `systemctl edit` makes it. */
  async function dropIn(unit: string, text: string): Promise<void> {
    machine.write(`/etc/systemd/system/${unit}.service.d/test.conf`, text);
    await machine.out("systemctl", "daemon-reload");
  }

  const isThere = (path: string) => existsSync(machine.path(path));

  test("install: made, enabled, and ready when the command returns", async () => {
    const principal = await service("install", "principal");
    expect(principal).toMatchObject({ code: 0, stdout: "" });
    expect(principal.stderr).toMatch(/Security: \d\.\d OK/);
    expect(principal.stderr).toContain("keys init --data-dir /var/lib/cdktr");
    expect(principal.stderr).toContain(`Workflows: ${WORKFLOWS}`);
    // Whoever comes now is answered at once: it was waited for.
    expect(JSON.parse(await machine.out("cdktr", "workflow", "list", "--json"))).toEqual([]);
    for (const role of ["agent", "listeners"]) {
      const { code, stderr } = await service("install", role);
      expect({ code, stderr }).toMatchObject({
        code: 0,
        stderr: expect.stringContaining("principal at 127.0.0.1:5561"),
      });
      expect(stderr).not.toContain("looks for");
    }
    for (const role of ["principal", "agent", "listeners"]) {
      expect(await machine.out("systemctl", "is-active", `cdktr-${role}`)).toBe("active");
      expect(statSync(machine.path(`/etc/cdktr/${role}.env`))).toMatchObject({ mode: 0o100600, uid: 0 });
    }
    const data = statSync(machine.path("/var/lib/cdktr"));
    expect(data.mode & 0o777).toBe(0o700);
    expect(data.uid).not.toBe(0);
  });

  test("status and logs tell how they are; the journal knows what is a warning", async () => {
    const states = await until("the listeners have found the principal", async () => {
      const { code, stdout } = await service("status", "--json");
      return code === 0 && !stdout.includes("looks for") && JSON.parse(stdout);
    });
    expect(states).toMatchObject([
      {
        role: "principal",
        state: "active",
        enabled: "enabled",
        status: expect.stringContaining("port 5561"),
      },
      {
        role: "agent",
        state: "active",
        enabled: "enabled",
        status: expect.stringContaining("0 runs of at most"),
      },
      { role: "listeners", state: "active", enabled: "enabled" },
    ]);
    machine.write(`${WORKFLOWS}/broken.yml`, "name: [");
    await until("the principal complains", async () =>
      (await machine.out("journalctl", "-u", "cdktr-principal", "-p", "warning", "--output=cat")).includes(
        "broken.yml",
      ),
    );
    const warnings = await machine.out(
      "journalctl",
      "-u",
      "cdktr-principal",
      "-p",
      "warning",
      "--output=cat",
    );
    expect(warnings).not.toContain("INFO");
    expect((await service("logs", "principal")).stdout).toContain("Principal ready at 127.0.0.1:5561");
    await machine.out("rm", `${WORKFLOWS}/broken.yml`);
  });

  test("a task works under the unit, and everything that it does not need is inaccessible", async () => {
    const allowed = {
      home: 'echo x >"$HOME/from-task"',
      directory: "echo x >here",
      tmp: 'd=$(mktemp -d) && rmdir "$d"',
      // Two programs and a connection between them.
      network:
        "python3 -m http.server 8123 --bind 127.0.0.1 & p=$!; for i in $(seq 50); do python3 -c \"import urllib.request as r; r.urlopen('http://127.0.0.1:8123')\" 2>/dev/null && break; sleep 0.1; done; s=$?; kill $p; exit $s",
      device: "head -c 1 /dev/urandom >/dev/null",
    };
    const forbidden = {
      // By the unit, and not only by the rights of files.
      usr: "touch /usr/local/bin/mine 2>&1 | grep 'Read-only'",
      etc: "touch /etc/cdktr/workflows/mine.yml 2>&1 | grep 'Read-only'",
      settings: "! cat /etc/cdktr/agent.env",
      rights: "grep -q '^NoNewPrivs:\\s*1' /proc/self/status",
      notify: "! env | grep -E '^(NOTIFY|WATCHDOG)_'",
    };
    const tasks = Object.entries({ ...allowed, ...forbidden }).map(([id, sh]) => [id, { sh }] as const);
    await workflow("work", shellWorkflow(Object.fromEntries(tasks)));
    // A package without a registry: the machine has no network.
    machine.write("/srv/wheel.py", WHEEL);
    machine.write("/srv/script.py", "import greeting\nprint(greeting.WORDS)\n");
    await machine.out("/usr/bin/python3", "/srv/wheel.py");
    await workflow("python", UV_WORKFLOW);
    for (const id of ["work", "python"]) {
      const { code, stdout, stderr } = await cdktr("run", id, "--wait", "--json");
      const { status, tasks: ran } = JSON.parse(stdout);
      const bad = ran.filter((task: { status: string }) => task.status !== "COMPLETED");
      const logs = bad.length > 0 ? (await cdktr("logs", "query", "--workflow", id)).stdout : "";
      expect({ code, status, bad, logs, stderr }).toMatchObject({ code: 0, status: "COMPLETED", bad: [] });
    }
    expect((await cdktr("logs", "query", "--workflow", "python")).stdout).toContain("hello from a wheel");
    expect(isThere("/var/lib/cdktr/.cache/uv")).toBe(true);
    // The principal prepares copies of the history, which its client fetches.
    for (const args of [
      ["backup", "/root/copy.duckdb"],
      ["export", "/root/parquet"],
    ]) {
      expect(await cdktr("db", ...args)).toMatchObject({ code: 0 });
    }
  });

  test("tasks may gain rights again by a drop-in with the lines that the unit names", async () => {
    const unit = await machine.out("cat", "/etc/systemd/system/cdktr-agent.service");
    const block = unit
      .slice(unit.indexOf("\nProtectSystem=full"), unit.indexOf("[Install]"))
      .trim()
      .split("\n");
    const lines = ["NoNewPrivileges=yes", ...block.slice(2)].map((line) =>
      line.replace(/=yes$/, "=no").replace(/=$/, "=~"),
    );
    await dropIn("cdktr-agent", `[Service]\n${lines.join("\n")}\n`);
    await machine.out("systemctl", "restart", "cdktr-agent");
    // One of them is enough to forbid it.
    await workflow("rights", shellWorkflow({ only: { sh: "grep '^NoNewPrivs:\\s*0' /proc/self/status" } }));
    expect((await cdktr("run", "rights", "--wait")).code).toBe(0);
    await dropIn("cdktr-agent", `[Service]\n${lines.slice(0, -1).join("\n")}\n`);
    await machine.out("systemctl", "restart", "cdktr-agent");
    expect((await cdktr("run", "rights", "--wait")).code).toBe(1);
    await machine.out("rm", "/etc/systemd/system/cdktr-agent.service.d/test.conf");
    await machine.out("systemctl", "daemon-reload");
    await machine.out("systemctl", "restart", "cdktr-agent");
  });

  test("the principal and the listeners write their data and nothing else", async () => {
    for (const role of ["principal", "listeners"]) {
      const pid = await machine.property(`cdktr-${role}`, "MainPID");
      const inside = (...command: string[]) =>
        machine.run([
          "nsenter",
          "--target",
          pid,
          "--mount",
          "--",
          "runuser",
          "-u",
          "cdktr",
          "--",
          ...command,
        ]);
      expect((await inside("touch", "/var/lib/cdktr/mine")).code).toBe(0);
      for (const path of ["/tmp/mine", "/var/tmp/mine", "/etc/mine", "/home/mine"]) {
        expect((await inside("touch", path)).stderr).toContain("Read-only");
      }
      const status = await machine.out("cat", `/proc/${pid}/status`);
      expect(status).toMatch(/^CapBnd:\s*0{16}$/m);
      expect(status).toMatch(/^NoNewPrivs:\s*1$/m);
      expect(status).toMatch(/^Seccomp:\s*2$/m);
    }
  });

  test("files that are watched may be in /tmp and below /home", async () => {
    await machine.out("sh", "-c", "useradd --create-home bob; install -d -m 755 /home/bob/inbox /tmp/inbox");
    for (const [id, directory] of [
      ["tmp", "/tmp/inbox"],
      ["home", "/home/bob/inbox"],
    ] as const) {
      await machine.out("chmod", "755", "/home/bob");
      await workflow(
        `on-${id}`,
        shellWorkflow({ only: { sh: "true" } }, `on: { file: { glob: "${directory}/*" } }\n`),
      );
      const log = () => machine.out("journalctl", "-u", "cdktr-principal", "--output=cat");
      await until("it is watched", async () => (await log()).includes(`Watching ${directory}`));
      machine.write(`${directory}/news`, "x");
      await until("the file is a run", async () => {
        const runs = JSON.parse(await machine.out("cdktr", "runs", "list", "--json"));
        return runs.some((run: { workflow_id: string; status: string }) => run.workflow_id === `on-${id}`);
      });
      await machine.out("rm", `${WORKFLOWS}/on-${id}.yml`);
    }
  });

  test("stop waits for a run, longer than the unit says; restart hands over what does not finish", async () => {
    // One second, were it not for the time that the agent asks for.
    await dropIn("cdktr-agent", "[Service]\nTimeoutStopSec=1\nRestartSec=1\n");
    const go = "/var/lib/cdktr/go";
    const waits = `until [ -e ${go} ]; do sleep 0.1; done`;
    await workflow("short", shellWorkflow({ only: { sh: `echo begun; ${waits}; sleep 2; echo done` } }));
    const short = await begin("short");
    await until("it runs", async () => (await machine.processes("cdktr-agent")).length > 1);
    const stopped = machine.out("systemctl", "stop", "cdktr-agent");
    await until(
      "it is asked to stop",
      async () => (await machine.property("cdktr-agent", "ActiveState")) === "deactivating",
    );
    // From now on it takes two more seconds.
    machine.write(go, "");
    await stopped;
    expect(await machine.property("cdktr-agent", "Result")).toBe("success");
    expect(await finished(short)).toEqual({ status: "COMPLETED", attempt: 1 });

    machine.write("/etc/cdktr/agent.env", "CDKTR_AGENT_STOP_GRACE_S=1\n", 0o600);
    await machine.out("systemctl", "start", "cdktr-agent");
    await workflow("long", shellWorkflow({ only: { sh: LONG } }));
    const long = await begin("long");
    await until("it runs", async () => (await machine.processes("cdktr-agent")).length > 1);
    await machine.out("systemctl", "restart", "cdktr-agent");
    expect(await finished(long)).toEqual({ status: "COMPLETED", attempt: 2 });
  });

  test("stop leaves no process behind, not even one that left its group", async () => {
    await workflow(
      "stray",
      // Nor one that does not bear the mark by which the agent would find it.
      shellWorkflow({ only: { sh: `setsid env -i sleep 1111 & ${gate("/tmp/never")}` } }),
    );
    const run = await begin("stray");
    await until("both are there", async () => (await machine.run(["pgrep", "-f", "sleep 1111"])).code === 0);
    await machine.out("systemctl", "stop", "cdktr-agent");
    expect(await machine.processes("cdktr-agent")).toEqual([]);
    expect((await machine.run(["pgrep", "-f", "sleep 1111"])).code).toBe(1);
    await cdktr("runs", "cancel", run);
    await machine.out("systemctl", "start", "cdktr-agent");
  });

  test("a killed one is restarted after a pause, and so is a blocked one", async () => {
    const roles = ["principal", "agent", "listeners"];
    for (const role of roles) await dropIn(`cdktr-${role}`, "[Service]\nWatchdogSec=2\nRestartSec=500ms\n");
    await machine.out("systemctl", "restart", ...roles.map((role) => `cdktr-${role}`));
    const pids = await Promise.all(roles.map((role) => machine.property(`cdktr-${role}`, "MainPID")));
    const isBack = (role: string, restarts: number) =>
      until(`${role} is back`, async () => {
        const count = Number(await machine.property(`cdktr-${role}`, "NRestarts"));
        return count >= restarts && (await machine.property(`cdktr-${role}`, "ActiveState")) === "active";
      });

    await machine.out("kill", "-KILL", ...pids);
    await Promise.all(roles.map((role) => isBack(role, 1)));
    for (const role of roles) {
      const text = await machine.out(
        "journalctl",
        "-u",
        `cdktr-${role}`,
        "-o",
        "json",
        "--output-fields=MESSAGE",
      );
      const entries = text.split("\n").map((line) => JSON.parse(line));
      const exit = entries.findIndex(({ MESSAGE }) =>
        /Main process exited, code=killed, status=9/.test(MESSAGE),
      );
      const start = entries.slice(exit).find(({ MESSAGE }) => /Scheduled restart job/.test(MESSAGE));
      const pause = Number(start?.__MONOTONIC_TIMESTAMP) - Number(entries[exit]?.__MONOTONIC_TIMESTAMP);
      expect(pause).toBeGreaterThan(450_000);
    }

    const again = await Promise.all(roles.map((role) => machine.property(`cdktr-${role}`, "MainPID")));
    await machine.out("kill", "-STOP", ...again);
    await Promise.all(roles.map((role) => isBack(role, 2)));
    for (const role of roles) {
      expect(await machine.out("journalctl", "-u", `cdktr-${role}`, "--output=cat")).toContain(
        "Watchdog timeout",
      );
    }
    expect((await cdktr("run", "short", "--wait")).code).toBe(0);
  });

  test("a setting that does not parse is told at once, and is not tried again and again", async () => {
    machine.write("/etc/cdktr/listeners.env", "CDKTR_WEBHOOK_PORT=none\n", 0o600);
    const { code, stderr } = await service("install", "listeners");
    expect(code).toBe(1);
    expect(stderr).toContain('CDKTR_WEBHOOK_PORT="none" (environment) is not valid');
    expect(stderr).toContain("/etc/cdktr/listeners.env");
    const [state] = JSON.parse((await service("status", "listeners", "--json")).stdout);
    expect(state).toMatchObject({ state: "failed", result: "exit-code" });
    machine.write("/etc/cdktr/listeners.env", "CDKTR_WEBHOOK_PORT=5999\n", 0o600);
    expect(await service("install", "listeners")).toMatchObject({ code: 0 });
  });

  test("manual changes are not lost by reinstalling", async () => {
    const unit = "/etc/systemd/system/cdktr-listeners.service";
    const same = await service("install", "listeners", "--", "--port", "6001");
    expect(same.stderr).toContain("start listeners --port 6001\n");
    expect(same.stderr).toContain(`${unit}.d/test.conf (kept)`);
    await machine.out("sed", "-i", "s/^WatchdogSec=60/WatchdogSec=33/", unit);
    const refused = await service("install", "listeners");
    expect(refused).toMatchObject({ code: 1, stdout: "" });
    expect(refused.stderr).toContain("was edited");
    const forced = (await service("install", "listeners", "--force")).stderr;
    expect(forced).toContain("- WatchdogSec=33");
    expect(forced).toContain("Arguments: --port 6001 (kept");
    expect(await machine.out("grep", "-c", "start listeners --port 6001$", unit)).toBe("1");
    expect((await service("install", "listeners", "--fresh")).stderr).toContain("- ExecStart");
    expect(await machine.out("grep", "-c", "start listeners$", unit)).toBe("1");
    expect(await machine.out("grep", "-c", "WatchdogSec=33", `${unit}.before`)).toBe("1");
  });

  test("after a reboot everything is back", async () => {
    await machine.reboot();
    for (const unit of ["cdktr-principal", "cdktr-agent", "cdktr-listeners"]) {
      expect({ unit, state: (await machine.run(["systemctl", "is-active", unit])).stdout.trim() }).toEqual({
        unit,
        state: "active",
      });
    }
  });

  test("a secured principal, and a second agent that joins with a token that never becomes visible", async () => {
    const asService = (...args: string[]): Promise<Finished> =>
      machine.run(["cdktr", ...args], {
        user: "cdktr",
        env: { HOME: "/var/lib/cdktr", CDKTR_APP_DATA_DIRECTORY: "/var/lib/cdktr" },
      });
    expect((await asService("keys", "init")).code).toBe(0);
    expect((await service("install", "principal")).stderr).toContain("only known keys are accepted");
    const token = (await asService("join-token", "create", "--address", "127.0.0.1:5561")).stdout.trim();
    const wrong = await machine.run(
      ["cdktr", "service", "install", "agent", "--name", "two", "--join", "-"],
      {
        stdin: `${token.slice(0, -4)}AAAA`,
      },
    );
    expect(wrong.code).toBe(1);
    expect(isThere("/etc/systemd/system/cdktr-agent-two.service")).toBe(false);
    const joined = await machine.run(
      ["cdktr", "service", "install", "agent", "--name", "two", "--join", "-"],
      {
        stdin: token,
      },
    );
    expect(joined).toMatchObject({ code: 0 });
    expect(joined.stderr).toContain("Joined the principal at 127.0.0.1:5561");
    const agents = await until("it is there", async () => {
      const { stdout } = await asService("agents", "list", "--json");
      return stdout.includes("-two") && JSON.parse(stdout);
    });
    expect(agents).toContainEqual(
      expect.objectContaining({ status: "UP", agent_id: expect.stringMatching(/-two$/) }),
    );
    const key = statSync(machine.path("/var/lib/cdktr/keys/agent.key"));
    expect(key.mode & 0o777).toBe(0o600);
    expect(key.uid).toBe(statSync(machine.path("/var/lib/cdktr")).uid);
    const seen = [
      await machine.out("cat", "/etc/systemd/system/cdktr-agent-two.service", "/etc/cdktr/agent-two.env"),
      await machine.out("journalctl", "--output=cat"),
      await machine.out("ps", "-eo", "args"),
    ];
    for (const text of seen) expect(text).not.toContain(token.slice(8));
    const names = JSON.parse((await service("status", "--json")).stdout).map(
      (state: { unit: string }) => state.unit,
    );
    expect(names).toContain("cdktr-agent-two.service");
  });

  test("a user's own service runs without root, and without a login", async () => {
    await machine.out("useradd", "--create-home", "--shell", "/bin/bash", "alice");
    await machine.out("loginctl", "enable-linger", "alice");
    const uid = await machine.out("id", "-u", "alice");
    const options = {
      user: "alice",
      env: { HOME: "/home/alice", USER: "alice", XDG_RUNTIME_DIR: `/run/user/${uid}` },
    };
    await until("her systemd is up", async () =>
      (await machine.run(["systemctl", "--user", "is-system-running"], options)).stdout.startsWith("running"),
    );
    machine.write("/home/alice/.config/cdktr/principal.env", PORTS);
    machine.write("/home/alice/workflows/long.yml", shellWorkflow({ only: { sh: LONG } }));
    await machine.out("chown", "-R", "alice:", "/home/alice");
    const installed = await machine.run(
      ["sh", "-c", "cd && cdktr service install principal --user -- --with-agent"],
      options,
    );
    expect(installed).toMatchObject({ code: 0 });
    expect(installed.stderr).not.toContain("enable-linger");
    expect(isThere("/home/alice/.cdktr")).toBe(true);
    const status = await machine.run(["cdktr", "service", "status", "principal", "--user"], options);
    expect(status).toMatchObject({ code: 0, stdout: expect.stringContaining("listening on port 7001") });
    // What its agent does not finish is waited for, handed over, and taken up by the next one.
    const home = (command: string) =>
      machine.run(["sh", "-c", `cd && set -a && . .config/cdktr/principal.env && ${command}`], options);
    expect((await home("cdktr run long --json")).code).toBe(0);
    await until("it runs", async () => (await machine.run(["pgrep", "-u", "alice", "sleep"])).code === 0);
    expect(await machine.run(["systemctl", "--user", "restart", "cdktr-principal"], options)).toMatchObject({
      code: 0,
    });
    await until("the second attempt is over", async () =>
      /"status":"COMPLETED".*"attempt":2/.test((await home("cdktr runs list --json")).stdout),
    );
    const logs = await machine.run(["cdktr", "service", "logs", "principal", "--user"], options);
    expect(logs.stdout).toContain("Principal ready");
    const removed = await machine.run(["cdktr", "service", "uninstall", "principal", "--user"], options);
    expect(removed).toMatchObject({ code: 0 });
    expect(isThere("/home/alice/.cdktr")).toBe(true);
    const lacking = await machine.run(["cdktr", "service", "status", "--user"], { user: "alice" });
    expect(lacking).toMatchObject({ code: 1, stderr: expect.stringContaining("XDG_RUNTIME_DIR") });
  });

  test("uninstall takes the units and leaves the data", async () => {
    for (const args of [["agent", "--name", "two"], ["agent"], ["listeners"], ["principal"]]) {
      const { code, stderr } = await service("uninstall", ...args);
      expect({ code, stderr }).toMatchObject({ code: 0, stderr: expect.stringContaining("/var/lib/cdktr") });
    }
    expect(
      await machine.out(
        "sh",
        "-c",
        "ls /etc/systemd/system/cdktr-*.service /proc/*/exe -l | grep -c cdktr || true",
      ),
    ).toBe("0");
    expect(isThere("/var/lib/cdktr/app.db")).toBe(true);
    expect(isThere("/etc/cdktr/principal.env")).toBe(true);
    expect((await service("uninstall", "agent")).code).toBe(4);
    expect((await service("status", "--json")).code).toBe(0);
  });
});

/** Its first attempt has no end. */
const LONG = '[ "$CDKTR_RUN_ATTEMPT" = 2 ] || sleep 1000';

const PORTS = [
  "CDKTR_AGENT_STOP_GRACE_S=1",
  "CDKTR_PRINCIPAL_PORT=7001",
  "CDKTR_LOGS_LISTENING_PORT=7002",
  "CDKTR_LOGS_PUBLISHING_PORT=7003",
  "CDKTR_WEBHOOK_PORT=7004",
  "CDKTR_METRICS_PORT=7005",
  "",
].join("\n");

/** A wheel is a zip archive with a module and three files about it (PEP 427). */
const WHEEL = `
import zipfile
with zipfile.ZipFile("/srv/greeting-1-py3-none-any.whl", "w") as wheel:
    wheel.writestr("greeting.py", "WORDS = 'hello from a wheel'\\n")
    about = "greeting-1.dist-info/"
    wheel.writestr(about + "METADATA", "Metadata-Version: 2.1\\nName: greeting\\nVersion: 1\\n")
    wheel.writestr(about + "WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr(about + "RECORD", "greeting.py,,\\n" + "".join(about + name + ",,\\n" for name in ("METADATA", "WHEEL", "RECORD")))
`;

const UV_WORKFLOW = `name: python
tasks:
  hello:
    name: hello
    config: !UvPython
      script_path: /srv/script.py
      packages: ["greeting @ file:///srv/greeting-1-py3-none-any.whl"]
`;
