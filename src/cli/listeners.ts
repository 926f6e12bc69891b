import { group, lazy } from "./support/command.ts";

export default group(
  "List the listeners that trigger workflows",
  {
    list: lazy("List the listeners that report to the principal", () => import("./listeners/list.ts")),
  },
  { topic: "listeners" },
);
