/** The room of workflow definitions: reading and checking files, the graph of tasks, schedules and parameters. */

export { buildDag, type Dag, type DagTask, findCycles } from "./dag.ts";
export {
  DIAGNOSTIC_CODES,
  type Diagnostic,
  type DiagnosticCode,
  fileDiagnostic,
  type RenderOptions,
  renderDiagnostic,
} from "./diagnostic.ts";
export { formatDuration, MAX_DURATION_MS, parseDuration } from "./duration.ts";
export { type LoadOptions, type LoadResult, loadWorkflowFile, parseBytes } from "./load.ts";
export { isOwnVariable, paramVariable, resolveParams } from "./params.ts";
export { MAX_FILE_BYTES, type ParseResult, type ParseSource, parseWorkflow } from "./parse.ts";
export { NO_RETRY, retryDelayMs } from "./retry.ts";
export { firingsBetween, nextFiring, previousFiring, type Schedule } from "./schedule.ts";
export { findDuplicateIds, isWorkflowPath, workflowIdOf } from "./workflow-id.ts";
