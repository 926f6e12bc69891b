/** What is expected of workflows and runs: the key `expect` of workflow files. */
import { z } from "zod";

/** Something that is expected by a time. */
export const ExpectationSummary = z.object({
  /** `start_within`, `max_duration`, `finish_by` or `at_least_every`; newer principals may know more. */
  rule: z.string(),
  /**
   * `open`: it has time until `due_ms`. `held`: nothing is expected while its workflow is paused. `late`: a run has not done it by then.
   * `missed`: no run has.
   */
  state: z.enum(["open", "held", "late", "missed"]),
  /** Ms since the epoch; null if there is no such time, as for a schedule that does not fire any more. */
  due_ms: z.number().nullable(),
  /** The run that it is about; absent for a workflow. */
  workflow_instance_id: z.string().optional(),
});
export type ExpectationSummary = z.infer<typeof ExpectationSummary>;
