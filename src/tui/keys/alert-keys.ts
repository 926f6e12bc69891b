/** Keys in the alerts. */

import { listText } from "../alert-text.ts";
import type { Effects } from "../effects.ts";
import { type AlertRow, alertOfRow, alertRows } from "../lists/alert-rows.ts";
import { selectedOf } from "../lists/list-ids.ts";
import { openPage, openRun } from "../navigation.ts";
import { isRefused } from "../overlays/ask.ts";
import type { State } from "../state.ts";
import { addToast } from "../toast.ts";
import type { Binding } from "./binding.ts";

function selectedRow(state: State): AlertRow | undefined {
  const selected = selectedOf(state, "alerts");
  return alertRows(state, state.lists.alerts).find(({ id }) => id === selected);
}

function channelOf(state: State): string | null {
  const row = selectedRow(state);
  return row?.kind === "channel" ? row.channel.channel : null;
}

function runOf(state: State): string | null {
  return alertOfRow(selectedRow(state))?.workflow_instance_id ?? null;
}

function workflowOf(state: State): string | null {
  return alertOfRow(selectedRow(state))?.workflow_id ?? null;
}

function show(state: State, effects: Effects): void {
  const row = selectedRow(state);
  const alert = alertOfRow(row);
  if (alert !== null) effects.showAlert(alert.alert_id);
  else if (row?.kind === "channel")
    state.overlay = {
      kind: "text",
      title: `Channel ${row.channel.channel}`,
      text: listText(row.channel),
      top: 0,
    };
  else if (row?.kind === "query")
    state.overlay = { kind: "text", title: row.query.name, text: listText(row.query), top: 0 };
}

function hasDead(state: State): boolean {
  return alertOfRow(selectedRow(state))?.deliveries.some(({ state: is }) => is === "DEAD") ?? false;
}

function retry(state: State, effects: Effects): void {
  if (isRefused(state)) return;
  const alert = alertOfRow(selectedRow(state));
  if (alert === null || !hasDead(state)) {
    addToast(state, "No message of this row was given up; R sends all that were.");
    return;
  }
  effects.perform({ kind: "retry alert", alertId: alert.alert_id });
}

function retryAll(state: State, effects: Effects): void {
  if (isRefused(state)) return;
  if ((state.data.alerts?.dead.length ?? 0) === 0) addToast(state, "No message was given up.");
  else effects.perform({ kind: "retry alert", alertId: null });
}

export const alertKeys: readonly Binding[] = [
  {
    keys: ["ENTER", "KP_ENTER"],
    label: "Enter",
    help: "everything that is known about it",
    footer: "show",
    run: show,
  },
  {
    keys: ["o"],
    label: "o",
    help: "open its run",
    footer: "run",
    offered: (state) => runOf(state) !== null,
    run(state) {
      const id = runOf(state);
      if (id === null) addToast(state, "This row is about no run.");
      else openRun(state, id);
    },
  },
  {
    keys: ["w"],
    label: "w",
    help: "its workflow",
    footer: "workflow",
    offered: (state) => workflowOf(state) !== null,
    run(state) {
      const id = workflowOf(state);
      if (id === null) addToast(state, "This row is about no workflow.");
      else openPage(state, { kind: "workflow", id, pane: "overview" });
    },
  },
  {
    keys: ["r"],
    label: "r",
    help: "send the messages of this alert that were given up again",
    footer: "retry",
    offered: hasDead,
    run: retry,
  },
  { keys: ["R"], label: "R", help: "send all messages that were given up again", run: retryAll },
  {
    keys: ["t"],
    label: "t",
    help: "send a test message to the channel",
    footer: "test",
    offered: (state) => channelOf(state) !== null,
    run(state) {
      if (isRefused(state)) return;
      const channel = channelOf(state);
      if (channel === null) addToast(state, "Select a channel to test it.");
      else
        state.overlay = {
          kind: "confirm",
          title: `Send a test message to ${channel}?`,
          lines: ["Whoever reads this channel gets it."],
          action: { kind: "test channel", channel },
        };
    },
  },
  {
    keys: ["y"],
    label: "y",
    help: "copy the id of the alert",
    run(state, effects) {
      const alert = alertOfRow(selectedRow(state));
      if (alert !== null) effects.copy(alert.alert_id, alert.alert_id);
    },
  },
];
