import { group, lazy } from "./support/command.ts";

export default group(
  "Manage keys: who may connect",
  {
    init: lazy("Create the principal's key pair and the admin's key", () => import("./keys/init.ts")),
    add: lazy("Create a key for an agent, a client or an admin", () => import("./keys/add.ts")),
    list: lazy("List the keys that the principal knows", () => import("./keys/list.ts")),
    revoke: lazy("Shut out the holder of a key at once", () => import("./keys/revoke.ts")),
  },
  { topic: "security" },
);
