import { group, lazy } from "./support/command.ts";

export default group(
  "Let a new host get its own key",
  {
    create: lazy("Create a join token", () => import("./join-token/create.ts")),
    list: lazy("List the join tokens", () => import("./join-token/list.ts")),
    revoke: lazy("Invalidate a join token", () => import("./join-token/revoke.ts")),
  },
  { topic: "security" },
);
