import { type CdktrError, NotFoundError, PrincipalUnreachableError } from "../../errors.ts";
import { type PrincipalClient, RequestRefusedError } from "../../protocol/client.ts";
import { command, keyValues, repeated } from "../support/command.ts";
import { withPrincipal } from "../support/connect.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { followArgs, followExit, watchRun } from "../support/watch-run.ts";

/** Safe to repeat when no reply comes, because a trigger carries an idempotency key. */
const TRIGGER_ATTEMPTS = 5;

export default command({
  meta: { name: "run", description: "Trigger a workflow" },
  args: {
    id: {
      type: "positional",
      required: true,
      description: "The workflow: etl.daily is the file etl/daily.yml",
    },
    param: { type: "string", alias: "P", valueHint: "K=V", description: "A parameter of the workflow" },
    ...followArgs,
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    exit: followExit,
    see: ["runs show", "runs cancel", "logs tail"],
    completes: { id: "workflow" },
    details:
      "Prints the id of the run. The trigger is acknowledged when the run is on the principal's disk: from then on it is guaranteed to run.",
    repeatable: ["param"],
    topic: "workflows",
    examples: [
      { command: "cdktr task run etl.daily", does: "trigger it and go on" },
      { command: "cdktr run etl.daily --follow", does: "watch its output until it is over" },
      {
        command: "cdktr run etl.daily -P day=2025-01-20 -P region=eu --wait",
        does: "with parameters; exit 0 if it COMPLETED",
      },
      { command: "cdktr run etl.daily --wait --json", does: "the outcome and every task, for a program" },
    ],
  },
  run({ args, rawArgs }) {
    const params = keyValues(repeated(rawArgs, "param"), "-P");
    const dedupeKey = `cli-${crypto.randomUUID()}`;
    return withPrincipal(args, (connection) =>
      watchRun(connection, {
        workflowId: args.id,
        options: args,
        trigger: async () => {
          try {
            const created = await connection.client.runTask(
              args.id,
              { params, trigger: "cli", dedupe_key: dedupeKey },
              { attempts: TRIGGER_ATTEMPTS },
            );
            return created.workflow_instance_id;
          } catch (error) {
            if (error instanceof RequestRefusedError) throw await withHint(connection.client, args.id, error);
            if (!(error instanceof PrincipalUnreachableError)) throw error;
            throw new PrincipalUnreachableError(
              `The principal at ${connection.client.address} stopped answering: it is unknown whether ${args.id} was triggered.`,
              { hint: `Check 'cdktr runs list --workflow ${args.id}' when it is back.`, cause: error },
            );
          }
        },
      }),
    );
  },
});

/** A refusal with what to do, when it is about a workflow that does not exist. */
async function withHint(
  client: PrincipalClient,
  text: string,
  error: RequestRefusedError,
): Promise<CdktrError> {
  if (error.hint !== undefined) return error;
  const known = await client.listWorkflows();
  if (Object.hasOwn(known, text)) return error;
  // A path was given, as `workflow validate` takes one.
  const id = text
    .replace(/\.ya?ml$/, "")
    .replace(/^\.?\//, "")
    .replaceAll("/", ".");
  const asId = Object.keys(known).find((each) => id === each || id.endsWith(`.${each}`));
  const hint =
    asId !== undefined
      ? `A workflow is named by its id, not by its file: 'cdktr run ${asId}'.`
      : "'cdktr workflow list' shows the workflows of this principal. A file must be in its workflow directory.";
  return new NotFoundError(error.message, { hint, cause: error });
}
