/** Keys in the calendar. */
import { DAY_MS } from "../feeds/queue-feed.ts";
import { selectedOf } from "../lists/list-ids.ts";
import { openPage } from "../navigation.ts";
import type { State } from "../state.ts";
import type { Binding } from "./binding.ts";

const STEP_MS = DAY_MS / 4;
/** A forecast reaches a year ahead. */
const FARTHEST_MS = 365 * DAY_MS;

function shift(state: State, ms: number): void {
  state.calendarShiftMs = Math.min(FARTHEST_MS, Math.max(0, state.calendarShiftMs + ms));
}

export const calendarKeys: readonly Binding[] = [
  {
    keys: ["ENTER", "KP_ENTER"],
    label: "Enter",
    help: "open the workflow",
    footer: "open",
    run(state) {
      const id = selectedOf(state, "calendar");
      if (id !== null) openPage(state, { kind: "workflow", id, pane: "overview" });
    },
  },
  {
    keys: ["RIGHT", "l"],
    label: "→",
    help: "6 hours later",
    footer: "later",
    run: (state) => shift(state, STEP_MS),
  },
  {
    keys: ["LEFT", "h"],
    label: "←",
    help: "6 hours earlier",
    footer: "earlier",
    run: (state) => shift(state, -STEP_MS),
  },
  { keys: ["]"], label: "]", help: "a day later", run: (state) => shift(state, DAY_MS) },
  { keys: ["["], label: "[", help: "a day earlier", run: (state) => shift(state, -DAY_MS) },
  {
    keys: ["n"],
    label: "n",
    help: "from now on",
    footer: "now",
    offered: (state) => state.calendarShiftMs > 0,
    run: (state) => shift(state, -state.calendarShiftMs),
  },
];
