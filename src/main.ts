/** The entry of the executable: the root of the command line. Commands are imported only when they are used. */
import { runCommand } from "citty";
import { VERSION } from "./build-facts.ts";
import { readCommandLine, subCommandsOf } from "./cli/support/argv.ts";
import { type Command, command, lazy } from "./cli/support/command.ts";
import { reportError, say } from "./cli/support/report.ts";
import { flushStdout, printLine, writeStdout } from "./cli/support/stdout.ts";
import { forbidColor, styleFor, terminalWidth } from "./cli/support/style.ts";
import { renderUsage } from "./cli/support/usage.ts";
import { adoptZone } from "./cli/support/zone.ts";
import { END_LOCAL_RUN, FILE_HELPER, HISTORY, START_TASK, WORKFLOW_READER } from "./host/self.ts";

/** The command tree. */
export const root: Command = command({
  meta: {
    name: "cdktr",
    version: VERSION,
    description: "Runs workflows: a principal coordinates, agents execute, history is kept in DuckDB.",
  },
  subCommands: {
    init: lazy("Set up a project: settings, workflows, keys, a service", () => import("./cli/init.ts")),
    start: lazy("Run a principal, an agent or listeners in the foreground", () => import("./cli/start.ts")),
    run: lazy(
      "Trigger a workflow (short for 'task run'), or run a file here",
      () => import("./cli/task/run.ts"),
    ),
    exec: lazy("Run a command here, and record it in the history", () => import("./cli/exec.ts")),
    task: lazy("Trigger workflows", () => import("./cli/task.ts")),
    workflow: lazy("Look at workflow definitions and check them", () => import("./cli/workflow.ts")),
    forecast: lazy(
      "What schedules will do: firings, durations, overlaps, load",
      () => import("./cli/forecast.ts"),
    ),
    runs: lazy("List, inspect, explain, compare, cancel and retry runs", () => import("./cli/runs.ts")),
    backfill: lazy("Run the firings of a schedule in a stretch of time", () => import("./cli/backfill.ts")),
    backfills: lazy(
      "List backfills, look at them, pause, resume and cancel them",
      () => import("./cli/backfills.ts"),
    ),
    approvals: lazy("List what waits for a person, approve and reject", () => import("./cli/approvals.ts")),
    audit: lazy("Who did what: changes, and requests that were refused", () => import("./cli/audit.ts")),
    alerts: lazy("List alerts, see who was told, try channels and queries", () => import("./cli/alerts.ts")),
    logs: lazy("Search the log history and follow it live", () => import("./cli/logs.ts")),
    principals: lazy(
      "List the principals of the installation, and who leads",
      () => import("./cli/principals.ts"),
    ),
    agents: lazy("List agents and drain them", () => import("./cli/agents.ts")),
    pools: lazy(
      "List the pools, who has slots of them, and change their sizes",
      () => import("./cli/pools.ts"),
    ),
    listeners: lazy("List the listeners that trigger workflows", () => import("./cli/listeners.ts")),
    db: lazy("Query, export and back up the history database", () => import("./cli/db.ts")),
    ui: lazy("Open the terminal UI", () => import("./cli/ui.ts")),
    listen: lazy("Run an event listener written in TypeScript", () => import("./cli/listen.ts")),
    sdk: lazy("Write the client packages bundled with this executable", () => import("./cli/sdk.ts")),
    telemetry: lazy(
      "Write a dashboard for Grafana and alert rules for Prometheus",
      () => import("./cli/telemetry.ts"),
    ),
    keys: lazy("Manage keys: who may connect", () => import("./cli/keys.ts")),
    secrets: lazy("Manage the principal's secrets for tasks", () => import("./cli/secrets.ts")),
    "join-token": lazy("Let a new host get its own key", () => import("./cli/join-token.ts")),
    backup: lazy("Back up the principal's state and history while it runs", () => import("./cli/backup.ts")),
    restore: lazy(
      "Put a backup of the principal's state and history in place",
      () => import("./cli/restore.ts"),
    ),
    config: lazy("Show the effective settings", () => import("./cli/config.ts")),
    doctor: lazy("Find problems on this host and how to fix them", () => import("./cli/doctor.ts")),
    service: lazy(
      "Run the principal, an agent or the listeners under systemd",
      () => import("./cli/service.ts"),
    ),
    docs: lazy("Read the manual", () => import("./cli/docs.ts")),
    completion: lazy("Print the completion script for a shell", async () => ({
      default: (await import("./cli/completion.ts")).completionOf(root),
    })),
    version: lazy("Show the version", () => import("./cli/version.ts")),
  },
  extras: {
    see: ["docs", "config list", "doctor"],
    examples: [
      { command: "cdktr init", does: "set up a project, with an example or from your crontab" },
      { command: "cdktr start principal --with-agent", does: "everything on one host" },
      { command: "cdktr run etl.daily -P day=2025-01-20 --follow", does: "run a workflow and watch it" },
      { command: "cdktr runs list --status FAILED", does: "recent failures" },
      { command: "cdktr docs getting-started", does: "the first ten minutes" },
    ],
  },
});

/**
 * Runs a command line to completion.
 * @param argv without the program itself
 * @returns the exit status
 */
export async function main(argv: readonly string[]): Promise<number> {
  try {
    if (argv[0] === FILE_HELPER) {
      await (await import("./host/file-helper/helper.ts")).serveFileRequests();
      return 0;
    }
    if (argv[0] === WORKFLOW_READER) {
      await (await import("./cli/read-workflows.ts")).readWorkflows();
      return 0;
    }
    if (argv[0] === HISTORY) {
      await (await import("./cli/serve-history.ts")).serveHistory();
      return 0;
    }
    if (argv[0] === END_LOCAL_RUN) {
      await (await import("./cli/end-local-run.ts")).endAbandonedAt(argv[1] ?? "", true);
      return 0;
    }
    const words = argv[0] === "help" ? [...argv.slice(1), "--help"] : argv;
    const invocation = await readCommandLine(root, words);
    const { command: chosen, path } = invocation;
    if (invocation.plain) forbidColor();
    if (invocation.version) {
      await printLine(VERSION);
      return 0;
    }
    const isGroup = (await subCommandsOf(chosen)) !== undefined;
    if (invocation.help || isGroup) {
      const wanted = invocation.help || chosen === root;
      const usage = await renderUsage(chosen, path, {
        style: styleFor(wanted ? "stdout" : "stderr"),
        width: Math.min(terminalWidth(), 100),
        group: invocation.group,
        version: chosen === root ? VERSION : undefined,
      });
      if (wanted) await writeStdout(usage);
      else say(usage.trimEnd());
      return wanted ? 0 : 2;
    }
    // Services print instants, and pass the variable on to tasks unchanged.
    if (path[1] !== "start") await adoptZone();
    const { result } = await runCommand(chosen, { rawArgs: invocation.rawArgs });
    return typeof result === "number" ? result : 0;
  } catch (error) {
    return reportError(error);
  }
}

async function exit(status: number): Promise<never> {
  let final = status;
  try {
    await flushStdout();
  } catch (error) {
    final = (await reportError(error)) || final;
  }
  process.exit(final);
}

if (import.meta.main) {
  const crash = (error: unknown) => {
    void reportError(error).then(async (status) => {
      const { drainLog } = await import("./log.ts");
      await drainLog();
      await exit(status);
    });
  };
  process.on("uncaughtException", crash);
  process.on("unhandledRejection", crash);
  const argv = process.argv.slice(2);
  if (argv[0] === START_TASK) {
    const { startTask } = await import("./cli/start-task.ts");
    process.exit(startTask(argv[1] ?? ""));
  }
  await exit(await main(argv));
}
