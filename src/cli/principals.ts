import { group, lazy } from "./support/command.ts";

export default group("List the principals of the installation, and who leads", {
  list: lazy(
    "List the principals, who leads, and how far the others are",
    () => import("./principals/list.ts"),
  ),
});
