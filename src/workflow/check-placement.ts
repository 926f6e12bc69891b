/** Warns about `runs_on` when it asks for a value that no agent can have, among the labels that every agent has by itself. */
import { nearest } from "../terminal/did-you-mean.ts";
import type { Finding } from "./diagnostic.ts";
import { hasExpressions } from "./has-expressions.ts";
import { hookTasks } from "./hooks.ts";
import { type IssuePath, nodeAt, placeOf } from "./issues.ts";
import type { WorkflowDefinition } from "./model.ts";
import type { Located } from "./yaml-tree.ts";

/** What no agent has instead of the value, and what to write; null when an agent may have the value. */
type Check = (value: string) => { readonly because: string; readonly help: string } | null;

const ARCHITECTURES = ["x64", "arm64"];
const OTHER_NAMES = new Map([
  ["x86_64", "x64"],
  ["x86-64", "x64"],
  ["amd64", "x64"],
  ["aarch64", "arm64"],
  ["arm", "arm64"],
  ["armv8", "arm64"],
]);

const CHECKS: Readonly<Record<string, Check>> = {
  arch: (value) => {
    if (ARCHITECTURES.includes(value)) return null;
    const meant = OTHER_NAMES.get(value.toLowerCase()) ?? nearest(value, ARCHITECTURES);
    return {
      because: "the arch of an agent is x64 or arm64",
      help: meant === undefined ? "write x64 or arm64" : `did you mean "${meant}"?`,
    };
  },
  os: (value) =>
    value === "linux"
      ? null
      : { because: "the os of every agent is linux", help: 'write "linux", or leave it out' },
  cores: (value) =>
    /^[1-9]\d*$/.test(value)
      ? null
      : {
          because: "cores is the number of processors of an agent",
          help: "write a number such as 8; an agent must have exactly that many",
        },
};

/** The labels that the workflow and its tasks demand and that no agent can have. */
export function checkPlacement(
  file: Pick<WorkflowDefinition, "runs_on" | "tasks" | "hooks">,
  root: Located,
): Finding[] {
  const findings: Finding[] = [];
  const check = (runsOn: Readonly<Record<string, string>> = {}, path: IssuePath): void => {
    for (const [label, value] of Object.entries(runsOn)) {
      const problem = Object.hasOwn(CHECKS, label) && !hasExpressions(value) ? CHECKS[label]?.(value) : null;
      if (problem == null) continue;
      const at = [...path, label];
      const message = `no agent has ${label}=${value}: ${problem.because}`;
      findings.push({
        code: "W007",
        message,
        help: problem.help,
        ...(nodeAt(root, at) ?? placeOf(root, at)),
      });
    }
  };
  check(file.runs_on, ["runs_on"]);
  for (const { id, runs_on } of file.tasks) check(runs_on, ["tasks", id, "runs_on"]);
  for (const { id, runs_on } of hookTasks(file)) check(runs_on, ["hooks", id, "runs_on"]);
  return findings;
}
