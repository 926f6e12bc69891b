/** What a task's keys say, in short, for lists of tasks. */
import { itemText } from "./fan-out.ts";
import { type ItemSource, partsOf } from "./item-values.ts";
import type { TaskDefinition } from "./model.ts";

/** Literal items of a fan-out beyond either are only counted. */
const SHOWN_ITEMS = 5;
const SHOWN_CHARACTERS = 60;

/** The condition of a task, on one line; null for none. */
export function whenText({ when }: Pick<TaskDefinition, "when">): string | null {
  if (when === undefined) return null;
  return when
    .replace(/^\$\{\{|\}\}$/g, "")
    .replace(/\s+/g, " ")
    .trim();
}

/** What a fan-out runs for, in short; null for a task that is none. */
export function itemsText({ foreach, matrix }: Pick<TaskDefinition, "foreach" | "matrix">): string | null {
  if (foreach !== undefined) return sourceText(foreach);
  if (matrix === undefined) return null;
  return partsOf(matrix)
    .axes.map(([axis, source]) => `${axis}: ${sourceText(source)}`)
    .join(" × ");
}

/** A few literal items as they are, more of them by number, and an expression as it is written. */
function sourceText(source: ItemSource): string {
  if (typeof source === "string") return source;
  const texts = source.map(itemText);
  const all = texts.join(", ");
  if (texts.length <= SHOWN_ITEMS && all.length <= SHOWN_CHARACTERS) return all;
  return `${texts.length} ${texts.length === 1 ? "item" : "items"}`;
}
