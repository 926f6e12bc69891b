import { group, lazy } from "./support/command.ts";

export default group(
  "List the pools, who has slots of them, and change their sizes",
  {
    list: lazy("List the pools and who has their slots", () => import("./pools/list.ts")),
    set: lazy("Set the number of slots of a pool", () => import("./pools/set.ts")),
    reset: lazy("Go back to the size in _cdktr.yml, or remove a pool", () => import("./pools/reset.ts")),
  },
  { topic: "pools", see: ["runs queue", "runs priority"] },
);
