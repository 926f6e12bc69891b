/** The terminal UI as an operator uses it: the executable in a real terminal, against a live principal. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Tmux } from "../../scripts/support/tmux.ts";
import { CDKTR, type Cluster, startCluster } from "../support/cdktr.ts";
import { processesWith, runOver, shellWorkflow, until } from "./support/fixtures.ts";

/** Waits after its third line until the file `go` exists. */
const COUNT = `for i in $(seq $CDKTR_PARAM_LINES); do echo "line $i of $CDKTR_PARAM_WORD"; [ $i != 3 ] || until [ -e go ]; do sleep 0.05; done; done`;

let cluster: Cluster;
let tmux: Tmux;

beforeAll(async () => {
  cluster = await startCluster({
    agents: 1,
    workflows: {
      "hello.yml": shellWorkflow({ greet: { sh: "echo good day" } }, "description: Says good day.\n"),
      "etl/daily.yml": shellWorkflow(
        {
          extract: { sh: "echo extracted" },
          left: { sh: "echo left", depends: ["extract"] },
          right: { sh: "echo right", depends: ["extract"] },
          load: { sh: "echo loaded", depends: ["left", "right"] },
        },
        'cron: "0 30 4 * * MON-FRI"\n',
      ),
      "count.yml": shellWorkflow(
        { count: { sh: COUNT } },
        "params:\n  lines:\n    default: '30'\n  word:\n    description: printed with each line\n",
      ),
      "fails.yml": shellWorkflow({
        bad: { sh: "echo oh no >&2; exit 3" },
        after: { sh: "true", depends: ["bad"] },
      }),
      "long.yml": shellWorkflow({ wait: { sh: "sleep 600" } }),
      "fan.yml": `tasks:
  list: {run: 'echo "total=40" >> "$CDKTR_OUTPUT"'}
  load:
    depends: [list]
    foreach: [${Array.from({ length: 40 }, (_, i) => `t${i}`).join(", ")}]
    key: "\${{ item }}"
    run: |
      echo "loading $CDKTR_ITEM"
      echo "size=$CDKTR_ITEM_INDEX" >> "$CDKTR_OUTPUT"
      [ "$CDKTR_ITEM" != t37 ] || exit 3
  after: {depends: [load], run: "true"}
hooks:
  on_failure: {run: "echo told"}
`,
      "ask.yml": `tasks:
  go:
    config: !Approval
      message: Go on?
      form: {share: {type: int, min: 1, max: 100}}
  leave: {depends: [go], run: 'echo "all is well" > "$CDKTR_ARTIFACTS/report.txt"'}
`,
      "broken.yml": "name: Broken\ntasks:\n  a:\n    nme: A\n",
    },
  });
}, 60_000);
afterAll(() => cluster?.stop());

beforeEach(() => {
  tmux = new Tmux({ width: 80, height: 24, cwd: cluster.directory, env: cluster.env });
});
afterEach(() => tmux.stop());

/** Starts the UI and waits for its first picture. */
async function open(...args: string[]): Promise<void> {
  tmux.type([...CDKTR, "ui", ...args].join(" "));
  tmux.keys("Enter");
  await tmux.waitFor(/etl\.daily/);
}

/** Quits by command and waits for the shell. */
async function quit(): Promise<void> {
  tmux.keys("Escape");
  tmux.type(":q");
  tmux.keys("Enter");
  await tmux.waitFor((screen) => !/Workflows {2}2 Runs/.test(screen) && /^\$$/m.test(screen));
  await expectSaneTerminal();
}

/** The shell echoes what is typed, line by line, and the cursor is there. */
async function expectSaneTerminal(): Promise<void> {
  tmux.type("stty -a | tr ' ' '\\n' | grep -xE '(-?)(echo|icanon|isig)' | tr '\\n' ' '");
  tmux.keys("Enter");
  await tmux.waitFor(/^isig icanon echo $|^isig icanon echo\s*\$?/m);
}

/** Triggers a workflow and waits for its end. */
async function ranOnce(id: string, params: Record<string, string> = {}): Promise<string> {
  const run = await cluster.client.runTask(id, { params, dedupe_key: crypto.randomUUID() });
  await runOver(cluster.client, run.workflow_instance_id);
  return run.workflow_instance_id;
}

test("workflows: list, filter, overview with the next firings, graph, source", async () => {
  await open();
  const list = await tmux.waitFor((screen) => /broken\.yml/.test(screen) && /1 up/.test(screen));
  expect(list).toMatch(/✗ broken\.yml:3:3: error/);
  expect(list).toMatch(/etl\.daily .* in \d+[mhd]/);
  tmux.keys("/");
  tmux.type("dai");
  await tmux.waitFor((screen) => /\/ dai/.test(screen) && !/hello/.test(screen));
  tmux.keys("Enter", "Enter");
  const overview = await tmux.waitFor(/Overview {2}Graph {2}Source {2}Runs/);
  expect(overview).toMatch(/at 04:30, Monday to Friday/);
  await tmux.waitFor((screen) => screen.match(/04:30:00/g)?.length === 5);
  tmux.keys("Right");
  await tmux.waitFor(/│ left │.*│ right │/);
  tmux.keys("Right");
  await tmux.waitFor(/cron: "0 30 4 \* \* MON-FRI"/);
  tmux.keys("Escape", "Escape");
  await tmux.waitFor(/hello/);
  await quit();
});

test("a run with parameters: form, live tail, search, COMPLETED", async () => {
  await open();
  tmux.type(":workflow count");
  tmux.keys("Enter");
  await tmux.waitFor(/Parameters/);
  tmux.keys("t");
  await tmux.waitFor(/printed with each line · required/);
  // What is required is asked for.
  tmux.keys("Enter", "Enter");
  await tmux.waitFor(/word is required/);
  tmux.type("sheep");
  tmux.keys("Enter");
  await tmux.waitFor(/RUNNING.*count/);
  tmux.keys("L");
  await tmux.waitFor(/following/);
  // It comes live: the run is not over when its first lines are here.
  const early = await tmux.waitFor(/line 3 of sheep/);
  expect(early).toMatch(/RUNNING/);
  tmux.keys("/");
  tmux.type("line 2");
  tmux.keys("Enter");
  await tmux.waitFor(/paused.*"line 2" \d+\/\d+/);
  writeFileSync(join(cluster.directory, "go"), "");
  await tmux.waitFor(/✓ COMPLETED {2}count/);
  // 2 and 20 to 29; every line once.
  await tmux.waitFor(/"line 2" \d+\/11 {2}30 lines/);
  tmux.keys("End");
  await tmux.waitFor(/following.*30 lines/);
  tmux.keys("Home");
  const first = await tmux.waitFor(/line 1 of sheep/);
  expect(first.match(/line 1 of/g)).toHaveLength(1);
  tmux.keys("Escape", "2");
  await tmux.waitFor(/✓ COMPLETED count +tui/);
  await quit();
});

test("a log is saved to a file as it is", async () => {
  await ranOnce("etl.daily");
  await open();
  tmux.type(":log etl.daily");
  tmux.keys("Enter");
  await tmux.waitFor(/loaded/);
  tmux.keys("S");
  await tmux.waitFor(/Save to: etl\.daily\.log/);
  tmux.keys("Enter");
  await tmux.waitFor(/Saved \d+ lines/);
  expect(readFileSync(join(cluster.directory, "etl.daily.log"), "utf8")).toMatch(/ load INFO loaded\n/);
  await quit();
});

test("a failed run: graph, Gantt, exit status, error lines, retry", async () => {
  const id = await ranOnce("fails");
  await open();
  tmux.type(`:run ${id.slice(0, 13)}`);
  tmux.keys("Enter");
  const graph = await tmux.waitFor(/✗ bad/);
  expect(graph).toMatch(/exit 3/);
  tmux.keys("Right");
  await tmux.waitFor(/✗ bad +·*█/);
  tmux.keys("Right");
  await tmux.waitFor(/bad +✗ FAILED +\S+ +3 /);
  tmux.keys("Enter");
  await tmux.waitFor(/E oh no/);
  tmux.keys("x");
  await tmux.waitFor(/Retry this run from its failed tasks\?/);
  tmux.keys("y");
  await tmux.waitFor(/FAILED {2}fails.* retry/);
  await quit();
});

test("cancel asks first, and the run is CANCELLED", async () => {
  const { workflow_instance_id: id } = await cluster.client.runTask("long", {
    dedupe_key: crypto.randomUUID(),
  });
  await until("it runs", async () => (await cluster.client.getRun(id)).status === "RUNNING");
  await open();
  tmux.keys("2");
  await tmux.waitFor(/▶ RUNNING +long/);
  tmux.keys("/");
  tmux.type("long running");
  tmux.keys("Enter", "c");
  await tmux.waitFor(/Cancel this run\?/);
  tmux.keys("n");
  await tmux.waitFor((screen) => !/Cancel this run/.test(screen));
  expect((await cluster.client.getRun(id)).status).toBe("RUNNING");
  tmux.keys("c");
  await tmux.waitFor(/Cancel this run\?/);
  tmux.keys("Enter", "y");
  await until("it is cancelled", async () => (await cluster.client.getRun(id)).status === "CANCELLED");
  tmux.keys("Escape");
  await tmux.waitFor(/■ CANCELLED +long/);
  await quit();
});

test("agents, activity, help", async () => {
  await open();
  tmux.keys("4");
  await tmux.waitFor(/agent-1 +✓ UP/);
  tmux.keys("5");
  await tmux.waitFor(/Agent .*agent-1 registered/);
  expect(tmux.screen()).toMatch(/broken\.yml/);
  tmux.keys("?");
  const help = await tmux.waitFor(/Help · Esc closes/);
  expect(help).toMatch(/filter the list as you type/);
  tmux.keys("Escape");
  tmux.type(":princ");
  tmux.keys("Tab");
  await tmux.waitFor(/^:principal/m);
  tmux.keys("Escape");
  await quit();
});

test("resizing from 200×50 to 80×24 and back leaves no trace", async () => {
  await ranOnce("etl.daily");
  await open();
  tmux.type(":workflow etl.daily");
  tmux.keys("Enter");
  await tmux.waitFor(/Last runs/);
  tmux.resize(200, 50);
  await tmux.waitFor(/failed\/1h/);
  // Without what moves on by itself: the header with latency and clock, and how long it is until the next firing.
  const settled = () =>
    tmux
      .screen()
      .replace(/^.*\n/, "")
      .replace(/ +in \d+\w$/gm, "");
  const wide = await until("the wide picture", () => {
    const screen = settled();
    return screen.includes("Tasks (4)") && screen.includes("$ sh -c 'echo loaded'") ? screen : undefined;
  });
  tmux.resize(80, 24);
  const small = await tmux.waitFor(/ fail │/);
  expect(Math.max(...small.split("\n").map((line) => Bun.stringWidth(line)))).toBeLessThanOrEqual(80);
  tmux.resize(30, 8);
  await tmux.waitFor(/cdktr needs 40×10/);
  tmux.resize(200, 50);
  await until("the wide picture again", () => settled() === wide);
  await quit();
});

test("the principal goes away and comes back", async () => {
  await open();
  await cluster.principal?.stop();
  const lost = await tmux.waitFor(/reconnecting/);
  expect(lost).toMatch(/showing the state of \d+s ago/);
  expect(lost).toMatch(/etl\.daily/);
  await cluster.startPrincipal();
  await tmux.waitFor((screen) => !/reconnecting/.test(screen) && /1 up/.test(screen));
  await quit();
});

test("several principals: p switches, and the header says which one it is", async () => {
  const other = await startCluster({ workflows: { "elsewhere.yml": shellWorkflow({ a: { sh: "true" } }) } });
  try {
    const here = `here=127.0.0.1:${cluster.ports.api}`;
    await open("--principal", here, "--principal", `there=127.0.0.1:${other.ports.api}`);
    await tmux.waitFor(/here \[1\/2\]/);
    tmux.keys("p");
    await tmux.waitFor(/2 there/);
    tmux.keys("Down", "Enter");
    const screen = await tmux.waitFor(/elsewhere/);
    expect(screen).toMatch(/\[2\/2\]/);
    expect(screen).not.toMatch(/etl\.daily/);
    tmux.type(":principal here");
    tmux.keys("Enter");
    await tmux.waitFor(/etl\.daily/);
    await quit();
  } finally {
    await other.stop();
  }
});

test("Ctrl-C, Ctrl-Z and fg, TERM: the terminal is always as it was", async () => {
  await open();
  tmux.keys("C-c");
  await tmux.waitFor((screen) => !/Workflows {2}2 Runs/.test(screen) && /^\$$/m.test(screen));
  await expectSaneTerminal();

  tmux.keys("C-l");
  await open();
  tmux.keys("C-z");
  await tmux.waitFor(/Stopped/);
  await expectSaneTerminal();
  tmux.type("fg");
  tmux.keys("Enter");
  await tmux.waitFor(/etl\.daily/);
  tmux.keys("2");
  await tmux.waitFor(/TRIGGER/);
  tmux.keys("C-z");
  await tmux.waitFor(/Stopped/);
  tmux.type("kill -TERM %1; fg");
  tmux.keys("Enter");
  await tmux.waitFor(/^\$$|Terminated/m);
  await expectSaneTerminal();
});

test("told to stop and to end at the same time, it leaves the terminal to the shell", async () => {
  await open();
  const [ui = 0] = processesWith(cluster.directory).filter((pid) =>
    readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("\0ui\0"),
  );
  process.kill(ui, "SIGTSTP");
  process.kill(ui, "SIGTERM");
  await tmux.waitFor(/^\$$|Stopped|Terminated/m);
  // It ends when it continues, if it had stopped before it heard of the end.
  tmux.type("fg");
  tmux.keys("Enter");
  await until("it is over", () => !processesWith(cluster.directory).includes(ui));
  await tmux.waitFor((screen) => !/Workflows {2}2 Runs/.test(screen));
  await expectSaneTerminal();
});

test("an internal error: the message is readable and the terminal is restored", async () => {
  tmux.type(`${process.execPath} ${join(import.meta.dir, "support/crash-ui.ts")}`);
  tmux.keys("Enter");
  const screen = await tmux.waitFor(/caught: a mistake inside/);
  expect(screen).not.toMatch(/Workflows {2}2 Runs/);
  await expectSaneTerminal();
});

test("the mouse: tabs, a double click, the wheel", async () => {
  await open();
  const click = (x: number, y: number) => tmux.type(`\x1b[<0;${x};${y}M\x1b[<0;${x};${y}m`);
  click(18, 2);
  await tmux.waitFor(/TRIGGER/);
  click(4, 2);
  await tmux.waitFor(/LAST RUN/);
  click(4, 6);
  click(4, 6);
  await tmux.waitFor(/Overview {2}Graph/);
  await quit();
});

test("without colours and without Unicode", async () => {
  tmux.type("export NO_COLOR=1");
  tmux.keys("Enter");
  await open("--ascii");
  const screen = tmux.screen(true);
  expect(screen).not.toMatch(/\x1b\[[\d;]*3[1-7]m/);
  expect(screen).toMatch(/^[\x00-\x7f]*$/);
  await quit();
});

test("a fan-out: its items are unfolded, found, looked at; outputs, hooks and skip reasons", async () => {
  const id = await ranOnce("fan");
  await open();
  tmux.type(`:run ${id}`);
  tmux.keys("Enter");
  await tmux.waitFor(/hooks: {2}✓ on_failure/);
  tmux.keys("a");
  await tmux.waitFor(/▸ load 40\/40 .*█ 1 fa/);
  // The failed one is selected; its items come below it.
  tmux.keys("Space");
  const unfolded = await tmux.waitFor((screen) => /▾ load/.test(screen) && /\[t9\] +✓/.test(screen));
  expect(unfolded).not.toMatch(/^ +\[t37\]/m);
  tmux.keys("/");
  tmux.type("failed t3");
  await tmux.waitFor((screen) => /\[t37\] +✗ FAILED/.test(screen) && !/\[t3\]/.test(screen));
  tmux.keys("Enter");
  await tmux.waitFor((screen) => !/words must all match/.test(screen));
  tmux.keys("Down", "Enter");
  await tmux.waitFor(
    (screen) => /task=load\[t37\] .* 1 of \d+ lines/.test(screen) && /loading t37/.test(screen),
  );
  tmux.keys("o");
  await tmux.waitFor(/list +total +40/);
  tmux.keys("Enter");
  await tmux.waitFor(/list\.total · y copies/);
  // Escape and a letter at once would be Alt with the letter.
  tmux.keys("Escape");
  await tmux.waitFor((screen) => !/y copies/.test(screen));
  tmux.keys("a");
  await tmux.waitFor(/▾ load/);
  tmux.keys("Escape");
  await tmux.waitFor((screen) => !/failed t3/.test(screen));
  tmux.keys("G", "k");
  await tmux.waitFor(/» SKIPPED {2}after[\s\S]*"load", on which it depends, FAILED/);
  await quit();
});

test("an approval: a badge, its form, the files that the task behind it left", async () => {
  const { workflow_instance_id: id } = await cluster.client.runTask("ask", { dedupe_key: "ask" });
  await open();
  await tmux.waitFor(/6 Approvals 1/);
  tmux.keys("6");
  await tmux.waitFor(/ask +go .*Go on\?/);
  tmux.keys("A");
  await tmux.waitFor(/Approve go of ask/);
  tmux.type("500");
  await tmux.waitFor(/must be at most 100/);
  tmux.keys("BSpace", "C-s");
  await tmux.waitFor(/Nothing waits for a person/);
  await runOver(cluster.client, id);
  tmux.type(`:run ${id}`);
  tmux.keys("Enter");
  await tmux.waitFor(/✓ COMPLETED {2}ask/);
  tmux.keys("F");
  await tmux.waitFor(/leave +report\.txt/);
  tmux.keys("Enter");
  await tmux.waitFor(/all is well/);
  tmux.keys("Escape");
  await tmux.waitFor((screen) => !/y copies/.test(screen));
  tmux.keys("S");
  await tmux.waitFor(/Save as: report\.txt/);
  tmux.keys("Enter");
  await tmux.waitFor(/Saved .*report\.txt/);
  expect(readFileSync(join(cluster.directory, "report.txt"), "utf8")).toBe("all is well\n");
  await quit();
});

test("without a terminal it says what to use instead", async () => {
  const { code, stderr } = await cluster.cdktr(["ui"]);
  expect(code).toBe(2);
  expect(stderr).toMatch(/needs a terminal/);
});
