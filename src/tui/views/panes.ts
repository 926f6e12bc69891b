/** The line of pane names of a page. */
import type { Region } from "../screen/canvas.ts";
import { BOLD, CYAN, DIM, UNDERLINE } from "../screen/style.ts";

/** Draws the names; returns the column after them. */
export function drawPanes(region: Region, panes: readonly string[], shown: string, x = 0): number {
  let at = x;
  for (const pane of panes) {
    const title = `${pane.charAt(0).toUpperCase()}${pane.slice(1)}`;
    region.text(at, 0, title, pane === shown ? BOLD | CYAN | UNDERLINE : DIM);
    region.hit(at, 0, title.length, 1, { kind: "key", key: `pane:${pane}` });
    at += title.length + 2;
  }
  return at;
}

/** Columns that {@link drawPanes} needs. */
export function panesWidth(panes: readonly string[]): number {
  return panes.reduce((sum, pane) => sum + pane.length + 2, 0);
}
