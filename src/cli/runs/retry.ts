import { command } from "../support/command.ts";
import { withPrincipal } from "../support/connect.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { findRun } from "../support/run-id.ts";
import { followArgs, watchRun } from "../support/watch-run.ts";

export default command({
  meta: { name: "retry", description: "Run again what failed, or everything" },
  args: {
    run: { type: "positional", required: true, description: "The run's id or its beginning" },
    "from-start": { type: "boolean", description: "Run every task, also those that completed" },
    ...followArgs,
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    exit: {
      0: "Done; with --wait or --follow: the run COMPLETED",
      1: "The run that was waited for did not COMPLETE, or it failed",
    },
    completes: { run: "run" },
    details:
      "Makes a new run with the definition and the parameters of the old one. Tasks that completed are not run again, unless --from-start says so.",
    examples: [
      { command: "cdktr runs retry 0198c2a4", does: "go on from the failed tasks" },
      {
        command: "cdktr runs retry 0198c2a4 --from-start --follow",
        does: "everything once more, watching it",
      },
    ],
  },
  run: ({ args }) =>
    withPrincipal(args, async (connection) => {
      const old = await findRun(connection, args.run);
      return watchRun(connection, {
        workflowId: old.workflow_id,
        options: args,
        trigger: async () => {
          const created = await connection.client.retryRun({
            workflow_instance_id: old.workflow_instance_id,
            from_start: args["from-start"] ?? false,
            dedupe_key: crypto.randomUUID(),
          });
          return created.workflow_instance_id;
        },
      });
    }),
});
