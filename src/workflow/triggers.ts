/** The triggers that a workflow declares under `on:`: one or several of each kind. */
import type { TriggerDefinitions } from "./model.ts";

type On = TriggerDefinitions | undefined;

/** What runs a workflow when an HTTP request arrives. */
export const webhooksOf = (on: On) => all(on?.webhook, on?.webhooks);

/** What runs a workflow when files change. */
export const filesOf = (on: On) => all(on?.file, on?.files);

/** What runs a workflow after runs of others. */
export const aftersOf = (on: Pick<NonNullable<On>, "workflow" | "workflows"> | undefined) =>
  all(on?.workflow, on?.workflows);

function all<T>(first: T | null | undefined, others: readonly T[] | undefined): readonly T[] {
  return first == null ? [] : [first, ...(others ?? [])];
}

/** Whether a text stands for several ids of workflows. */
export function isIdGlob(text: string): boolean {
  return text.includes("*");
}

/** Whether an id of a workflow matches a glob: `*` stands for any characters of one part of the id, `**` for any characters. */
export function idMatcher(glob: string): (id: string) => boolean {
  const parts = glob.split(/(\*+)/).map((part) => {
    if (part === "*") return "[^.]*";
    return part.startsWith("*") ? ".*" : part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  });
  const pattern = new RegExp(`^${parts.join("")}$`);
  return (id) => pattern.test(id);
}
