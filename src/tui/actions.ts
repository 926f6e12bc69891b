/** Carries out confirmed actions; the result is shown as a toast. */
import { nameOfApproval } from "../contract/run-approvals.ts";
import { isInHooks } from "../contract/run-hooks.ts";
import { CdktrError, errorMessage } from "../errors.ts";
import type { PrincipalClient } from "../protocol/client.ts";
import { count } from "./format.ts";
import { openRun } from "./navigation.ts";
import type { Action } from "./overlays/overlay.ts";
import type { Store } from "./store.ts";
import { addToast } from "./toast.ts";

/** Attempts before an action fails; retries carry the same idempotency key, so it is done only once. */
const ATTEMPTS = 3;

/** How long is waited for the end of a test message, and for each reply, ms. */
const TEST_MS = 90_000;
const TEST_WAIT_MS = 10_000;

/** Performs the action and reports the result. */
export async function perform(client: PrincipalClient, store: Store, action: Action): Promise<void> {
  try {
    const said = await request(client, store, action);
    store.update((state) => addToast(state, said, "good"));
  } catch (error) {
    const hint = error instanceof CdktrError && error.hint !== undefined ? ` ${error.hint}` : "";
    store.update((state) => addToast(state, `${errorMessage(error)}${hint}`, "bad"));
  }
}

async function request(client: PrincipalClient, store: Store, action: Action): Promise<string> {
  const options = { attempts: ATTEMPTS };
  const dedupe_key = crypto.randomUUID();
  switch (action.kind) {
    case "trigger": {
      const { workflowId, params } = action;
      const created = await client.runTask(
        workflowId,
        { params: { ...params }, trigger: "tui", dedupe_key },
        options,
      );
      store.update((state) => openRun(state, created.workflow_instance_id));
      return `Triggered ${workflowId}`;
    }
    case "cancel": {
      const hooks = isInHooks(await client.getRun(action.runId));
      const run = await client.cancelRun(action.runId, { ...options, hooks });
      if (hooks) return "Its tasks are over; its hooks are stopped";
      return run.status === "CANCELLED" ? "The run is cancelled" : "The run is being cancelled";
    }
    case "retry": {
      const { runId, fromStart, task, currentDefinition, params } = action;
      const created = await client.retryRun(
        {
          workflow_instance_id: runId,
          from_start: fromStart,
          ...(task === undefined ? {} : { tasks: [task] }),
          ...(currentDefinition === true ? { current_definition: true } : {}),
          ...(params === undefined ? {} : { params: { ...params } }),
          dedupe_key,
        },
        options,
      );
      store.update((state) => {
        openRun(state, created.workflow_instance_id);
        for (const note of created.notes ?? []) addToast(state, note);
      });
      if (task !== undefined) return `Running ${task} again, and what follows it`;
      return fromStart ? "Restarted from the beginning" : "Retrying from the failed tasks";
    }
    case "answer": {
      const { approval, answer, params, note } = action;
      const { workflow_instance_id, task_id, item_key } = approval;
      const item = item_key === undefined ? {} : { item_key };
      await client.answerApproval(
        { workflow_instance_id, task_id, ...item, answer, params: { ...params }, note, dedupe_key },
        options,
      );
      return `${answer === "approve" ? "Approved" : "Rejected"} ${nameOfApproval(approval)} of ${approval.workflow_id}`;
    }
    case "pause": {
      const { workflowId: workflow_id, reason, forMs } = action;
      const { held_runs, begun_runs } = await client.call(
        "PAUSEWORKFLOW",
        { workflow_id, ...(reason === "" ? {} : { reason }), ...(forMs === null ? {} : { for_ms: forMs }) },
        options,
      );
      return `${workflow_id} is paused: ${count(held_runs, "run")} held, ${begun_runs} go on`;
    }
    case "resume": {
      const { workflowId: workflow_id } = action;
      const { held_runs, event_runs, firings } = await client.call(
        "RESUMEWORKFLOW",
        { workflow_id },
        options,
      );
      const missed = event_runs + (firings?.run ?? 0);
      return `${workflow_id} goes on: ${count(missed, "missed firing")} and ${count(held_runs, "held run")}`;
    }
    case "priority": {
      const { runId: workflow_instance_id, priority } = action;
      await client.call("SETPRIORITY", { workflow_instance_id, priority }, options);
      return `Priority ${priority}`;
    }
    case "backfill": {
      const { backfillId: backfill_id, to } = action;
      await client.call("CHANGEBACKFILL", { backfill_id, to }, options);
      return `The backfill ${{ ACTIVE: "goes on", PAUSED: "is paused", CANCELLED: "is cancelled" }[to]}`;
    }
    case "retry alert": {
      const { alertId } = action;
      const which = alertId === null ? {} : { alert_id: alertId };
      const { deliveries } = await client.call("RETRYALERT", which, options);
      return `${count(deliveries, "message")} sent again`;
    }
    case "test channel": {
      const { channel } = action;
      const deadline = performance.now() + TEST_MS;
      for (;;) {
        const request = { channel, test_id: dedupe_key, wait_ms: TEST_WAIT_MS };
        const { state, error, hint } = await client.call("TESTCHANNEL", request, options);
        if (state === "SENT") return `${channel} took the message`;
        if (state === "FAILED")
          throw new CdktrError(
            `${channel}: ${error ?? "it could not be sent"}`,
            hint === null ? {} : { hint },
          );
        if (performance.now() > deadline) return `${channel} still sends; its row shows what becomes of it`;
      }
    }
    case "drain":
      await client.drainAgent(action.agentId, options);
      return `${action.agentId} drains`;
    case "quit":
      return "";
  }
}
