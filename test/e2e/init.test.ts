/** The wizard as a user sees it: all branches in a real terminal, and then running the projects that it wrote. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { parseEnv } from "node:util";
import { freePorts } from "../../scripts/support/ports.ts";
import { Tmux } from "../../scripts/support/tmux.ts";
import { Random } from "../chaos/random.ts";
import { CDKTR, CdktrProcess, cdktr } from "../support/cdktr.ts";
import { COMPILED, processesWith, TemporaryDirectory, until } from "./support/fixtures.ts";

/** A crontab whose jobs run in a home of the test's. */
const crontabOf = (home: string) => `HOME=${home}
MAILTO=ops@example.org
# Writes the time
17 3 * * 1-5 date > stamp
@reboot /opt/hello
#0 4 * * * echo disabled
`;
let crontab = "";

let directory: TemporaryDirectory;
let tmux: Tmux;
let env: Record<string, string>;

beforeEach(() => {
  directory = new TemporaryDirectory();
  const bin = directory.path("bin");
  mkdirSync(bin);
  mkdirSync(directory.path("home"));
  const [program = "", ...args] = CDKTR;
  if (args.length === 0) symlinkSync(program, join(bin, "cdktr"));
  else writeFileSync(join(bin, "cdktr"), `#!/bin/sh\nexec ${CDKTR.join(" ")} "$@"\n`, { mode: 0o755 });
  // A crontab of this user, as 'crontab -l' would print it.
  writeFileSync(join(bin, "crontab"), `#!/bin/sh\n[ "$1" = -l ] && cat '${directory.path("mine")}'\n`, {
    mode: 0o755,
  });
  crontab = crontabOf(directory.path("home"));
  writeFileSync(directory.path("mine"), crontab);
  env = { HOME: directory.path("home"), PATH: `${bin}:${process.env.PATH}` };
  tmux = new Tmux({ width: 80, height: 24, cwd: directory.root, env });
});
afterEach(() => {
  tmux.stop();
  directory[Symbol.dispose]();
});

/** Types a command into the terminal. */
function enter(line: string): void {
  tmux.type(line);
  tmux.keys("Enter");
}

/** Waits for a question that is open, and answers it. */
async function answer(question: RegExp, ...keys: string[]): Promise<string> {
  const screen = await asked(question);
  tmux.keys(...keys);
  return screen;
}

/** Waits for a question that is open. */
async function asked(question: RegExp): Promise<string> {
  return tmux.waitFor((screen) => question.test(openQuestion(screen)));
}

/** What stands after the last mark of a question without an answer; the lines of a long one are joined. */
function openQuestion(screen: string): string {
  const at = Math.max(screen.lastIndexOf("◆"), screen.lastIndexOf("▲"));
  const rest = screen.slice(at);
  return at === -1 || !rest.includes("\n└") ? "" : rest.replace(/\n│ {2}/g, " ");
}

/** Replaces what a question offers. */
async function retype(question: RegExp, text: string): Promise<void> {
  await asked(question);
  tmux.keys("C-u");
  tmux.type(text);
  tmux.keys("Enter");
}

/** The commands that the last screen names. */
function nextCommands(screen: string): string[] {
  return [...screen.slice(screen.lastIndexOf("Next")).matchAll(/^│ {2}((?:cd|less|cdktr) .*?)\s*$/gm)].map(
    (match) => match[1] ?? "",
  );
}

/** The process of this test's terminal with these words in its command line. */
function processOf(words: string): number {
  const found = processesWith(directory.root).find((pid) =>
    readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").includes(words),
  );
  if (found === undefined) throw new Error(`no process: ${words}`);
  return found;
}

/** Starts what a project is for, and waits until it says that it is ready. */
async function start(project: string, args: string[], ready: RegExp): Promise<CdktrProcess> {
  const child = new CdktrProcess(args, { cwd: project, env });
  await child.waitFor(ready);
  return child;
}

// From the sources the program is called by another name.
test.if(COMPILED)(
  "to try: every question, the crontab of the user, and the project runs with the commands of the last screen",
  async () => {
    enter("cdktr init 'my project'");
    await answer(/What do you want to set up\?/, "Enter");
    // What cannot be is said at once, and the answer stays to be mended.
    await retype(/Directory of the workflow files/, "../outside");
    await tmux.waitFor(/It must be inside the project/);
    await retype(/Directory of the workflow files/, "jobs/here");
    await answer(/Three ports/, "Enter");
    await answer(/Create keys\?/, "Enter");
    await asked(/Import a crontab/);
    tmux.keys("Down");
    await answer(/● Yes, the one of/, "Enter");
    await answer(/example workflow\?/, "Enter");
    // Where systemd runs, one more is asked.
    await tmux.waitFor(/Install a service|Write it\?/);
    if (/Install a service/.test(openQuestion(tmux.screen()))) tmux.keys("Enter");
    const plan = await asked(/Write it\?/);
    expect(plan).toMatch(/\+ jobs\/here\/cron\/date\.yml/);
    expect(plan).toMatch(/5: @reboot \/opt\/hello\n/);
    expect(existsSync(directory.path("my project"))).toBe(false);
    tmux.keys("Enter");
    const last = await tmux.waitFor(/└ {2}The manual/);
    const project = directory.path("my project");
    expect(nextCommands(last)).toEqual([
      "cd 'my project'",
      "less crontab-import.md",
      "cdktr start principal --with-agent",
      "cdktr run hello --follow",
      "cdktr ui",
    ]);

    // The commands, as they stand there.
    tmux.keys("C-l");
    enter("cd 'my project'");
    enter("cdktr start principal --with-agent");
    await tmux.waitFor(/Principal ready at 127\.0\.0\.1/);
    const second = new Tmux({ width: 80, height: 24, cwd: project, env });
    try {
      second.type("cdktr run hello --follow; echo status=$?");
      second.keys("Enter");
      const ran = await second.waitFor(/status=\d/);
      expect(ran).toMatch(/Hello, world, from/);
      expect(ran).toMatch(/COMPLETED/);
      expect(ran).toMatch(/status=0/);
      // A job of the crontab runs as cron would have run it: by a shell, in the home directory.
      expect(await cdktr(["run", "cron.date", "--wait"], { cwd: project, env })).toMatchObject({ code: 0 });
      expect(existsSync(directory.path("home/stamp"))).toBe(true);
      const listed = await cdktr(["workflow", "list", "--json"], { cwd: project, env });
      expect(JSON.parse(listed.stdout)).toHaveLength(3);
    } finally {
      second.stop();
      tmux.keys("C-c");
      await tmux.waitFor(/The principal has stopped/);
    }
    expect(await cdktr(["workflow", "validate"], { cwd: project, env })).toMatchObject({ code: 0 });
    expect(statSync(join(project, "jobs/here/cron/date.yml")).mode & 0o777).toBe(0o600);
    expect(readFileSync(directory.path("mine"), "utf8")).toBe(crontab);
  },
  120_000,
);

test.if(COMPILED)(
  "a principal for other hosts, then an agent that joins it with the token of the last screen",
  async () => {
    const [api = 0, listening = 0, publishing = 0, taken = 0] = await freePorts(4);
    const blocker = Bun.listen({ hostname: "0.0.0.0", port: taken, socket: { data() {} } });
    mkdirSync(directory.path("p"));
    writeFileSync(directory.path("p/.gitignore"), "node_modules\n");
    writeFileSync(directory.path("p/.env"), "MINE=1\nCDKTR_LOG_LEVEL=INFO\n");
    enter("clear; cdktr init");
    await retype(/Where should the project be/, directory.path("mine/x"));
    await tmux.waitFor(/is a file/);
    await retype(/Where should the project be/, "p");
    await answer(/What do you want to set up\?/, "Down", "Enter");
    await answer(/Directory of the workflow files/, "Enter");
    await answer(/Which address/, "Down", "Enter");
    await answer(/Three ports/, "Down", "Enter");
    await retype(/Port for requests/, "70000");
    await tmux.waitFor(/from 1 to 65535/);
    await retype(/Port for requests/, String(taken));
    await tmux.waitFor(/is taken/);
    await retype(/Port for requests/, String(api));
    await retype(/Port for the agents' log lines/, String(listening));
    await retype(/Port for the live log/, String(publishing));
    blocker.stop(true);
    await answer(/Create keys\? Without them, anyone who can reach 0\.0\.0\.0/, "Enter");
    await answer(/Run an agent next to it/, "Right", "Enter");
    await answer(/Import a crontab/, "Enter");
    await answer(/example workflow\?/, "Enter");
    await tmux.waitFor(/Install a service|differs/);
    if (/Install a service/.test(openQuestion(tmux.screen()))) tmux.keys("Enter");
    // What is there is asked about, one by one; the difference is shown.
    await answer(/\.env already exists and differs/, "Down", "Down", "Enter");
    await tmux.waitFor(/\+ CDKTR_WORKFLOW_DIR=workflows/);
    await answer(/\.env already exists and differs/, "Down", "Enter");
    await answer(/\.gitignore already exists and differs/, "Enter");
    await answer(/Write it\?/, "Enter");
    await answer(/Print a join token at the end/, "Left", "Enter");
    // Wide enough for the token to stand on one line.
    await tmux.waitFor(/└ {2}The manual/);
    tmux.resize(200, 60);
    const last = await tmux.waitFor(/cdktr-join-\S{150,}/);
    const token = /cdktr-join-\S+/.exec(last)?.[0] ?? "";
    expect(nextCommands(last)).toEqual([
      "cd p",
      "cdktr start principal",
      "cdktr run hello --follow",
      "cdktr ui",
      "cdktr join-token create",
    ]);
    const project = directory.path("p");
    const dotenv = readFileSync(join(project, ".env"), "utf8");
    expect(parseEnv(dotenv)).toEqual({
      MINE: "1",
      CDKTR_LOG_LEVEL: "INFO",
      CDKTR_PRINCIPAL_HOST: "0.0.0.0",
      CDKTR_PRINCIPAL_PORT: String(api),
      CDKTR_LOGS_LISTENING_PORT: String(listening),
      CDKTR_LOGS_PUBLISHING_PORT: String(publishing),
      CDKTR_WEBHOOK_PORT: String(Math.max(api, listening, publishing) + 1),
      CDKTR_METRICS_PORT: String(Math.max(api, listening, publishing) + 2),
      CDKTR_WORKFLOW_DIR: "workflows",
      CDKTR_APP_DATA_DIRECTORY: ".cdktr",
    });
    expect(readFileSync(join(project, ".gitignore"), "utf8")).toBe("node_modules\n");
    expect(statSync(join(project, ".cdktr/keys/principal.key")).mode & 0o777).toBe(0o600);
    expect(statSync(join(project, ".cdktr")).mode & 0o777).toBe(0o700);

    await using principal = await start(project, ["start", "principal"], /Principal ready at 0\.0\.0\.0/);
    expect(principal.stderr).toMatch(/secured: encrypted/);

    enter("clear; cdktr init");
    await retype(/Where should the project be/, "a");
    await answer(/What do you want to set up\?/, "Down", "Down", "Enter");
    await answer(/How does it connect to its principal/, "Enter");
    await retype(/The join token/, "cdktr-join-nonsense");
    await tmux.waitFor(/damaged or incomplete/);
    await retype(/The join token/, token);
    await retype(/How many concurrent runs/, "0");
    await tmux.waitFor(/at least 1/);
    await retype(/How many concurrent runs/, "3");
    await retype(/Labels/, "zone=b gpu=a100");
    await tmux.waitFor(/Install a service|Write it\?/);
    if (/Install a service/.test(openQuestion(tmux.screen()))) tmux.keys("Enter");
    const plan = await asked(/Write it\?/);
    expect(plan).toMatch(/join: get a key from the principal at \S+:\d+/);
    expect(plan.slice(plan.lastIndexOf("What do you want to set up"))).not.toContain(token);
    expect(existsSync(directory.path("a"))).toBe(false);
    tmux.keys("Enter");
    const joined = await tmux.waitFor((screen) =>
      /└ {2}The manual/.test(screen.slice(screen.lastIndexOf("Joining"))),
    );
    expect(nextCommands(joined)).toEqual(["cd a", "cdktr start agent --label zone=b --label gpu=a100"]);
    const agentProject = directory.path("a");
    expect(readFileSync(join(agentProject, ".env"), "utf8")).not.toContain(token);
    expect(readdirSync(join(agentProject, ".cdktr/keys"))).toEqual(["agent.key"]);

    await using agent = await start(agentProject, ["start", "agent", "--label", "zone=b"], /looks for work/);
    const run = await cdktr(["run", "hello", "--wait", "--json"], { cwd: project, env });
    expect(JSON.parse(run.stdout)).toMatchObject({ workflow_id: "hello", status: "COMPLETED" });
    const agents = JSON.parse((await cdktr(["agents", "list", "--json"], { cwd: project, env })).stdout);
    expect(agents).toMatchObject([{ status: "UP", max_concurrent_workflows: 3, labels: { zone: "b" } }]);
    expect(agent.ended).toBe(false);
  },
  120_000,
);

test("the answers can be changed before anything is written, and are offered again; leaving writes nothing", async () => {
  enter("cdktr init changed");
  await answer(/What do you want to set up\?/, "Enter");
  await retype(/Directory of the workflow files/, "first");
  for (const question of [/Three ports/, /Create keys\?/, /Import a crontab/, /example workflow\?/])
    await answer(question, "Enter");
  await tmux.waitFor(/Install a service|Write it\?/);
  if (/Install a service/.test(openQuestion(tmux.screen()))) tmux.keys("Enter");
  await answer(/Write it\?/, "Down", "Enter");
  await answer(/What do you want to set up\?/, "Enter");
  await asked(/Directory of the workflow files.*first/s);
  tmux.keys("C-u");
  tmux.type("second");
  tmux.keys("Enter");
  for (const question of [/Three ports/, /Create keys\?/, /Import a crontab/, /example workflow\?/])
    await answer(question, "Enter");
  await tmux.waitFor(/Install a service|Write it\?/);
  if (/Install a service/.test(openQuestion(tmux.screen()))) tmux.keys("Enter");
  const plan = await asked(/Write it\?/);
  expect(plan).toMatch(/\+ second\/hello\.yml/);
  tmux.keys("Down", "Down", "Enter");
  await tmux.waitFor(/Cancelled: nothing was written/);
  expect(readdirSync(directory.root).sort()).toEqual(["bin", "home", "mine"]);
});

test("Ctrl-C at each question leaves nothing", async () => {
  const questions: [RegExp, string[]][] = [
    [/Where should the project be/, ["Enter"]],
    [/What do you want to set up\?/, ["Down", "Enter"]],
    [/Directory of the workflow files/, ["Enter"]],
    [/Which address/, ["Enter"]],
    [/Three ports/, ["Enter"]],
    [/Create keys\?/, ["Left", "Enter"]],
    [/Run an agent next to it/, ["Enter"]],
    [/Import a crontab/, ["Down", "Down", "Enter"]],
    [/Which file\?/, ["C-u", "m", "i", "n", "e", "Enter"]],
    [/example workflow\?/, ["Enter"]],
    [/Write it\?/, []],
  ];
  for (let stop = 0; stop < questions.length; stop++) {
    mkdirSync(directory.path(`at-${stop}`));
    enter(`clear; cd ${directory.path(`at-${stop}`)}; cp ../mine mine; cdktr init; echo "status=$?"`);
    for (const [question, keys] of questions.slice(0, stop)) {
      if (
        question.source.startsWith("Write it") &&
        /Install a service/.test(await tmux.waitFor(/Install a service|Write it\?/))
      )
        tmux.keys("Enter");
      await answer(question, ...keys);
    }
    await tmux.waitFor(
      (screen) =>
        /Install a service/.test(openQuestion(screen)) ||
        questions[stop]?.[0].test(openQuestion(screen)) === true,
    );
    tmux.keys("C-c");
    await tmux.waitFor(/Cancelled: nothing was written[\s\S]*status=1/);
    expect(readdirSync(directory.path(`at-${stop}`))).toEqual(["mine"]);
  }
  // The terminal is as it was.
  enter("clear; stty -a | tr ' ' '\\n' | grep -xE '(-?)(echo|icanon|isig)' | tr '\\n' ' '");
  await tmux.waitFor(/isig icanon echo/);
}, 120_000);

test("obstacles are reported on the attempt, and answers can be corrected; Ctrl-C while it works leaves nothing behind", async () => {
  await cdktr(["init", "s", "--yes", "--host", "0.0.0.0", "--keys"], { cwd: directory.root, env });
  // Nobody answers at the token's address: no principal runs.
  const made = await cdktr(["join-token", "create", "--address", "127.0.0.1:1"], {
    cwd: directory.path("s"),
    env,
  });
  const token = made.stdout.trim();
  writeFileSync(directory.path("token"), token, { mode: 0o600 });
  enter(
    "clear; export CDKTR_DEFAULT_ZMQ_TIMEOUT_MS=300; cdktr init a --kind agent --label a=b --max-concurrent-workflows 2",
  );
  await answer(/How does it connect to its principal/, "Enter");
  await retype(/The join token/, token);
  await tmux.waitFor(/Install a service|Write it\?/);
  if (/Install a service/.test(openQuestion(tmux.screen()))) tmux.keys("Enter");
  await answer(/Write it\?/, "Enter");
  await answer(/Nothing was written\. Change the answers\?/, "Enter");
  expect(tmux.screen()).toMatch(/No principal answers at 127\.0\.0\.1:1/);
  expect(readdirSync(directory.root).sort()).toEqual(["bin", "home", "mine", "s", "token"]);
  await answer(/How does it connect to its principal/, "C-c");
  await tmux.waitFor(/Cancelled: nothing was written/);

  enter(
    "clear; export CDKTR_DEFAULT_ZMQ_TIMEOUT_MS=20000; cdktr init a --yes --join - <token; echo status=$?",
  );
  await until("it is at work", () =>
    readdirSync(directory.root).some((name) => name.startsWith(".cdktr-init")),
  );
  tmux.keys("C-c");
  const interrupted = await tmux.waitFor(/status=\d/);
  expect(interrupted).toMatch(/Interrupted: nothing was written/);
  expect(readdirSync(directory.root).sort()).toEqual(["bin", "home", "mine", "s", "token"]);

  // A signal at a question: the terminal is given back as it was.
  enter("clear; cdktr init b & sleep 0.1; fg");
  await asked(/What do you want to set up\?/);
  process.kill(processOf("init b"), "SIGTERM");
  await tmux.waitFor((screen) => /^\$ ?$/m.test(screen.slice(screen.lastIndexOf("└"))));
  enter("clear; stty -a | tr ' ' '\\n' | grep -xE '(-?)(echo|icanon|isig)' | tr '\\n' ' '");
  await tmux.waitFor(/isig icanon echo/);
}, 60_000);

describe("without a terminal", () => {
  const init = (args: string[], options: { stdin?: string; cwd?: string } = {}) =>
    cdktr(["init", ...args], { cwd: directory.root, env, ...options });

  test("nothing is asked: it says which flags are needed, and writes nothing", async () => {
    for (const args of [[], ["p"], ["p", "--kind", "try"], ["p", "--json"]]) {
      const { code, stdout, stderr } = await init(args);
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
      expect(stderr).toMatch(/--yes/);
    }
    const wrong: [string[], number, RegExp][] = [
      [["p", "--yes", "--kind", "agent"], 2, /must know its principal/],
      [["p", "--yes", "--kind", "try", "--host", "0.0.0.0"], 2, /--host has no meaning with --kind try/],
      [
        ["p", "--yes", "--principal", "a:1", "--agent"],
        2,
        /--principal and --agent cannot be combined|--agent and --principal cannot be combined/,
      ],
      [["p", "--yes", "--kind", "agent", "--port", "1"], 2, /--port has no meaning with --kind agent/],
      [["p", "--yes", "--port", "0"], 2, /--port 0: expected a whole number/],
      [["p", "--yes", "--port", "7000", "--logs-listening-port", "7000"], 2, /must be different/],
      [["p", "--yes", "--workflow-dir", "/etc"], 2, /inside the project/],
      [["p", "--yes", "--kind", "agent", "--join", "cdktr-join-x"], 4, /damaged or incomplete/],
      [["mine/p", "--yes"], 2, /is a file/],
      [["p", "--yes", "--import-crontab", "nothing"], 4, /no crontab/],
      [["p", "--yes", "--join-token"], 2, /needs a principal with keys/],
      [["p", "--yes", "--crontab-user", "x"], 2, /need --import-crontab/],
    ];
    for (const [args, status, message] of wrong) {
      const { code, stderr } = await init(args);
      expect(stderr).toMatch(message);
      expect(code).toBe(status);
    }
    expect(readdirSync(directory.root).sort()).toEqual(["bin", "home", "mine"]);
  });

  test("--yes: the project is written and runs, an agent finds it; again it changes nothing; --force overwrites", async () => {
    const dry = await init(["p", "--yes", "--import-crontab", "own", "--dry-run", "--json"]);
    expect(JSON.parse(dry.stdout)).toMatchObject({
      dry_run: true,
      files: [{ path: ".env", action: "new", mode: "0600" }, {}, {}, {}, {}, {}, {}, {}, {}],
    });
    expect(existsSync(directory.path("p"))).toBe(false);
    const first = await init(["p", "--yes", "--import-crontab", "own", "--json"]);
    expect(first).toMatchObject({ code: 0, stderr: "" });
    const told = JSON.parse(first.stdout);
    expect(told).toMatchObject({
      directory: directory.path("p"),
      kind: "try",
      crontab: {
        jobs: [
          { file: "date.yml", line: 4, disabled: false },
          { file: "echo.yml", line: 6, disabled: true },
        ],
        not_translated: [{ line: 5, text: "@reboot /opt/hello" }],
      },
    });
    for (const { path, action } of told.files) {
      expect(action).toBe("written");
      expect(existsSync(directory.path("p", path))).toBe(true);
    }
    const project = directory.path("p");
    const report = readFileSync(join(project, "crontab-import.md"), "utf8");
    for (const line of crontab.trimEnd().split("\n")) expect(report).toContain(line);
    const principal = await start(project, ["start", "principal", "--with-agent"], /Principal ready at/);
    const run = await cdktr(["run", "hello", "--wait", "--json"], { cwd: project, env });
    expect(JSON.parse(run.stdout).status).toBe("COMPLETED");

    // An agent that is given nothing but the address learns the rest.
    const { CDKTR_PRINCIPAL_PORT: api, CDKTR_LOGS_LISTENING_PORT: logs } = parseEnv(
      readFileSync(join(project, ".env"), "utf8"),
    );
    const byAddress = await init(["b", "--yes", "--principal", `127.0.0.1:${api}`]);
    expect(byAddress.stderr).toContain(
      `* principal: answers at 127.0.0.1:${api}, accepts log lines on port ${logs}`,
    );
    expect(parseEnv(readFileSync(directory.path("b/.env"), "utf8"))).toMatchObject({
      CDKTR_PRINCIPAL_PORT: api,
      CDKTR_LOGS_LISTENING_PORT: logs,
    });
    const silent = await init(["c", "--yes", "--principal", "127.0.0.1:1", "--dry-run"]);
    expect(silent.stderr).toContain(
      "* principal: does NOT answer at 127.0.0.1:1 now; port 2 for log lines is a guess",
    );

    // It runs, so its ports are taken, by itself: they stay.
    const second = JSON.parse((await init(["p", "--yes", "--import-crontab", "own", "--json"])).stdout);
    expect(new Set(second.files.map(({ action }: { action: string }) => action))).toEqual(
      new Set(["unchanged"]),
    );
    await principal.stop();

    const shadowed = await cdktr(["init", "p", "--yes", "--port", "7100"], {
      cwd: directory.root,
      env: { ...env, CDKTR_PRINCIPAL_PORT: "7200" },
    });
    expect(shadowed.stderr).toMatch(/CDKTR_PRINCIPAL_PORT is set to a different value in this shell/);

    writeFileSync(join(project, "workflows/hello.yml"), "mine");
    const kept = await init(["p", "--yes", "--example"]);
    expect(kept.stderr).toMatch(/Kept unchanged: workflows\/hello\.yml/);
    expect(readFileSync(join(project, "workflows/hello.yml"), "utf8")).toBe("mine");
    expect(await init(["p", "--yes", "--example", "--force"])).toMatchObject({ code: 0 });
    expect(readFileSync(join(project, "workflows/hello.yml"), "utf8")).toStartWith("# yaml-language-server");
  }, 60_000);

  test("a crontab from stdin; an agent that cannot reach its principal leaves nothing, and its token is nowhere to be seen", async () => {
    const piped = await init(["q", "--yes", "--import-crontab", "-", "--no-example", "--json"], {
      stdin: "0 0 * * * root ls\n1 1 * * * root date\n",
    });
    expect(JSON.parse(piped.stdout).crontab.jobs).toHaveLength(2);
    expect(existsSync(directory.path("q/workflows/hello.yml"))).toBe(false);

    const secured = await init(["s", "--yes", "--kind", "principal", "--host", "0.0.0.0", "--join-token"]);
    const token = secured.stdout.trim();
    expect(token).toStartWith("cdktr-join-");
    const child = new CdktrProcess(
      ["init", "a", "--yes", "--kind", "agent", "--join", token, "--principal", "127.0.0.1:1"],
      {
        cwd: directory.root,
        env: { ...env, CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "1000" },
      },
    );
    await until(
      "it has read the token",
      () => !readFileSync(`/proc/${child.pid}/cmdline`, "utf8").includes(token),
    );
    const ended = await child.finished;
    expect(ended.code).toBe(3);
    expect(`${ended.stdout}${ended.stderr}`).not.toContain(token);
    expect(readdirSync(directory.root).sort()).toEqual(["bin", "home", "mine", "q", "s"]);
  }, 30_000);

  test("work that a killed one left unfinished is completed by the next, before anything else", async () => {
    const project = directory.path("p");
    await init(["p", "--yes", "--port", "7100"]);
    // As it is between two moves: past the point of no return, the settings not yet in their place.
    const hidden = join(project, ".cdktr-init-1-1");
    mkdirSync(join(hidden, "tree"), { recursive: true });
    renameSync(join(project, ".env"), join(hidden, "tree/.env"));
    writeFileSync(join(hidden, "commit"), "");
    const next = await init(["p", "--yes", "--json"]);
    expect(next.stderr).toMatch(/interrupted while writing; it has been completed/);
    expect(JSON.parse(next.stdout).files[0]).toMatchObject({ path: ".env", action: "unchanged" });
    expect(parseEnv(readFileSync(join(project, ".env"), "utf8"))).toMatchObject({
      CDKTR_PRINCIPAL_PORT: "7100",
    });
    expect(existsSync(hidden)).toBe(false);
  });

  test("kill -9 at any moment: no project, or a whole one", async () => {
    const random = new Random(11);
    const wanted = ["--yes", "--kind", "principal", "--host", "0.0.0.0", "--import-crontab", "own", "--json"];
    const began = performance.now();
    await init(["measured", ...wanted]);
    const takes = performance.now() - began;
    const whole = readdirSync(directory.path("measured"), { recursive: true }).length;
    mkdirSync(directory.path("there"));
    writeFileSync(directory.path("there/mine"), "mine");
    const outcomes = { none: 0, whole: 0 };
    for (let i = 0; i < 8; i++) {
      const target = `k${i}`;
      const child = new CdktrProcess(["init", target, ...wanted], { cwd: directory.root, env });
      // Not a wait: the moment at which it is killed is chance; the first one does not get far on any machine.
      if (i > 0) await Promise.race([child.finished, Bun.sleep(takes * random.between(0.2, 1.1))]);
      child.kill("SIGKILL");
      await child.finished;
      const there = existsSync(directory.path(target));
      outcomes[there ? "whole" : "none"]++;
      if (there) expect(readdirSync(directory.path(target), { recursive: true }).length).toBe(whole);
    }
    expect(outcomes.none).toBeGreaterThan(0);
    // The next one clears what is left of those that were killed.
    await init(["last", ...wanted]);
    expect(readdirSync(directory.root).filter((name) => name.startsWith("."))).toEqual([]);
  }, 60_000);
});
