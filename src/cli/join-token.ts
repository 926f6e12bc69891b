import { group, lazy } from "./support/command.ts";

export default group(
  "Let a new host get a key of its own",
  {
    create: lazy("Make a join token", () => import("./join-token/create.ts")),
    list: lazy("List the join tokens", () => import("./join-token/list.ts")),
    revoke: lazy("Make a join token worthless", () => import("./join-token/revoke.ts")),
  },
  { topic: "security" },
);
