/** The wizard on a machine with a real systemd: the projects that it writes run as services. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, statSync } from "node:fs";
import { Tmux } from "../../scripts/support/tmux.ts";
import { skipWithout } from "../support/debian.ts";
import { BINARY, until } from "./support/fixtures.ts";
import { type Machine, machineOrWhyNot } from "./systemd/machine.ts";

const found = await machineOrWhyNot();

describe.skipIf(skipWithout(typeof found === "string" ? found : undefined))("a host with systemd", () => {
  let machine: Machine;

  beforeAll(() => {
    if (typeof found === "string") throw new Error(found);
    machine = found;
    machine.install(BINARY, "/usr/local/bin/cdktr");
  });
  afterAll(async () => {
    if (typeof found !== "string") await found[Symbol.asyncDispose]();
  });

  const cdktr = (directory: string, args: string[], options: Parameters<Machine["run"]>[1] = {}) =>
    machine.run(["sh", "-c", 'cd "$1" && shift && exec cdktr "$@"', "sh", directory, ...args], options);

  test("a principal with keys, and an agent that joins it: both are services of the host", async () => {
    const principal = await cdktr("/", [
      "init",
      "/srv/p",
      "--yes",
      "--host",
      "0.0.0.0",
      "--no-agent",
      "--service",
      "--join-token",
    ]);
    expect(principal).toMatchObject({ code: 0 });
    expect(principal.stderr).toMatch(/\* service: cdktr-principal\.service, run as cdktr/);
    expect(await machine.out("systemctl", "is-active", "cdktr-principal")).toBe("active");
    expect(await machine.out("systemctl", "is-enabled", "cdktr-principal")).toBe("enabled");
    // Its keys are where the unit looks for them, and are the service's own.
    const key = statSync(machine.path("/var/lib/cdktr/keys/principal.key"));
    expect(key.mode & 0o777).toBe(0o600);
    expect(key.uid).toBe(Number(await machine.out("id", "-u", "cdktr")));
    expect(existsSync(machine.path("/srv/p/.cdktr/keys"))).toBe(false);
    expect(readFileSync(machine.path("/srv/p/.env"), "utf8")).toContain(
      "CDKTR_APP_DATA_DIRECTORY=/var/lib/cdktr\n",
    );

    const token = principal.stdout.trim();
    const agent = await cdktr(
      "/",
      ["init", "/srv/a", "--yes", "--join", "-", "--label", "zone=b", "--service"],
      { stdin: token },
    );
    expect(agent).toMatchObject({ code: 0 });
    expect(`${agent.stdout}${agent.stderr}`).not.toContain(token);
    expect(await machine.out("systemctl", "is-active", "cdktr-agent")).toBe("active");

    // The commands that the last lines named, where they said.
    expect(principal.stderr).toMatch(
      /cd srv\/p\n[\s\S]*cdktr service status principal\n[\s\S]*cdktr run hello --follow\n/,
    );
    expect(await cdktr("/srv/p", ["service", "status", "principal"])).toMatchObject({ code: 0 });
    const run = await cdktr("/srv/p", ["run", "hello", "--wait", "--json"]);
    expect(JSON.parse(run.stdout)).toMatchObject({ status: "COMPLETED" });
    const agents = JSON.parse((await cdktr("/srv/p", ["agents", "list", "--json"])).stdout);
    expect(agents).toMatchObject([{ status: "UP", labels: { zone: "b" } }]);

    // Once more: the keys stay, nothing else changes, and it still runs.
    const again = await cdktr("/", [
      "init",
      "/srv/p",
      "--yes",
      "--host",
      "0.0.0.0",
      "--no-agent",
      "--service",
      "--json",
    ]);
    expect(again).toMatchObject({ code: 0 });
    const { files, actions } = JSON.parse(again.stdout);
    expect(new Set(files.map(({ action }: { action: string }) => action))).toEqual(new Set(["unchanged"]));
    expect(actions[0]).toMatch(/stay in use/);
    expect(await machine.out("systemctl", "is-active", "cdktr-principal")).toBe("active");
  });

  test("the jobs of a crontab run as their user, who may read them", async () => {
    await machine.out("useradd", "--create-home", "bob");
    machine.write("/root/jobs", "0 3 * * * bob id -un >mine\n0 4 * * * root ls\n");
    const init = [
      "init",
      "/srv/jobs",
      "--yes",
      "--port",
      "7301",
      "--import-crontab",
      "/root/jobs",
      "--crontab-user",
      "bob",
      "--service",
    ];
    const wrong = await cdktr("/", [...init, "--run-as", "cdktr"]);
    expect(wrong).toMatchObject({ code: 2, stderr: expect.stringContaining("--run-as bob") });
    await cdktr("/", ["service", "uninstall", "agent"]);
    await cdktr("/", ["service", "uninstall", "principal"]);
    const written = await cdktr("/", [...init, "--json"]);
    expect(written).toMatchObject({ code: 0 });
    expect(JSON.parse(written.stdout).crontab.not_translated).toMatchObject([{ line: 2 }]);
    expect(JSON.parse((await cdktr("/srv/jobs", ["run", "cron.id", "--wait", "--json"])).stdout).status).toBe(
      "COMPLETED",
    );
    expect(await machine.out("cat", "/home/bob/mine")).toBe("bob");
    await cdktr("/", ["service", "uninstall", "principal"]);
  });

  test("impossible combinations are refused before anything is written", async () => {
    const closed = await cdktr("/", ["init", "/root/p", "--yes", "--service"]);
    expect(closed).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("cdktr, who has no access to /root"),
    });
    expect(existsSync(machine.path("/root/p"))).toBe(false);
    await machine.out("useradd", "--create-home", "eve");
    const notRoot = await cdktr("/home/eve", ["init", "p", "--yes", "--service"], {
      user: "eve",
      env: { HOME: "/home/eve" },
    });
    expect(notRoot).toMatchObject({ code: 2, stderr: expect.stringContaining("Only root can") });
    expect(existsSync(machine.path("/home/eve/p"))).toBe(false);
  });

  test("asked on a terminal: a service, and whom it runs as", async () => {
    const pid = /^\/proc\/(\d+)\//.exec(machine.path("/"))?.[1] ?? "";
    using tmux = new Tmux({ width: 80, height: 24 });
    const answer = async (question: RegExp, ...keys: string[]) => {
      // The one that is open is the last, and has no answer yet.
      await tmux.waitFor((screen) => {
        const at = screen.lastIndexOf("◆");
        return at !== -1 && question.test(screen.slice(at)) && screen.slice(at).includes("\n└");
      });
      tmux.keys(...keys);
    };
    const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    tmux.type(
      `nsenter --target ${pid} --all -- env -i ${path} HOME=/root LANG=C.UTF-8 TERM=$TERM PS1='m$ ' bash --norc`,
    );
    tmux.keys("Enter");
    await tmux.waitFor(/^m\$ ?$/m);
    tmux.type("cd /root; clear; cdktr init /root/d");
    tmux.keys("Enter");
    await answer(/What do you want to set up/, "Enter");
    await answer(/Directory of the workflow files/, "Enter");
    await answer(/Three ports/, "Enter");
    await answer(/Create keys/, "Enter");
    await answer(/Import a crontab/, "Enter");
    await answer(/example workflow/, "Enter");
    await answer(/Install a service, started now and at each boot/, "Left", "Enter");
    await answer(/Which user should it run as/, "Enter");
    // What was not known before is said, and the answers can be mended.
    await answer(/Change the answers/, "Enter");
    expect(tmux.screen()).toContain("cdktr, who has no access to /root");
    await answer(/What do you want to set up/, "Enter");
    await answer(/Directory of the workflow files/, "Enter");
    await answer(/Three ports/, "Enter");
    await answer(/Create keys/, "Enter");
    await answer(/Import a crontab/, "Enter");
    await answer(/example workflow/, "Enter");
    await answer(/Install a service/, "Enter");
    await answer(/Which user should it run as/, "C-u", "r", "o", "o", "t", "Enter");
    await answer(/Write it/, "Enter");
    await tmux.waitFor(/└ {2}The manual/);
    expect(await machine.out("systemctl", "is-active", "cdktr-principal")).toBe("active");
    const run = await cdktr("/root/d", ["run", "hello", "--wait", "--json"]);
    expect(JSON.parse(run.stdout)).toMatchObject({ status: "COMPLETED" });
    await cdktr("/", ["service", "uninstall", "principal"]);
  });

  test("a service of a user, without root", async () => {
    await machine.out("useradd", "--create-home", "alice");
    await machine.out("loginctl", "enable-linger", "alice");
    const uid = await machine.out("id", "-u", "alice");
    const options = {
      user: "alice",
      env: { HOME: "/home/alice", USER: "alice", XDG_RUNTIME_DIR: `/run/user/${uid}` },
    };
    await until("her systemd is up", async () =>
      (await machine.run(["systemctl", "--user", "is-system-running"], options)).stdout.startsWith("running"),
    );
    const made = await cdktr(
      "/home/alice",
      ["init", "p", "--yes", "--keys", "--port", "7401", "--service", "--user"],
      options,
    );
    expect(made).toMatchObject({ code: 0 });
    expect(statSync(machine.path("/home/alice/p/.cdktr/keys/principal.key")).uid).toBe(Number(uid));
    const run = await cdktr("/home/alice/p", ["run", "hello", "--wait", "--json"], options);
    expect(JSON.parse(run.stdout)).toMatchObject({ status: "COMPLETED" });
    // Another answer: the unit is what was said last.
    const unit = () =>
      readFileSync(machine.path("/home/alice/.config/systemd/user/cdktr-principal.service"), "utf8");
    expect(unit()).toMatch(/^ExecStart=.* start principal --with-agent$/m);
    const again = ["init", "p", "--yes", "--kind", "principal", "--no-agent", "--service", "--user"];
    expect(await cdktr("/home/alice", again, options)).toMatchObject({ code: 0 });
    expect(unit()).toMatch(/^ExecStart=.* start principal$/m);
    const status = await cdktr("/home/alice/p", ["service", "status", "principal", "--user"], options);
    expect(status).toMatchObject({ code: 0, stdout: expect.stringContaining("listening on port 7401") });
  });
});
