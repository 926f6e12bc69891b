/** Every store checks the transition tables here before it changes a status. */
import { CdktrError } from "../../errors.ts";
import { RUN_TRANSITIONS } from "../../workflow/run-state.ts";
import { canTransition, type Transitions } from "../../workflow/status.ts";
import { TASK_TRANSITIONS } from "../../workflow/task-state.ts";
import { AGENT_TRANSITIONS } from "./agent-state.ts";
import { BACKFILL_TRANSITIONS } from "./backfill-state.ts";
import { DELIVERY_TRANSITIONS } from "./delivery-state.ts";
import { EXPECTATION_TRANSITIONS } from "./expectation-state.ts";
import { LEASE_TRANSITIONS } from "./lease-state.ts";
import { SLICE_TRANSITIONS } from "./slice-state.ts";

/** A status that must not follow the current one. */
export class IllegalTransitionError extends CdktrError {}

/** The state machines by subject. An attempt uses that of a run. */
const TABLES = {
  run: RUN_TRANSITIONS,
  task: TASK_TRANSITIONS,
  lease: LEASE_TRANSITIONS,
  slice: SLICE_TRANSITIONS,
  agent: AGENT_TRANSITIONS,
  backfill: BACKFILL_TRANSITIONS,
  delivery: DELIVERY_TRANSITIONS,
  expectation: EXPECTATION_TRANSITIONS,
} as const;

type Machine = keyof typeof TABLES;
type StateOf<M extends Machine> = keyof (typeof TABLES)[M] & string;

/** @throws IllegalTransitionError when `to` must not follow `from` */
export function requireLegal<M extends Machine>(machine: M, from: StateOf<M>, to: StateOf<M>): void {
  const table: Transitions<string> = TABLES[machine];
  if (!canTransition(table, from, to)) {
    throw new IllegalTransitionError(`Internal error: a ${machine} that is ${from} cannot become ${to}.`);
  }
}
