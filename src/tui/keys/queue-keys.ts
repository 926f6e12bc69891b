/** Keys in the queue. */

import type { Effects } from "../effects.ts";
import { selectedOf } from "../lists/list-ids.ts";
import { type QueueRow, queueRows, runOfRow } from "../lists/queue-rows.ts";
import { listState, openPage, openRun } from "../navigation.ts";
import { askCancel, askCancelBackfill, isRefused } from "../overlays/ask.ts";
import type { State } from "../state.ts";
import { addToast } from "../toast.ts";
import type { Binding } from "./binding.ts";

function selectedRow(state: State): QueueRow | undefined {
  const selected = selectedOf(state, "queue");
  return queueRows(state, state.lists.queue).find(({ id }) => id === selected);
}

function isRun(state: State): boolean {
  return runOfRow(selectedRow(state)) !== null;
}

function isBackfill(state: State): boolean {
  return selectedRow(state)?.kind === "backfill";
}

/** Changes the priority of the selected run by one. */
function prioritize(state: State, effects: Effects, step: 1 | -1): void {
  if (isRefused(state)) return;
  const row = selectedRow(state);
  const runId = runOfRow(row);
  if (row === undefined || runId === null) {
    addToast(state, "Only runs have a priority that can be changed.");
    return;
  }
  const now = row.kind === "entry" ? row.entry.priority : row.kind === "held" ? row.held.priority : 5;
  const priority = now + step;
  if (priority < 0 || priority > 9) addToast(state, `Its priority is ${now} already; it goes from 0 to 9.`);
  else effects.perform({ kind: "priority", runId, priority });
}

function open(state: State): void {
  const row = selectedRow(state);
  const runId = runOfRow(row);
  if (runId !== null) openRun(state, runId);
  if (row?.kind !== "backfill") return;
  // Its runs.
  listState(state, "runs").filter = row.backfill.backfill_id;
  state.tab = "runs";
  state.pages.runs.splice(1);
}

function cancel(state: State): void {
  const row = selectedRow(state);
  const runId = runOfRow(row);
  if (runId !== null) askCancel(state, runId);
  else if (row?.kind === "backfill") askCancelBackfill(state, row.backfill);
}

function pauseOrResume(state: State, effects: Effects): void {
  if (isRefused(state)) return;
  const row = selectedRow(state);
  if (row?.kind !== "backfill") {
    addToast(state, "Only a backfill is paused here; workflows are in tab 1.");
    return;
  }
  const { backfill_id: backfillId, state: now } = row.backfill;
  if (now === "ACTIVE") effects.perform({ kind: "backfill", backfillId, to: "PAUSED" });
  else if (now === "PAUSED") effects.perform({ kind: "backfill", backfillId, to: "ACTIVE" });
  else addToast(state, `The backfill is ${now}.`);
}

export const queueKeys: readonly Binding[] = [
  {
    keys: ["ENTER", "KP_ENTER"],
    label: "Enter",
    help: "open the run; of a backfill, its runs",
    footer: "open",
    run: open,
  },
  {
    keys: ["+", "="],
    label: "+",
    help: "a higher priority",
    footer: "sooner",
    offered: isRun,
    run: (state, effects) => prioritize(state, effects, 1),
  },
  {
    keys: ["-", "_"],
    label: "-",
    help: "a lower priority",
    footer: "later",
    offered: isRun,
    run: (state, effects) => prioritize(state, effects, -1),
  },
  {
    keys: ["c"],
    label: "c",
    help: "cancel the run, or the backfill",
    footer: "cancel",
    offered: (state) => isRun(state) || isBackfill(state),
    run: cancel,
  },
  {
    keys: ["Z"],
    label: "Z",
    help: "pause or resume the backfill",
    footer: "pause",
    offered: isBackfill,
    run: pauseOrResume,
  },
  {
    keys: ["w"],
    label: "w",
    help: "its workflow",
    run(state) {
      const row = selectedRow(state);
      const id =
        row?.kind === "entry"
          ? row.entry.workflow_id
          : row?.kind === "held"
            ? row.held.workflow_id
            : row?.kind === "backfill"
              ? row.backfill.workflow_id
              : null;
      if (id !== null) openPage(state, { kind: "workflow", id, pane: "overview" });
    },
  },
  {
    keys: ["y"],
    label: "y",
    help: "copy the id of the run, or of the backfill",
    run(state, effects) {
      const row = selectedRow(state);
      const id = row?.kind === "backfill" ? row.backfill.backfill_id : runOfRow(row);
      if (id !== null) effects.copy(id, id);
    },
  },
];
