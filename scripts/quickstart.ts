/**
 * `npm run quickstart`: builds cdktr, starts a principal with an agent in a temporary directory, runs the example workflows
 * in front of your eyes, and leaves nothing behind.
 */
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join, relative } from "node:path";
import { binaryIsFresh, buildBinary } from "./support/binary.ts";
import { BINARY, ROOT } from "./support/paths.ts";
import { freePorts } from "./support/ports.ts";
import { killGroup, killRunning, run } from "./support/run.ts";
import { ensureUv } from "./support/tools.ts";

/** How long the principal may take to end what runs and to write everything down. */
const STOP_MS = 20_000;
const READY_MS = 60_000;
const KEPT_LOG = join(ROOT, ".cache", "quickstart.log");

/** What went wrong, for the person at the terminal. */
class QuickstartError extends Error {}

const directory = mkdtempSync(join(tmpdir(), "cdktr-quickstart-"));
const log = join(directory, "principal.log");
let principal: Bun.Subprocess | undefined;
let env: Record<string, string | undefined> = {};

function heading(text: string): void {
  console.log(`\n── ${text} ${"─".repeat(Math.max(3, 76 - text.length))}`);
}

/** Runs a cdktr command as it would be typed, output and all. */
async function cdktr(...args: string[]): Promise<void> {
  const shown = args.map((argument) => (/^[\w./:=@%+,-]+$/.test(argument) ? argument : `'${argument}'`));
  console.log(`\n$ cdktr ${shown.join(" ")}`);
  const { code } = await run([BINARY, ...args], { cwd: ROOT, env, output: "inherit" });
  if (code !== 0) throw new QuickstartError(`'cdktr ${args.join(" ")}' ended with status ${code}.`);
}

async function build(): Promise<void> {
  if (binaryIsFresh()) {
    console.log(`${relative(ROOT, BINARY)} is up to date`);
    return;
  }
  console.log("$ npm run build");
  const { code } = await buildBinary("inherit");
  if (code !== 0) throw new QuickstartError(`The build ended with status ${code}.`);
}

async function startPrincipal(): Promise<void> {
  const [api, listening, publishing] = await freePorts(3);
  const settings = {
    CDKTR_PRINCIPAL_HOST: "127.0.0.1",
    CDKTR_PRINCIPAL_PORT: String(api),
    CDKTR_LOGS_LISTENING_PORT: String(listening),
    CDKTR_LOGS_PUBLISHING_PORT: String(publishing),
    CDKTR_METRICS_PORT: "0",
    CDKTR_APP_DATA_DIRECTORY: directory,
    CDKTR_WORKFLOW_DIR: "workflows",
  };
  const uv = await ensureUv();
  const inherited = Object.entries(process.env).filter(
    ([name]) => !name.startsWith("CDKTR_") || name === "CDKTR_CACHE_DIRECTORY",
  );
  env = {
    ...Object.fromEntries(inherited),
    ...settings,
    PATH: `${uv}${delimiter}${process.env.PATH ?? ""}`,
  };
  for (const [name, value] of Object.entries(settings)) console.log(`$ export ${name}=${value}`);
  console.log("$ cdktr start principal --with-agent &");
  const output = openSync(log, "a");
  const child = Bun.spawn([BINARY, "start", "principal", "--with-agent"], {
    cwd: ROOT,
    env,
    stdin: "ignore",
    stdout: output,
    stderr: output,
    detached: true,
  });
  principal = child;
  const deadline = performance.now() + READY_MS;
  for (;;) {
    const { code, output: agents } = await run([BINARY, "agents", "list", "--json"], { cwd: ROOT, env });
    if (code === 0 && agents.includes('"UP"')) break;
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new QuickstartError(`The principal ended with status ${child.exitCode ?? child.signalCode}.`);
    }
    if (performance.now() > deadline) throw new QuickstartError("The principal has no agent after a minute.");
    await Promise.race([child.exited, Bun.sleep(100)]);
  }
}

/** Stops the principal, and with it the agent; true when it ended by itself and well. */
async function stopPrincipal(): Promise<boolean> {
  const child = principal;
  principal = undefined;
  if (child === undefined) return true;
  child.kill("SIGTERM");
  const ended = await Promise.race([child.exited, Bun.sleep(STOP_MS)]);
  killGroup(child.pid, "SIGKILL");
  return ended === 0;
}

let stopping = false;
async function giveUp(message: string, status: number): Promise<never> {
  if (stopping) return new Promise(() => {});
  stopping = true;
  killRunning();
  await stopPrincipal();
  console.error(`\n✗ ${message}`);
  if (existsSync(log)) {
    mkdirSync(dirname(KEPT_LOG), { recursive: true });
    copyFileSync(log, KEPT_LOG);
    const tail = readFileSync(log, "utf8").trimEnd().split("\n").slice(-15);
    console.error(`  The log of the principal and the agent is ${KEPT_LOG}; it ends with:`);
    console.error(tail.map((line) => `  | ${line}`).join("\n"));
  }
  rmSync(directory, { recursive: true, force: true });
  process.exit(status);
}
process.on("SIGINT", () => void giveUp("Interrupted.", 130));
process.on("SIGTERM", () => void giveUp("Terminated.", 143));
process.on("SIGHUP", () => void giveUp("The terminal is gone.", 129));

try {
  heading("Build the executable");
  await build();

  heading("Start a principal with an agent, in a temporary directory");
  await startPrincipal();

  heading("Run workflows and watch them");
  await cdktr("workflow", "list");
  await cdktr("task", "run", "hello", "--follow");
  await cdktr("workflow", "graph", "diamond");
  await cdktr("task", "run", "diamond", "--follow");

  heading("A real pipeline: a year of flights, packages from PyPI");
  await cdktr("task", "run", "flights.delays", "--follow");

  heading("Look back");
  await cdktr("runs", "list");
  await cdktr("logs", "query", "--workflow", "flights.delays", "--grep", "flights|late");

  heading("Stop");
  console.log("$ kill %1    # the principal flushes its history and ends the agent");
  if (!(await stopPrincipal())) throw new QuickstartError("The principal did not end well.");
  rmSync(directory, { recursive: true, force: true });
} catch (error) {
  if (!stopping) {
    const text =
      error instanceof QuickstartError ? error.message : error instanceof Error ? error.stack : error;
    await giveUp(String(text), 1);
  }
  await new Promise(() => {});
}

console.log(`
✓ cdktr works on this machine. Everything that was started has stopped. Go on with:

    dist/cdktr start principal --with-agent      in one terminal
    dist/cdktr task run hello --follow           in another
    dist/cdktr docs                              for the manual
`);
process.exit(0);
