/** Keys in the list of agents. */
import { selectedOf } from "../lists/list-ids.ts";
import { listState } from "../navigation.ts";
import { askDrain } from "../overlays/ask.ts";
import type { State } from "../state.ts";
import type { Binding } from "./binding.ts";

function withAgent(state: State, use: (id: string) => void): void {
  const id = selectedOf(state, "agents");
  if (id !== null) use(id);
}

export const agentKeys: readonly Binding[] = [
  {
    keys: ["ENTER", "KP_ENTER"],
    label: "Enter",
    help: "its runs",
    footer: "its runs",
    run: (state) =>
      withAgent(state, (id) => {
        listState(state, "runs").filter = id;
        state.tab = "runs";
        state.pages.runs.splice(1);
      }),
  },
  {
    keys: ["d"],
    label: "d",
    help: "drain: finish its runs, take no new ones",
    footer: "drain",
    run: (state) => withAgent(state, (id) => askDrain(state, id)),
  },
  {
    keys: ["y"],
    label: "y",
    help: "copy the agent's id",
    run: (state, effects) => withAgent(state, (id) => effects.copy(id, id)),
  },
];
