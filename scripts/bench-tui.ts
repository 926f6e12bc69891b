/**
 * How quick the terminal UI is, and what it costs: `npm run bench:tui`. A live principal with 500 workflows and 10,000 runs, an agent
 * whose task prints 20 lines a second, and the executable in a terminal of 120×40. Measured is the time from a key press
 * until the terminal has been told the frame that shows its effect, and the processor time of the UI.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PrincipalClient } from "../src/protocol/client.ts";
import { binaryIsFresh, buildBinary } from "./support/binary.ts";
import { BINARY } from "./support/paths.ts";
import { freePorts } from "./support/ports.ts";

const WORKFLOWS = 500;
const RUNS = 10_000;
const LINES_PER_SECOND = 20;
const PRESSES = 200;
const CPU_SECONDS = 15;
/** One frame, ms: what issue and manual promise. */
const LIMIT_MS = 50;

const binary = process.env.CDKTR_TEST_BINARY ?? BINARY;
if (binary === BINARY && !binaryIsFresh()) await buildBinary("inherit");
if (!existsSync(binary)) throw new Error(`${binary} is missing: npm run build`);

const directory = mkdtempSync(join(tmpdir(), "cdktr-bench-tui-"));
const children: Bun.Subprocess[] = [];
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
  rmSync(directory, { recursive: true, force: true });
});
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));

const [api = 0, listening = 0, publishing = 0] = await freePorts(3);
const env = {
  ...process.env,
  CDKTR_PRINCIPAL_HOST: "127.0.0.1",
  CDKTR_PRINCIPAL_PORT: String(api),
  CDKTR_LOGS_LISTENING_PORT: String(listening),
  CDKTR_LOGS_PUBLISHING_PORT: String(publishing),
  CDKTR_METRICS_PORT: "0",
  CDKTR_APP_DATA_DIRECTORY: join(directory, "data"),
  CDKTR_WORKFLOW_DIR: join(directory, "workflows"),
  TERM: "xterm-256color",
  NO_COLOR: undefined,
};

writeWorkflows();
start("principal");
const client = new PrincipalClient({ host: "127.0.0.1", port: api, timeoutMs: 5000, attempts: 6 });
await client.ping();
await makeRuns();
start("agent", "--suffix", "bench");
const { workflow_instance_id: chatty } = await client.runTask("chatty", { dedupe_key: "chatty" });
for (let status = ""; status !== "RUNNING"; ) status = (await client.getRun(chatty)).status;

const ui = openUi();
console.log(`cdktr ui, 120×40, ${WORKFLOWS} workflows, ${RUNS} runs, ${LINES_PER_SECOND} log lines/s`);
await ui.until(/wf\.000/);
await ui.until(/10,000 runs|chatty/);
let slowest = 0;
await page("workflows", "1", async () => {
  await measure("selection down", "j", /\x1b\[0(;\d+)*;7/);
  await measure("filter letter", "/", /\x1b\[\?25h/, "\r", /\x1b\[\?25l/);
});
await page("runs", "2", async () => {
  await measure("selection down", "j", /\x1b\[0(;\d+)*;7/);
  await measure("command line", ":", /\x1b\[\?25h/, "\x7f", /\x1b\[\?25l/);
});
ui.press(":log chatty\r");
await ui.until(/following/);
await measure("command line over a live log", ":", /\x1b\[\?25h/, "\x7f", /\x1b\[\?25l/);
await cpu("live log");
ui.press("\x1b");
ui.press("1");
await cpu("workflows");
await client.cancelRun(chatty);
ui.press("\x03");
await ui.child.exited;
console.log(`memory: ${ui.peakMegabytes} MB at most`);
await client.close();
const verdict = slowest <= LIMIT_MS ? "within" : "NOT within";
console.log(`slowest p99: ${slowest.toFixed(1)} ms, ${verdict} one frame (${LIMIT_MS} ms)`);
process.exit(slowest <= LIMIT_MS ? 0 : 1);

// ---------------------------------------------------------------- the system

function writeWorkflows(): void {
  const root = join(directory, "workflows", "wf");
  mkdirSync(root, { recursive: true });
  const task = (sh: string) =>
    `tasks:\n  only:\n    name: Only\n    config: !Subprocess\n      cmd: sh\n      args: ["-c", ${JSON.stringify(sh)}]\n`;
  for (let i = 0; i < WORKFLOWS - 1; i++) {
    const cron = i % 2 === 0 ? `cron: "0 ${i % 60} ${i % 24} * * *"\n` : "";
    writeFileSync(
      join(root, `${String(i).padStart(3, "0")}.yml`),
      `name: Number ${i}\n${cron}${task("true")}`,
    );
  }
  const chatty = `i=0; while :; do i=$((i+1)); echo "line $i of a program that says what it does"; sleep ${1 / LINES_PER_SECOND}; done`;
  writeFileSync(join(directory, "workflows", "chatty.yml"), `name: Chatty\n${task(chatty)}`);
}

/** Triggers runs while there is no agent, and cancels them. */
async function makeRuns(): Promise<void> {
  const loaded = async () => Object.keys(await client.listWorkflows()).length;
  while ((await loaded()) < WORKFLOWS) await Bun.sleep(50);
  const numbers = Array.from({ length: RUNS }, (_, i) => i);
  const worker = async () => {
    for (let i = numbers.pop(); i !== undefined; i = numbers.pop()) {
      const id = `wf.${String(i % (WORKFLOWS - 1)).padStart(3, "0")}`;
      const run = await client.runTask(id, { dedupe_key: `run-${i}` });
      await client.cancelRun(run.workflow_instance_id);
    }
  };
  await Promise.all(Array.from({ length: 64 }, worker));
}

function start(what: string, ...args: string[]): void {
  const log = Bun.file(join(directory, `${what}.log`));
  children.push(
    Bun.spawn([binary, "start", what, ...args], {
      cwd: directory,
      env,
      stdin: "ignore",
      stdout: log,
      stderr: log,
    }),
  );
}

// ---------------------------------------------------------------- the terminal

function openUi() {
  let received = "";
  let wake = () => {};
  const decoder = new TextDecoder();
  const child = Bun.spawn([binary, "ui"], {
    cwd: directory,
    env,
    terminal: {
      cols: 120,
      rows: 40,
      data(_terminal, chunk) {
        received += decoder.decode(chunk, { stream: true });
        wake();
      },
    },
  });
  children.push(child);
  const { terminal } = child;
  if (terminal === undefined) throw new Error("this Bun cannot open a terminal");
  return {
    child,
    peakMegabytes: 0,
    press(keys: string): void {
      received = "";
      terminal.write(keys);
    },
    /** Resolves when a whole frame with `pattern` in it has come since the last key press. */
    async until(pattern: RegExp): Promise<void> {
      const deadline = performance.now() + 20_000;
      while (!(pattern.test(received) && received.endsWith("\x1b[?2026l"))) {
        if (performance.now() > deadline)
          throw new Error(`no ${pattern} in ${JSON.stringify(received.slice(-2000))}`);
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, 1000);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
    },
  };
}

async function page(name: string, key: string, measureIt: () => Promise<void>): Promise<void> {
  ui.press(key);
  await Bun.sleep(1500);
  console.log(name);
  await measureIt();
}

/** Presses a key many times; where another key undoes it, that one is pressed in between and measured too. */
async function measure(
  what: string,
  key: string,
  shows: RegExp,
  undo?: string,
  undone?: RegExp,
): Promise<void> {
  const times: number[] = [];
  const press = async (keys: string, pattern: RegExp) => {
    const began = performance.now();
    ui.press(keys);
    await ui.until(pattern);
    times.push(performance.now() - began);
  };
  for (let i = 0; i < PRESSES; i++) {
    await press(key, shows);
    if (undo !== undefined && undone !== undefined) await press(undo, undone);
    // A person is not faster.
    await Bun.sleep(20);
  }
  times.sort((a, b) => a - b);
  const at = (part: number) => times[Math.min(times.length - 1, Math.floor(times.length * part))] ?? 0;
  slowest = Math.max(slowest, at(0.99));
  console.log(
    `  ${what.padEnd(32)} p50 ${at(0.5).toFixed(1)} ms   p99 ${at(0.99).toFixed(1)} ms   max ${at(1).toFixed(1)} ms`,
  );
}

/** Processor time of the UI while nobody touches it. */
async function cpu(what: string): Promise<void> {
  const ticks = () => {
    const stat = readFileSync(`/proc/${ui.child.pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return Number(fields[11]) + Number(fields[12]);
  };
  await Bun.sleep(1000);
  const before = ticks();
  await Bun.sleep(CPU_SECONDS * 1000);
  const percent = (ticks() - before) / CPU_SECONDS;
  const status = readFileSync(`/proc/${ui.child.pid}/status`, "utf8");
  ui.peakMegabytes = Math.round(Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) / 1024);
  console.log(`processor, ${what}: ${percent.toFixed(1)} % of a core`);
}
