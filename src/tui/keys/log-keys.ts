/** Keys in a log. */

import { LOG_LEVELS } from "../../contract/log-line.ts";
import type { Effects } from "../effects.ts";
import { NO_FILTER } from "../logs/log-buffer.ts";
import { nextMatch, scrollLog } from "../logs/log-view.ts";
import { newEditor } from "../overlays/line-editor.ts";
import type { Overlay } from "../overlays/overlay.ts";
import type { State } from "../state.ts";
import { addToast } from "../toast.ts";
import type { Binding } from "./binding.ts";

const SIDE_STEP = 20;

function prompt(
  purpose: "log-search" | "log-text" | "log-time" | "log-save",
  label: string,
  text = "",
): Overlay {
  return { kind: "prompt", purpose, label, editor: newEditor(text), error: null };
}

function jump(state: State, direction: 1 | -1, effects: Effects): void {
  const { log } = state;
  const { matches } = log.buffer;
  const isOldest = direction === -1 && log.match !== null && log.match === matches[0];
  if (log.buffer.search === "") {
    state.overlay = prompt("log-search", "Search");
  } else if (log.olderThere && (isOldest || matches.length === 0)) effects.searchOlderLines();
  else if (!nextMatch(log, direction)) addToast(state, `"${log.buffer.search}" is not in the log.`);
}

function up(state: State, effects: Effects, lines: number): void {
  scrollLog(state.log, -lines);
  if (state.log.top === 0) effects.loadOlderLines();
}

/** File name for a saved log. */
function logFileName(state: State): string {
  const { source } = state.log;
  if (source.kind === "all") return "cdktr.log";
  return source.kind === "run" ? `${source.workflowId}-${source.runId}.log` : `${source.workflowId}.log`;
}

export const logKeys: readonly Binding[] = [
  {
    keys: ["f", " "],
    label: "f",
    help: "follow the newest line, or pause (also Space)",
    footer: "follow",
    run(state) {
      const { log } = state;
      if (log.follow) log.top = Math.max(0, log.buffer.shown.length - log.height);
      log.follow = !log.follow;
    },
  },
  {
    keys: ["/"],
    label: "/",
    help: "search; lower case matches any case",
    footer: "search",
    run(state) {
      state.overlay = prompt("log-search", "Search", state.log.buffer.search);
    },
  },
  {
    keys: ["n"],
    label: "n",
    help: "next match",
    footer: "next",
    run: (state, effects) => jump(state, 1, effects),
  },
  { keys: ["N"], label: "N", help: "previous match", run: (state, effects) => jump(state, -1, effects) },
  {
    keys: ["m"],
    label: "m",
    help: "show only lines that contain a text",
    footer: "match",
    run(state) {
      state.overlay = prompt("log-text", "Only lines with", state.log.buffer.filter.text);
    },
  },
  {
    keys: ["a"],
    label: "a",
    help: "show only lines of one task",
    footer: "task",
    run(state) {
      const names = state.log.buffer.taskNames();
      const shown = state.log.buffer.filter.task;
      state.overlay = {
        kind: "menu",
        purpose: "log-task",
        title: "Show lines of",
        items: [{ id: "", label: "all tasks" }, ...names.map((name) => ({ id: name, label: name }))],
        index: shown === null ? 0 : names.indexOf(shown) + 1,
      };
    },
  },
  {
    keys: ["v"],
    label: "v",
    help: "minimum level: DEBUG, INFO, WARN, ERROR",
    footer: "level",
    run(state) {
      const { buffer } = state.log;
      const next = LOG_LEVELS[(LOG_LEVELS.indexOf(buffer.filter.level) + 1) % LOG_LEVELS.length] ?? "DEBUG";
      buffer.setFilter({ ...buffer.filter, level: next });
      state.log.match = null;
    },
  },
  {
    keys: ["F"],
    label: "F",
    help: "clear search and filters",
    run(state) {
      state.log.buffer.setFilter(NO_FILTER);
      state.log.buffer.setSearch("");
      state.log.match = null;
    },
  },
  {
    keys: ["w"],
    label: "w",
    help: "toggle wrapping of long lines",
    footer: "wrap",
    run(state) {
      state.log.wrap = !state.log.wrap;
      state.log.left = 0;
    },
  },
  {
    keys: ["T"],
    label: "T",
    help: "toggle timestamps",
    run(state) {
      state.log.timestamps = !state.log.timestamps;
    },
  },
  {
    keys: ["J"],
    label: "J",
    help: "jump to a time",
    run(state) {
      state.overlay = prompt("log-time", "Time (14:03, 2026-03-31 14:03, -5m)");
    },
  },
  {
    keys: ["S"],
    label: "S",
    help: "save the shown lines to a file",
    footer: "save",
    run(state) {
      state.overlay = prompt("log-save", "Save to", logFileName(state));
    },
  },
  {
    keys: ["y"],
    label: "y",
    help: "copy the visible part of the log",
    run(state, effects) {
      const { log } = state;
      const lines = log.buffer.shown.slice(log.top, log.top + log.height);
      effects.copy(lines.map((line) => line.text).join("\n"), `${lines.length} lines`);
    },
  },
  {
    keys: ["UP", "k"],
    label: "↑ k",
    help: "a line up (pauses)",
    run: (state, effects) => up(state, effects, 1),
  },
  { keys: ["DOWN", "j"], label: "↓ j", help: "a line down", run: (state) => scrollLog(state.log, 1) },
  {
    keys: ["PAGE_UP", "CTRL_U"],
    label: "PgUp ^U",
    help: "a page up",
    run: (state, effects) => up(state, effects, Math.max(1, state.log.height - 1)),
  },
  {
    keys: ["PAGE_DOWN", "CTRL_D"],
    label: "PgDn ^D",
    help: "a page down",
    run: (state) => scrollLog(state.log, Math.max(1, state.log.height - 1)),
  },
  {
    keys: ["HOME", "g"],
    label: "Home g",
    help: "to the first line",
    run: (state, effects) => up(state, effects, state.log.buffer.shown.length),
  },
  {
    keys: ["END", "G"],
    label: "End G",
    help: "to the newest line, and follow",
    run(state) {
      state.log.follow = true;
      state.log.match = null;
    },
  },
  {
    keys: ["]", ">"],
    label: "]",
    help: "scroll right",
    run(state) {
      if (!state.log.wrap) state.log.left += SIDE_STEP;
    },
  },
  {
    keys: ["[", "<"],
    label: "[",
    help: "scroll left",
    run(state) {
      state.log.left = Math.max(0, state.log.left - SIDE_STEP);
    },
  },
];
