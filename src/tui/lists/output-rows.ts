/** The rows of what a run and its tasks published. */
import type { RunDetails } from "../../contract/messages.ts";
import { memo } from "../memo.ts";
import type { ListState, RunOutputs, State } from "../state.ts";
import { matcher } from "./filter.ts";
import { tasksOf } from "./run-tasks.ts";

/** An output. */
export interface OutputRow {
  readonly id: string;
  /** Null for an output of the run. */
  readonly task: string | null;
  readonly name: string;
  readonly value: unknown;
}

/** Of a long value a filter looks at the beginning. */
const FILTERED = 2000;

const compute = memo(
  (run: RunDetails, known: RunOutputs | undefined, filter: string): readonly OutputRow[] => {
    const rows: OutputRow[] = [];
    const add = (task: string | null, outputs: Readonly<Record<string, unknown>>) => {
      for (const [name, value] of Object.entries(outputs))
        rows.push({ id: `${task ?? ""}\t${name}`, task, name, value });
    };
    add(null, run.outputs ?? {});
    const byTask = new Map(known?.tasks.map(({ id, outputs }) => [id, outputs]));
    for (const { id } of tasksOf(run)) add(id, byTask.get(id) ?? {});
    if (filter.trim() === "") return rows;
    const matches = matcher(filter);
    return rows.filter(({ task, name, value }) =>
      matches(`${task ?? "run"} ${name} ${outputText(value).slice(0, FILTERED)}`),
    );
  },
);

/** The outputs of a run in the order of its tasks, its own first. */
export function outputRows(state: State, run: RunDetails): readonly OutputRow[] {
  const list: ListState | undefined = state.lists[`outputs:${run.workflow_instance_id}`];
  return compute(run, state.data.outputs.get(run.workflow_instance_id), list?.filter ?? "");
}

/** A value as one text: text as it is, everything else as JSON. */
export function outputText(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** The same over several lines. */
export function outputLines(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}
