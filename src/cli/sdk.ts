import { group, lazy } from "./support/command.ts";

export default group(
  "Write the client packages bundled with this executable",
  {
    python: lazy("Write the Python package", () => import("./sdk/python.ts")),
    typescript: lazy("Write the types of TypeScript listeners", () => import("./sdk/typescript.ts")),
  },
  { topic: "listeners" },
);
