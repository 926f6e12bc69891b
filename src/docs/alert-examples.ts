/** Alert files to start from: `cdktr docs examples alerts/NAME`. */
import agentFlapping from "./examples/alerts/agent-flapping.yml" with { type: "text" };
import growingOutput from "./examples/alerts/growing-output.yml" with { type: "text" };
import logErrors from "./examples/alerts/log-errors.yml" with { type: "text" };
import noSuccess from "./examples/alerts/no-success.yml" with { type: "text" };
import slowRuns from "./examples/alerts/slow-runs.yml" with { type: "text" };
import { exampleOf, type WorkflowExample } from "./examples.ts";

/** All of them; a name begins with the directory. */
export const ALERT_EXAMPLES: readonly WorkflowExample[] = Object.entries({
  "alerts/slow-runs": slowRuns,
  "alerts/log-errors": logErrors,
  "alerts/no-success": noSuccess,
  "alerts/growing-output": growingOutput,
  "alerts/agent-flapping": agentFlapping,
}).map(exampleOf);
