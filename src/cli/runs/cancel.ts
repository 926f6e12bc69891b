import { agentsWord } from "../../contract/run-agents.ts";
import { isInHooks } from "../../contract/run-hooks.ts";
import { UnprocessableError } from "../../errors.ts";
import { RUN_TRANSITIONS } from "../../workflow/run-state.ts";
import { isTerminal } from "../../workflow/status.ts";
import { command } from "../support/command.ts";
import { withPrincipal } from "../support/connect.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { findRun, runArg } from "../support/run-id.ts";
import { runJson } from "../support/run-report.ts";
import { printJson } from "../support/stdout.ts";

export default command({
  meta: { name: "cancel", description: "Cancel a run" },
  args: {
    ...runArg,
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    completes: { run: "run" },
    details:
      "A waiting run is cancelled at once. For a running one, the agent ends every task with all its processes: TERM, a grace period, KILL. Its hooks on_cancel and on_exit run then; cancelled once more, these are stopped too. A run that is to start later does not start, and has no hooks.",
    see: ["runs why"],
    topic: "hooks",
    examples: [
      { command: "cdktr runs cancel 0198c2a4", does: "cancel the run whose id begins so" },
      { command: "cdktr runs cancel 0198c2a4", does: "again, while its hooks run: stop them" },
    ],
  },
  async run({ args }) {
    let isInItsHooks = false;
    const run = await withPrincipal(args, async (connection) => {
      const found = await findRun(connection, args.run);
      if (isTerminal(RUN_TRANSITIONS, found.status)) {
        throw new UnprocessableError(
          `Run ${found.workflow_instance_id} of ${found.workflow_id} is over already: ${found.status}.`,
        );
      }
      isInItsHooks = isInHooks(found);
      return connection.client.cancelRun(found.workflow_instance_id, { hooks: isInItsHooks });
    });
    if (args.json) return printJson(runJson(run));
    if (isInItsHooks) {
      say(
        `The tasks of run ${run.workflow_instance_id} of ${run.workflow_id} are over; its hooks are stopped. Its status does not depend on them.`,
      );
      return;
    }
    const agents = agentsWord(run);
    say(
      run.status === "CANCELLED"
        ? `Run ${run.workflow_instance_id} of ${run.workflow_id} is cancelled.`
        : `Run ${run.workflow_instance_id} of ${run.workflow_id} is being cancelled${agents === null ? "" : ` on ${agents}`}.`,
    );
  },
});
