/** The command line: `:run ID`, `:principal NAME`, `:q` and so on, with completion. */

import { runIdProblem, runsNamed } from "../../contract/run-id.ts";
import { hostAndPort } from "../../zmq/endpoint.ts";
import type { Effects } from "../effects.ts";
import { jumpToTime, parseMoment } from "../logs/log-view.ts";
import { openPage, openRun } from "../navigation.ts";
import type { State } from "../state.ts";
import { addToast } from "../toast.ts";
import { askCancel, askRetry, askTrigger, choosePrincipal } from "./ask.ts";

interface Command {
  readonly names: readonly [string, ...string[]];
  readonly argument?: string;
  readonly help: string;
  /** The possible arguments. */
  complete?(state: State): readonly string[];
  /** Returns an error message, or nothing. */
  run(state: State, argument: string, effects: Effects): string | undefined;
}

const workflowIds = (state: State) => (state.data.workflows ?? []).map((workflow) => workflow.id);
const runIds = (state: State) => (state.data.runs ?? []).slice(0, 500).map((run) => run.workflow_instance_id);

function tab(name: State["tab"], ...names: [string, ...string[]]): Command {
  return {
    names,
    help: `tab ${name}`,
    run(state) {
      state.tab = name;
      state.pages[name].splice(1);
      return undefined;
    },
  };
}

/** Finds a run by its id or a prefix of it. */
function findRun(state: State, text: string): { id: string } | { problem: string } {
  const problem = runIdProblem(text);
  if (problem !== undefined) return { problem };
  const found = runsNamed(text, state.data.runs ?? []);
  if (found.length > 1) return { problem: `${found.length} runs begin with ${text}` };
  // The principal may know a run that is not in the list.
  return { id: found.length === 1 ? (found[0]?.workflow_instance_id ?? text) : text };
}

function withRun(state: State, text: string, use: (id: string) => void): string | undefined {
  if (text === "") return "which run?";
  const run = findRun(state, text);
  if ("problem" in run) return run.problem;
  use(run.id);
  return undefined;
}

function withWorkflow(state: State, text: string, use: (id: string) => void): string | undefined {
  if (text === "") return "which workflow?";
  if (!workflowIds(state).includes(text)) return `there is no workflow ${text}`;
  use(text);
  return undefined;
}

export const COMMANDS: readonly Command[] = [
  {
    names: ["q", "quit", "exit"],
    help: "quit",
    run(state) {
      state.quitting = true;
      return undefined;
    },
  },
  {
    names: ["workflow", "w"],
    argument: "ID",
    help: "open a workflow",
    complete: workflowIds,
    run: (state, id) =>
      withWorkflow(state, id, () => {
        state.tab = "workflows";
        openPage(state, { kind: "workflow", id, pane: "overview" });
      }),
  },
  {
    names: ["run"],
    argument: "ID",
    help: "open a run",
    complete: runIds,
    run: (state, text) =>
      withRun(state, text, (id) => {
        state.tab = "runs";
        openRun(state, id);
      }),
  },
  {
    names: ["log"],
    argument: "WORKFLOW",
    help: "log of a workflow",
    complete: workflowIds,
    run: (state, id) =>
      withWorkflow(state, id, (workflowId) => {
        state.tab = "logs";
        openPage(state, { kind: "logs", source: { kind: "workflow", workflowId } });
      }),
  },
  {
    names: ["trigger"],
    argument: "ID",
    help: "trigger a workflow",
    complete: workflowIds,
    run: (state, id) => withWorkflow(state, id, () => askTrigger(state, id)),
  },
  {
    names: ["cancel"],
    argument: "RUN",
    help: "cancel a run",
    complete: runIds,
    run: (state, text) => withRun(state, text, (id) => askCancel(state, id)),
  },
  {
    names: ["retry"],
    argument: "RUN",
    help: "retry a run from its failed tasks",
    complete: runIds,
    run: (state, text) => withRun(state, text, (id) => askRetry(state, id, false)),
  },
  {
    names: ["principal"],
    argument: "NAME",
    help: "switch to another principal",
    complete: (state) => state.principals.map((principal) => principal.name),
    run(state, text, effects) {
      if (text === "") {
        choosePrincipal(state);
        return undefined;
      }
      const index = state.principals.findIndex(
        ({ name, host, port }) => name === text || hostAndPort(host, port) === text,
      );
      if (index === -1) return `there is no principal ${text}`;
      effects.switchPrincipal(index);
      return undefined;
    },
  },
  {
    names: ["time"],
    argument: "TIME",
    help: "jump to a time in the log: 14:03, -5m",
    run(state, text) {
      const ms = parseMoment(text, state.now);
      if (ms === null) return "a time is 14:03, 14:03:59, 2026-03-31 14:03 or -5m";
      jumpToTime(state.log, ms);
      return undefined;
    },
  },
  {
    names: ["save"],
    argument: "FILE",
    help: "save the shown lines of the log",
    run(_state, path, effects) {
      if (path === "") return "to which file?";
      effects.saveLog(path);
      return undefined;
    },
  },
  {
    names: ["wrap"],
    help: "toggle wrapping of long log lines",
    run(state) {
      state.log.wrap = !state.log.wrap;
      return undefined;
    },
  },
  tab("workflows", "workflows"),
  tab("runs", "runs"),
  tab("logs", "logs"),
  tab("agents", "agents"),
  tab("activity", "activity"),
  tab("approvals", "approvals"),
  tab("queue", "queue", "pools", "backfills"),
  tab("calendar", "calendar", "forecast"),
  tab("alerts", "alerts", "channels"),
  {
    names: ["help", "h"],
    help: "the keys available here",
    run(state) {
      state.overlay = { kind: "help", top: 0 };
      return undefined;
    },
  },
];

/** Executes a command; returns an error message, or nothing. */
export function runCommand(state: State, text: string, effects: Effects): string | undefined {
  const [name = "", ...rest] = text.trim().split(/\s+/);
  if (name === "") return undefined;
  const exact = COMMANDS.find((command) => command.names.includes(name));
  const begun = COMMANDS.filter((command) => command.names[0].startsWith(name));
  const command = exact ?? (begun.length === 1 ? begun[0] : undefined);
  if (command === undefined) {
    return begun.length > 1
      ? `${name} may be ${begun.map((one) => one.names[0]).join(", ")}`
      : `there is no command ${name}`;
  }
  const argument = rest.join(" ");
  if (argument !== "" && command.argument === undefined) addToast(state, `:${name} takes no argument.`);
  return command.run(state, argument, effects);
}

/** Completions of `text`, as whole lines, at most `limit`. */
export function completions(state: State, text: string, limit = 50): string[] {
  const match = /^\s*(\S+)\s+(\S*)$/.exec(text);
  if (match === null) {
    const typed = text.trim();
    return COMMANDS.filter((command) => command.names[0].startsWith(typed))
      .map((command) => (command.argument === undefined ? command.names[0] : `${command.names[0]} `))
      .slice(0, limit);
  }
  const [, name = "", typed = ""] = match;
  const command = COMMANDS.find((one) => one.names.includes(name));
  const words = command?.complete?.(state) ?? [];
  const begins = words.filter((word) => word.startsWith(typed));
  const holds = words.filter((word) => !word.startsWith(typed) && word.includes(typed));
  return [...begins, ...holds].slice(0, limit).map((word) => `${name} ${word}`);
}

/** The longest common prefix of all completions, or `text` if they share nothing more. */
export function commonCompletion(text: string, candidates: readonly string[]): string {
  const [first] = candidates;
  if (first === undefined) return text;
  let common = first;
  for (const candidate of candidates) while (!candidate.startsWith(common)) common = common.slice(0, -1);
  return common.length > text.length ? common : candidates.length === 1 ? first : text;
}
