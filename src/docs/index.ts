/** The manual: its pages travel inside the executable. */

import { LISTENER_EXAMPLES } from "../sdk/listener-examples.ts";
import agents from "./agents.md" with { type: "text" };
import { ALERT_EXAMPLES } from "./alert-examples.ts";
import alertQueries from "./alert-queries.md" with { type: "text" };
import alerts from "./alerts.md" with { type: "text" };
import architecture from "./architecture.md" with { type: "text" };
import audit from "./audit.md" with { type: "text" };
import backfill from "./backfill.md" with { type: "text" };
import channels from "./channels.md" with { type: "text" };
import childRuns from "./child-runs.md" with { type: "text" };
import cli from "./cli.md" with { type: "text" };
import clients from "./clients.md" with { type: "text" };
import cluster from "./cluster.md" with { type: "text" };
import clusterOperations from "./cluster-operations.md" with { type: "text" };
import concurrency from "./concurrency.md" with { type: "text" };
import configuration from "./configuration.md" with { type: "text" };
import { WORKFLOW_EXAMPLES, type WorkflowExample } from "./examples.ts";
import exec from "./exec.md" with { type: "text" };
import expectations from "./expectations.md" with { type: "text" };
import expressions from "./expressions.md" with { type: "text" };
import failureModes from "./failure-modes.md" with { type: "text" };
import fanOut from "./fan-out.md" with { type: "text" };
import files from "./files.md" with { type: "text" };
import forecast from "./forecast.md" with { type: "text" };
import gettingStarted from "./getting-started.md" with { type: "text" };
import hooks from "./hooks.md" with { type: "text" };
import http from "./http.md" with { type: "text" };
import type { editorPage as EditorPage, keysPage as KeysPage } from "./keys.ts";
import lake from "./lake.md" with { type: "text" };
import listeners from "./listeners.md" with { type: "text" };
import logsAndHistory from "./logs-and-history.md" with { type: "text" };
import migration from "./migration.md" with { type: "text" };
import operations from "./operations.md" with { type: "text" };
import pauses from "./pauses.md" with { type: "text" };
import pools from "./pools.md" with { type: "text" };
import reliability from "./reliability.md" with { type: "text" };
import retention from "./retention.md" with { type: "text" };
import scheduling from "./scheduling.md" with { type: "text" };
import secrets from "./secrets.md" with { type: "text" };
import security from "./security.md" with { type: "text" };
import stateMachines from "./state-machines.md" with { type: "text" };
import telemetry from "./telemetry.md" with { type: "text" };
import troubleshooting from "./troubleshooting.md" with { type: "text" };
import tui from "./tui.md" with { type: "text" };
import waiting from "./waiting.md" with { type: "text" };
import wireProtocol from "./wire-protocol.md" with { type: "text" };
import workflows from "./workflows.md" with { type: "text" };

/** A page of the manual. */
export interface Page {
  /** Its name on the command line. */
  readonly topic: string;
  readonly title: string;
  /** One-line summary. */
  readonly about: string;
  /** Markdown. */
  readonly text: string;
}

function page(topic: string, about: string, text: string): Page {
  return { topic, about, text, title: /^# (.+)$/m.exec(text)?.[1] ?? topic };
}

/** The listener examples, taken from the tested files. */
function examples(): string {
  return LISTENER_EXAMPLES.map(({ name, language, text }) => {
    return `\n### ${name}\n\n\`\`\`${language}\n${text.trimEnd()}\n\`\`\`\n`;
  }).join("");
}

/** What there is to start from, and how to take it. */
function workflowExamples(): string {
  const table = (what: string, examples: readonly WorkflowExample[]) =>
    [
      `| name | ${what} |`,
      "| --- | --- |",
      ...examples.map(({ name, about }) => `| ${name} | ${about} |`),
    ].join("\n");
  return [
    "# Examples",
    "Workflows that people have. Print one, or begin your own with it:",
    "```sh\ncdktr docs examples backup-postgres\ncdktr docs examples backup-postgres > workflows/backup-postgres.yml\n```",
    "Paths and commands in them are those of nobody's hosts: read the file before you run it.",
    table("what it does", WORKFLOW_EXAMPLES),
    "Alert files, for the directory `alerts` of the workflow directory:",
    table("what it finds", ALERT_EXAMPLES),
  ].join("\n\n");
}

/** A page that is made when somebody reads it. */
function madePage(topic: string, about: string, title: string, make: () => string): Page {
  return {
    topic,
    about,
    title,
    get text() {
      return make();
    },
  };
}

/** The pages that are made from the schema of workflow files, which is loaded only for them. */
function made(): { readonly keysPage: typeof KeysPage; readonly editorPage: typeof EditorPage } {
  return require("./keys.ts");
}

/** All pages, in reading order. */
export const PAGES: readonly Page[] = [
  page("getting-started", "The first ten minutes", gettingStarted),
  page("workflows", "The whole language of workflow files", workflows),
  madePage("keys", "Every key of workflow files, in tables", "Keys of workflow files", () =>
    made().keysPage(),
  ),
  madePage("editor", "Completion and checks while you write", "Editors", () => made().editorPage()),
  page("expressions", "Values that are known only when a task starts", expressions),
  page("http", "Tasks that send HTTP requests", http),
  page("forecast", "What schedules will do: durations, overlaps, waits, load", forecast),
  page("fan-out", "A task for each item of a list, or each combination", fanOut),
  page("files", "Files that travel with a run, and files that it leaves", files),
  page("waiting", "Tasks that wait for a time or a person, runs that start later", waiting),
  page("child-runs", "Tasks that run other workflows", childRuns),
  page("hooks", "Tasks that run when a run is over, whatever its end", hooks),
  page("examples", "Workflows that people have, to start from", workflowExamples()),
  page("concurrency", "How many runs at once, and what a further one does", concurrency),
  page("pools", "Slots that tasks share, priorities, the queue", pools),
  page("scheduling", "Cron, time zones, missed firings", scheduling),
  page("backfill", "The firings of a stretch of time that has passed, as runs", backfill),
  page("pauses", "Workflows that rest: what is held, what is missed", pauses),
  page("alerts", "Who is told about what: failures, late runs, lost agents", alerts),
  page("expectations", "What is told when a run is late, or did not happen", expectations),
  page("alert-queries", "Alerts that SQL statements over the history find", alertQueries),
  page("listeners", "Runs for any event, in TypeScript and Python", `${listeners}${examples()}`),
  page("clients", "Triggering, outputs, items from TypeScript and Python; types of parameters", clients),
  page("cli", "Commands, exit status, JSON, watching runs", cli),
  page("tui", "The terminal UI", tui),
  page("configuration", "Every setting", configuration),
  page("agents", "Running, draining, placing agents", agents),
  page("exec", "Commands of cron and timers, with their output and exit status in the history", exec),
  page("channels", "Where alerts go: mail, Slack, webhook, PagerDuty, a program", channels),
  page("secrets", "Passwords and tokens of tasks, and how they are hidden", secrets),
  page("security", "Keys, roles, join tokens, revocation", security),
  page("audit", "Who did what, and who may do what", audit),
  page("operations", "Doctor, services, metrics, completion", operations),
  page("cluster", "Several principals: set up, from one to three and back", cluster),
  page("cluster-operations", "Upgrades, PostgreSQL, backup with several principals", clusterOperations),
  page("failure-modes", "What fails with several principals, and what to do", failureModes),
  page("telemetry", "Metrics, traces and logs for Prometheus and OpenTelemetry", telemetry),
  page("logs-and-history", "Searching logs, SQL, tables and views, backup", logsAndHistory),
  page("lake", "The history of several principals: Parquet in a bucket, listed in PostgreSQL", lake),
  page("retention", "How long the history is kept, and the archive of old days", retention),
  page("architecture", "The components and the life of a run", architecture),
  page("reliability", "Guarantees, their limits, and failure modes", reliability),
  page("state-machines", "State transitions of runs, tasks, leases and agents", stateMachines),
  page("wire-protocol", "Verbs and messages, for authors of clients", wireProtocol),
  page("migration", "What differs from the original cdktr", migration),
  page("troubleshooting", "Problems and how to fix them", troubleshooting),
];

/** The page of a topic, case-insensitive. */
export function findPage(topic: string): Page | undefined {
  const wanted = topic.toLowerCase().replace(/\.md$/, "");
  return PAGES.find((each) => each.topic === wanted);
}
