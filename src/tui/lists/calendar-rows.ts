/** The rows of the calendar: workflows that fire or run in its time. */
import type { Forecast } from "../../contract/messages.ts";
import { memo } from "../memo.ts";
import type { ListState, State } from "../state.ts";
import { matcher } from "./filter.ts";

type ForecastWorkflow = Forecast["workflows"][number];

const NONE: readonly ForecastWorkflow[] = [];

const compute = memo(
  (workflows: readonly ForecastWorkflow[], filter: string): readonly ForecastWorkflow[] => {
    const matches = matcher(filter);
    return workflows.filter(({ workflow_id, is_paused }) =>
      matches(`${workflow_id}${is_paused ? " paused" : ""}`),
    );
  },
);

/** Those that the filter leaves, in the order of their ids. */
export function calendarRows(
  state: State,
  list: Readonly<ListState> | undefined,
): readonly ForecastWorkflow[] {
  return compute(state.data.forecast?.workflows ?? NONE, list?.filter ?? "");
}
