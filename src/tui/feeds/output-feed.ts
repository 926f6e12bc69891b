/** Reads what a run and its tasks published, and the files that they left, while it is shown. */
import type { RunDetails } from "../../contract/messages.ts";
import { errorMessage, PrincipalUnreachableError } from "../../errors.ts";
import type { PrincipalClient } from "../../protocol/client.ts";
import { currentPage } from "../navigation.ts";
import type { RunFiles, RunOutputs } from "../state.ts";
import type { Store } from "../store.ts";

/** What must be the same for outputs to be the same. */
function stateOf(run: RunDetails): string {
  const over = run.tasks.filter(({ finished_at_ms }) => finished_at_ms !== null).length;
  return `${run.attempt} ${run.status} ${over}`;
}

/** Reads the outputs of the run that is shown, unless nothing has ended since they were read. */
export async function readOutputs(
  client: Pick<PrincipalClient, "getRun">,
  store: Store,
  request: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<void> {
  const page = currentPage(store.state);
  if (page.kind !== "run" || page.pane !== "outputs") return;
  const run = store.state.data.runDetails.get(page.id);
  if (run === undefined || store.state.data.outputs.get(page.id)?.asOf === stateOf(run)) return;
  const outputs = await client
    .getRun(page.id, { ...request, outputs: true })
    .then(
      (read): RunOutputs => ({
        asOf: stateOf(read),
        tasks: read.tasks.flatMap(({ task_id, outputs: own }) =>
          own == null ? [] : [{ id: task_id, outputs: own }],
        ),
        leftOut: read.outputs_left_out === true,
      }),
    )
    .catch((error): RunOutputs => {
      if (error instanceof PrincipalUnreachableError || request.signal.aborted) throw error;
      return { asOf: stateOf(run), tasks: [], leftOut: true };
    });
  store.update(({ data }) => {
    data.outputs = new Map(data.outputs).set(page.id, outputs);
  });
}

/** Lists the files of the run that is shown, unless nothing has ended since they were listed. */
export async function readFiles(
  client: Pick<PrincipalClient, "call">,
  store: Store,
  request: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<void> {
  const page = currentPage(store.state);
  if (page.kind !== "run" || page.pane !== "files") return;
  const run = store.state.data.runDetails.get(page.id);
  if (run === undefined || store.state.data.files.get(page.id)?.asOf === stateOf(run)) return;
  const asOf = stateOf(run);
  const files = await client
    .call("LSARTIFACTS", { workflow_instance_id: page.id }, request)
    .then((artifacts): RunFiles => ({ asOf, artifacts, error: null }))
    .catch((error): RunFiles => {
      // An older principal does not know the request, for example.
      if (error instanceof PrincipalUnreachableError || request.signal.aborted) throw error;
      return { asOf, artifacts: [], error: errorMessage(error) };
    });
  store.update(({ data }) => {
    data.files = new Map(data.files).set(page.id, files);
  });
}
