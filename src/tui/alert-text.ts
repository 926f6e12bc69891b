/** What the alerts show as text: everything that is known of a row. */
import type { AlertDetails } from "../contract/messages.ts";
import { dateTime } from "./format.ts";

/** An alert: what happened, its particulars, who was told. */
export function alertText({ facts, deliveries, ...alert }: AlertDetails): string {
  const told = deliveries.map(({ channel, about, state, attempts, error, changed_at_ms }) => {
    const line = `${channel}: ${about}, ${state} at ${dateTime(changed_at_ms)}, attempts: ${attempts}`;
    return error === null ? line : `${line}\n  ${error}`;
  });
  const who = told.length === 0 ? "nobody is told of it" : told.join("\n");
  return [listText(alert), listText(facts), who].filter((part) => part !== "").join("\n\n");
}

/** `name  value`, a line each; lists and mappings as JSON below their names. */
export function listText(values: Readonly<Record<string, unknown>>): string {
  const known = Object.entries(values).filter(([, value]) => value !== null && value !== undefined);
  const names = Math.max(0, ...known.map(([name]) => name.length));
  return known
    .map(([name, value]) => {
      if (typeof value === "object") return `${name}\n${JSON.stringify(value, null, 2).replace(/^/gm, "  ")}`;
      const isTime = /_at_ms$|^next_ms$|^due_ms$|^last_.*_ms$/.test(name) && typeof value === "number";
      return `${name.padEnd(names)}  ${isTime ? dateTime(value) : String(value)}`;
    })
    .join("\n");
}
