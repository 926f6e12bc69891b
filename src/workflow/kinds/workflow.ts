import { type NameCheck, named, oneOf, templated, VARIABLE_NAME, type ValueOf } from "../field.ts";
import { ANY_VALUE, filled, flag, text } from "../scalars.ts";
import { Kind } from "./kind.ts";

const paramNames = (): NameCheck => (param) =>
  VARIABLE_NAME.test(param)
    ? null
    : {
        code: "E054",
        message: `${JSON.stringify(param)} is not a valid parameter name`,
        help: "names of parameters have letters, digits and _, and do not start with a digit",
      };

/** Runs another workflow, as a run of its own. The principal does that: no agent is held. */
export const ChildWorkflow = new Kind(
  "Workflow",
  "runs another workflow, as a run of its own",
  {
    workflow: filled()
      .help("such as workflow: etl.load, for the file etl/load.yml")
      .describe("Id of the workflow: etl.load is the file etl/load.yml"),
    params: named(VARIABLE_NAME, paramNames, templated(text().json(ANY_VALUE), "string"))
      .default({})
      .describe("Its parameters; lists and mappings are passed on as JSON"),
    wait: flag()
      .default(true)
      .describe("Whether the task is over when that run is; with false, as soon as the run is queued"),
    failover: oneOf("rerun", "never").sparse().describe("For that run, instead of what its file says"),
  },
  {
    command: ({ workflow, params }) => [
      "run",
      workflow,
      ...Object.entries(params).flatMap(([name, value]) => ["-P", `${name}=${value}`]),
    ],
    waitsFor: "run",
    ignores: [
      ...["retry", "repeat", "grace", "background", "limits", "user", "runs_on", "pool", "working_directory"],
      ...["env", "env_file", "secrets", "stdin"],
    ],
  },
);
export type ChildWorkflowConfig = ValueOf<typeof ChildWorkflow>;
