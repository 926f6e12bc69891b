import { group, lazy } from "./support/command.ts";

export default group(
  "Manage the principal's secrets for tasks",
  {
    set: lazy("Set a secret, read from stdin", () => import("./secrets/set.ts")),
    list: lazy("List the names of the secrets", () => import("./secrets/list.ts")),
    remove: lazy("Remove a secret", () => import("./secrets/remove.ts")),
  },
  { topic: "secrets" },
);
