import { group, lazy } from "./support/command.ts";

export default group(
  "Try the channels to which alerts are sent",
  {
    test: lazy("Send a message to a channel now", () => import("./alerts/test.ts")),
  },
  { topic: "channels", see: ["workflow validate"] },
);
