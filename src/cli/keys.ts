import { group, lazy } from "./support/command.ts";

export default group(
  "Set up keys, and say who may connect",
  {
    init: lazy("Make the principal's key pair and the key of its admin", () => import("./keys/init.ts")),
    add: lazy("Make a key for an agent, a client or an admin", () => import("./keys/add.ts")),
    list: lazy("List the keys that the principal knows", () => import("./keys/list.ts")),
    revoke: lazy("Shut out the holder of a key, at once", () => import("./keys/revoke.ts")),
  },
  { topic: "security" },
);
