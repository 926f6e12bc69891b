/** The files that the tasks of a run left. */
import type { ArtifactsSummary, RunDetails } from "../../contract/messages.ts";
import type { ArtifactFile } from "../../protocol/artifact-files.ts";
import { nodeId } from "../../workflow/item-id.ts";
import { memo } from "../memo.ts";
import type { State } from "../state.ts";
import { matcher } from "./filter.ts";

/** A file that a task, or an item, left. */
export interface FileRow extends ArtifactFile {
  readonly id: string;
  readonly task: string;
}

const compute = memo(
  (runId: string, known: readonly ArtifactsSummary[], filter: string): readonly FileRow[] => {
    const matches = matcher(filter);
    return known.flatMap(({ task_id, item_key, hash, files }) => {
      const task = nodeId(task_id, item_key);
      return files
        .filter(({ path }) => matches(`${task} ${path}`))
        .map((file): FileRow => ({ id: `${task}\t${file.path}`, task, runId, hash, file }));
    });
  },
);

const NONE: readonly ArtifactsSummary[] = [];

/** The files of a run in the order of its tasks. */
export function fileRows(state: State, run: Pick<RunDetails, "workflow_instance_id">): readonly FileRow[] {
  const id = run.workflow_instance_id;
  return compute(id, state.data.files.get(id)?.artifacts ?? NONE, state.lists[`files:${id}`]?.filter ?? "");
}
