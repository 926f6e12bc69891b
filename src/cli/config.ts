import { group, lazy } from "./support/command.ts";

export default group(
  "Show the settings in force",
  {
    list: lazy("List every setting with its value and where it came from", () => import("./config/list.ts")),
  },
  { topic: "configuration" },
);
