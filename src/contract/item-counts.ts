/** How the items of a fan-out are told in a few words. */
import { RUN_STATUSES } from "../workflow/status.ts";
import type { ItemCounts } from "./messages.ts";

const number = (count: number): string => count.toLocaleString("en");

/** `9,997 of 10,000 COMPLETED, 2 FAILED, 1 RUNNING`. */
export function itemsWord({ total, by_status }: ItemCounts): string {
  if (total === 0) return "no items";
  const others = RUN_STATUSES.filter((status) => status !== "COMPLETED" && (by_status[status] ?? 0) > 0);
  const completed = `${number(by_status.COMPLETED ?? 0)} of ${number(total)} COMPLETED`;
  return [completed, ...others.map((status) => `${number(by_status[status] ?? 0)} ${status}`)].join(", ");
}
