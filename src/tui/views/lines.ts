/** Scrollable lines of text. */
import type { Region, Span } from "../screen/canvas.ts";
import { drawScrollbar } from "./table.ts";

/** Draws the lines from `top` on, clamped to the last page; records the position on the canvas. */
export function drawLines(
  region: Region,
  lines: readonly (readonly Span[])[],
  top: number,
  name: string,
): void {
  const last = Math.max(0, lines.length - region.height);
  const first = Math.min(Math.max(0, top), last);
  region.canvas.report(name, { top: first, height: region.height });
  const columns = last > 0 ? region.width - 2 : region.width;
  for (let y = 0; y < region.height; y++) {
    const line = lines[first + y];
    if (line === undefined) break;
    region.spans(0, y, line, columns);
  }
  if (last > 0)
    drawScrollbar(region.sub(region.width - 1, 0, 1, region.height), first, region.height, lines.length);
}
