/** The line above a list with its filter and sort order; drawn only if either is set. */
import { width } from "../../terminal/text.ts";
import type { Region } from "../screen/canvas.ts";
import { BOLD, CYAN, DIM } from "../screen/style.ts";
import type { State } from "../state.ts";

/** Draws the line; returns the region below it. */
export function drawFilterLine(region: Region, state: State, name: string, sorts: readonly string[]): Region {
  const list = state.lists[name];
  const overlay = state.overlay;
  const editing = overlay?.kind === "filter" && overlay.list === name ? overlay.editor : undefined;
  const filter = list?.filter ?? "";
  const sorted = list !== undefined && (list.sort > 0 || list.reverse);
  if (editing === undefined && filter === "" && !sorted) return region;
  let x = 0;
  if (editing !== undefined || filter !== "") {
    x = region.text(0, 0, "/ ", BOLD | CYAN);
    const end = region.text(x, 0, editing?.text ?? filter, BOLD);
    if (editing !== undefined) region.cursor(x + width(editing.text.slice(0, editing.cursor)), 0);
    x = end + 2;
    if (editing !== undefined && !sorted && region.width - x > 45) {
      region.text(x, 0, "words must all match, !word must not", DIM);
    }
  }
  if (sorted) {
    const order = sorts[list.sort] ?? "";
    region.textRight(0, `sorted by ${order}${list.reverse ? ", reversed" : ""}`, DIM, 1);
  }
  return region.sub(0, 1, region.width, region.height - 1);
}
