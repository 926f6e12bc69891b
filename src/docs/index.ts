/** The manual: its pages travel inside the executable. */

import { LISTENER_EXAMPLES } from "../sdk/listener-examples.ts";
import agents from "./agents.md" with { type: "text" };
import architecture from "./architecture.md" with { type: "text" };
import cli from "./cli.md" with { type: "text" };
import configuration from "./configuration.md" with { type: "text" };
import gettingStarted from "./getting-started.md" with { type: "text" };
import listeners from "./listeners.md" with { type: "text" };
import logsAndHistory from "./logs-and-history.md" with { type: "text" };
import operations from "./operations.md" with { type: "text" };
import reliability from "./reliability.md" with { type: "text" };
import scheduling from "./scheduling.md" with { type: "text" };
import security from "./security.md" with { type: "text" };
import stateMachines from "./state-machines.md" with { type: "text" };
import troubleshooting from "./troubleshooting.md" with { type: "text" };
import tui from "./tui.md" with { type: "text" };
import wireProtocol from "./wire-protocol.md" with { type: "text" };
import workflows from "./workflows.md" with { type: "text" };

/** A page of the manual. */
export interface Page {
  /** The name it is asked for by. */
  readonly topic: string;
  /** Its heading. */
  readonly title: string;
  /** One line about it. */
  readonly about: string;
  /** Markdown. */
  readonly text: string;
}

function page(topic: string, about: string, text: string): Page {
  return { topic, about, text, title: /^# (.+)$/m.exec(text)?.[1] ?? topic };
}

/** The examples as they are tested, so that whoever has the executable has them. */
function examples(): string {
  return LISTENER_EXAMPLES.map(({ name, language, text }) => {
    return `\n### ${name}\n\n\`\`\`${language}\n${text.trimEnd()}\n\`\`\`\n`;
  }).join("");
}

/** All pages, in the order in which one would read them. */
export const PAGES: readonly Page[] = [
  page("getting-started", "The first ten minutes", gettingStarted),
  page("workflows", "The whole language of workflow files", workflows),
  page("scheduling", "Cron, time zones, missed firings", scheduling),
  page("listeners", "Runs for any event, in TypeScript and Python", `${listeners}${examples()}`),
  page("cli", "Commands, exit status, JSON, watching runs", cli),
  page("tui", "The terminal UI", tui),
  page("configuration", "Every setting", configuration),
  page("agents", "Running, draining, placing agents", agents),
  page("security", "Keys, roles, join tokens, revoking", security),
  page("operations", "Doctor, services, metrics, completion", operations),
  page("logs-and-history", "Searching logs, SQL, tables and views, backup", logsAndHistory),
  page("architecture", "What the parts are and how a run lives", architecture),
  page("reliability", "What is guaranteed, and where that ends", reliability),
  page("state-machines", "What becomes of runs, tasks, leases and agents, and when", stateMachines),
  page("wire-protocol", "Verbs and messages, for authors of clients", wireProtocol),
  page("troubleshooting", "Messages and their remedies", troubleshooting),
];

/** The page of a topic; case does not count. */
export function findPage(topic: string): Page | undefined {
  const wanted = topic.toLowerCase().replace(/\.md$/, "");
  return PAGES.find((each) => each.topic === wanted);
}
