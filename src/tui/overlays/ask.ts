/** Opens the confirmation or form for an action. */

import type { ApprovalSummary, BackfillSummary, Pause, RunSummary } from "../../contract/messages.ts";
import { LANGUAGE_SINCE } from "../../contract/version.ts";
import { RUN_TRANSITIONS } from "../../workflow/run-state.ts";
import { isTerminal, type RunStatus } from "../../workflow/status.ts";
import { hostAndPort } from "../../zmq/endpoint.ts";
import { age, count, moment } from "../format.ts";
import type { State } from "../state.ts";
import { addToast } from "../toast.ts";
import { newField } from "./form-field.ts";
import type { FormField } from "./overlay.ts";

function statusOf(state: State, runId: string): RunStatus | undefined {
  return summaryOf(state, runId)?.status;
}

function summaryOf(state: State, runId: string): RunSummary | undefined {
  return (
    state.data.runs?.find((run) => run.workflow_instance_id === runId) ?? state.data.runDetails.get(runId)
  );
}

/** Why nothing can be changed at all; null if it can. */
function changeProblem({ reader }: State): string | null {
  return reader === null ? null : `The key ${reader} may only read: its role is viewer.`;
}

/** Tells that nothing can be changed, if that is so. */
export function isRefused(state: State): boolean {
  const problem = changeProblem(state);
  if (problem !== null) addToast(state, problem, "bad");
  return problem !== null;
}

/** Why a run cannot be cancelled; null if it can, as far as is known. */
export function cancelProblem(state: State, runId: string): string | null {
  const status = statusOf(state, runId);
  if (status === undefined || !isTerminal(RUN_TRANSITIONS, status)) return changeProblem(state);
  return `The run is over (${status}); there is nothing to cancel.`;
}

/** Why a run cannot be retried; null if it can, as far as is known. */
export function retryProblem(state: State, runId: string): string | null {
  const status = statusOf(state, runId);
  return status === undefined || isTerminal(RUN_TRANSITIONS, status)
    ? changeProblem(state)
    : `The run is ${status}; it can be retried when it is over.`;
}

/** The line of a dialog that describes its run: workflow, id, status and age. */
function aboutRun(state: State, runId: string): string[] {
  const run = summaryOf(state, runId);
  if (run === undefined) return [runId];
  const began = run.started_at_ms ?? run.created_at_ms;
  const since = run.started_at_ms === null ? "created" : "started";
  return [run.workflow_id, runId, `${run.status}, ${since} ${age(state.now - began)} ago`];
}

/** Trigger a workflow: shows a form if it has parameters. */
export function askTrigger(state: State, workflowId: string): void {
  if (isRefused(state)) return;
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
    purpose: { kind: "trigger", workflowId },
    fields: params.map(([name, param]) => newField(name, param)),
    index: 0,
    error: null,
  };
}

/** Approve or reject what waits for a person: with its form, and with a note. */
export function askAnswer(state: State, approval: ApprovalSummary, approves: boolean): void {
  if (isRefused(state)) return;
  if (approval.refusal !== undefined) {
    addToast(state, approval.refusal, "bad");
    return;
  }
  const note = newField("note", { description: approves ? "kept with the answer" : "why", default: "" });
  const form = approves ? Object.entries(approval.form).map(([name, param]) => newField(name, param)) : [];
  state.overlay = {
    kind: "form",
    purpose: { kind: approves ? "approve" : "reject", approval },
    fields: [...form, note],
    index: 0,
    error: null,
  };
}

/** Cancel a run that is not over. */
export function askCancel(state: State, runId: string): void {
  const problem = cancelProblem(state, runId);
  if (problem !== null) {
    addToast(state, problem);
    return;
  }
  state.overlay = {
    kind: "confirm",
    title: "Cancel this run?",
    lines: [...aboutRun(state, runId), "Its tasks get TERM, then KILL; unstarted tasks are skipped."],
    action: { kind: "cancel", runId },
  };
}

/** Retry a run that is over. */
export function askRetry(state: State, runId: string, fromStart: boolean): void {
  const problem = retryProblem(state, runId);
  if (problem !== null) {
    addToast(state, problem);
    return;
  }
  state.overlay = {
    kind: "confirm",
    title: fromStart ? "Run it again from the start?" : "Retry this run from its failed tasks?",
    lines: [
      ...aboutRun(state, runId),
      fromStart
        ? "A new run with the same parameters."
        : "A new run; tasks that COMPLETED are not run again.",
    ],
    action: { kind: "retry", runId, fromStart },
  };
}

/** From where a retry starts, as it is chosen. */
export const FROM = {
  failed: "the failed tasks",
  task: "the selected task",
  start: "the beginning",
} as const;
/** With which definition it runs. */
export const DEFINITION = { former: "as it was", current: "as it is now" } as const;

/** Retry a run that is over with a choice of where to start, of the definition, and of parameters. @param task the selected task or item */
export function askRetryOptions(state: State, runId: string, task: string | null): void {
  const problem = retryProblem(state, runId) ?? unknownOptions(state);
  if (problem !== null) {
    addToast(state, problem);
    return;
  }
  const run = state.data.runDetails.get(runId);
  const failed = statusOf(state, runId) !== "COMPLETED";
  const from = [...(failed ? [FROM.failed] : []), ...(task === null ? [] : [FROM.task]), FROM.start];
  const choice = (name: string, choices: readonly string[], description: string | null): FormField => ({
    ...newField(name, { enum: choices, default: choices[0] ?? "", description }),
    // The arrows show them: they need not be listed.
    rules: {},
  });
  const params = Object.entries(run?.definition?.params ?? {}).map(([name, param]) =>
    newField(name, { ...param, default: run?.params[name] ?? param.default }),
  );
  state.overlay = {
    kind: "form",
    purpose: { kind: "retry", runId, task },
    fields: [
      choice("from", from, task === null ? null : `selected: ${task}, and what depends on it`),
      choice("workflow", [DEFINITION.former, DEFINITION.current], null),
      ...params,
    ],
    index: 0,
    error: null,
  };
}

/** An older principal would pass over the options. */
function unknownOptions({ data: { info } }: State): string | null {
  if (info === null || info.protocol.version >= LANGUAGE_SINCE) return null;
  return `The principal (cdktr ${info.version}) is too old for options of retries.`;
}

/** Pause a workflow, with a reason, or let it go on. */
export function askPause(state: State, workflowId: string): void {
  if (isRefused(state)) return;
  const paused = state.data.workflows?.find((one) => one.id === workflowId)?.paused;
  if (paused === undefined) {
    state.overlay = {
      kind: "form",
      purpose: { kind: "pause", workflowId },
      fields: [
        newField("reason", { description: "shown to everybody who wonders", default: "" }),
        newField("for", {
          description: "such as 2h or 3d; empty: until it is resumed",
          default: "",
        }),
      ],
      index: 0,
      error: null,
    };
    return;
  }
  state.overlay = {
    kind: "confirm",
    title: `Resume ${workflowId}?`,
    lines: [
      pauseText(paused, state.now),
      "Runs that are held go on; missed firings and events follow its catchup.",
    ],
    action: { kind: "resume", workflowId },
  };
}

/** `paused since 18:02:11 by ops: migration, until Mon 30 Nov 06:00`. */
export function pauseText({ at_ms, by, reason, until_ms }: Pause, now: number): string {
  const whom = by === null ? "" : ` by ${by}`;
  const why = reason === null ? "" : `: ${reason}`;
  return `paused since ${moment(at_ms, now)}${whom}${why}${until_ms === null ? "" : `, until ${moment(until_ms, now)}`}`;
}

/** Cancel a backfill with its runs. */
export function askCancelBackfill(state: State, backfill: BackfillSummary): void {
  if (isRefused(state)) return;
  const { backfill_id: backfillId, workflow_id, state: now, active } = backfill;
  if (now === "CANCELLED" || now === "DONE") {
    addToast(state, `The backfill is ${now}; there is nothing to cancel.`);
    return;
  }
  state.overlay = {
    kind: "confirm",
    title: "Cancel this backfill?",
    lines: [
      `${workflow_id}, ${backfill.from} to ${backfill.to}`,
      `It makes no more runs${active === 0 ? "" : `, and ${count(active, "run")} not over ${active === 1 ? "is" : "are"} cancelled`}.`,
    ],
    action: { kind: "backfill", backfillId, to: "CANCELLED" },
  };
}

/** Drain an agent. */
export function askDrain(state: State, agentId: string): void {
  if (isRefused(state)) return;
  const agent = state.data.agents?.find((one) => one.agent_id === agentId);
  const now =
    agent === undefined
      ? []
      : [`on ${agent.host}, ${agent.status}, with ${count(agent.running_workflows, "run")}`];
  state.overlay = {
    kind: "confirm",
    title: "Drain this agent?",
    lines: [agentId, ...now, "It finishes its runs and takes no new ones until it is restarted."],
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
