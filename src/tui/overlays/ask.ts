/** Opens the confirmation or form for an action. */

import { RUN_TRANSITIONS } from "../../workflow/run-state.ts";
import { isTerminal } from "../../workflow/status.ts";
import { hostAndPort } from "../../zmq/endpoint.ts";
import type { State } from "../state.ts";
import { addToast } from "../toast.ts";
import { newEditor } from "./line-editor.ts";

function statusOf(state: State, runId: string) {
  const summary = state.data.runs?.find((run) => run.workflow_instance_id === runId);
  return summary?.status ?? state.data.runDetails.get(runId)?.status;
}

/** Trigger a workflow: shows a form if it has parameters. */
export function askTrigger(state: State, workflowId: string): void {
  const workflow = state.data.workflows?.find((one) => one.id === workflowId);
  if (workflow === undefined) {
    addToast(state, `There is no workflow ${workflowId}.`, "bad");
    return;
  }
  const params = Object.entries(workflow.params);
  if (params.length === 0) {
    state.overlay = {
      kind: "confirm",
      title: `Trigger ${workflowId}?`,
      lines: [workflow.name],
      action: { kind: "trigger", workflowId, params: {} },
    };
    return;
  }
  state.overlay = {
    kind: "form",
    workflowId,
    fields: params.map(([name, { description, default: byDefault }]) => ({
      name,
      description,
      byDefault,
      editor: newEditor(byDefault ?? ""),
    })),
    index: 0,
    error: null,
  };
}

/** Cancel a run that is not over. */
export function askCancel(state: State, runId: string): void {
  const status = statusOf(state, runId);
  if (status !== undefined && isTerminal(RUN_TRANSITIONS, status) && status !== "WAITING") {
    addToast(state, `The run is over (${status}); there is nothing to cancel.`);
    return;
  }
  state.overlay = {
    kind: "confirm",
    title: "Cancel this run?",
    lines: [runId, "Its tasks get TERM, then KILL; unstarted tasks are skipped."],
    action: { kind: "cancel", runId },
  };
}

/** Retry a run that is over. */
export function askRetry(state: State, runId: string, fromStart: boolean): void {
  const status = statusOf(state, runId);
  if (status !== undefined && (!isTerminal(RUN_TRANSITIONS, status) || status === "WAITING")) {
    addToast(state, `The run is ${status}; it can be retried when it is over.`);
    return;
  }
  state.overlay = {
    kind: "confirm",
    title: fromStart ? "Run it again from the start?" : "Retry this run from its failed tasks?",
    lines: [
      runId,
      fromStart
        ? "A new run with the same parameters."
        : "A new run; tasks that COMPLETED are not run again.",
    ],
    action: { kind: "retry", runId, fromStart },
  };
}

/** Drain an agent. */
export function askDrain(state: State, agentId: string): void {
  state.overlay = {
    kind: "confirm",
    title: "Drain this agent?",
    lines: [agentId, "It finishes its runs and takes no new ones until it is restarted."],
    action: { kind: "drain", agentId },
  };
}

/** Choose the principal to show. */
export function choosePrincipal(state: State): void {
  state.overlay = {
    kind: "menu",
    purpose: "principal",
    title: "Principals",
    items: state.principals.map(({ name, host, port }, i) => {
      const address = hostAndPort(host, port);
      return { id: String(i), label: name === address ? address : `${name}  ${address}` };
    }),
    index: state.principal,
  };
}
