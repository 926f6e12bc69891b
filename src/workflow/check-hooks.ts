/** Checks that no task has the id of a hook of its workflow: in a run, a hook is the task of that id. */
import type { Finding } from "./diagnostic.ts";
import { HOOKS } from "./hooks.ts";
import { nodeAt, placeOf } from "./issues.ts";
import type { Located } from "./yaml-tree.ts";

/** Checks the ids of tasks as far as they can be read, whatever else is wrong with the file. */
export function checkHooks(root: Located): Finding[] {
  const taken = HOOKS.filter(
    (hook) => nodeAt(root, ["hooks", hook]) !== null && nodeAt(root, ["tasks", hook]) !== null,
  );
  return taken.map((hook) => ({
    code: "E057",
    message: `task "${hook}" has the id of a hook of this workflow`,
    help: "rename the task",
    ...placeOf(root, ["tasks", hook]),
  }));
}
