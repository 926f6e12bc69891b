import { group, lazy } from "./support/command.ts";

export default group(
  "Show the effective settings",
  {
    list: lazy("List every setting with its value and its source", () => import("./config/list.ts")),
  },
  { topic: "configuration" },
);
