/** Turns what a terminal shows (text with escape sequences) into an SVG: text as text, lines and blocks as shapes. */

const CELL_WIDTH = 8.4;
const CELL_HEIGHT = 17;
const MARGIN = 12;
const BAR = 28;
const BACKGROUND = "#16181d";
const FOREGROUND = "#d5d8df";
/** The sixteen colours of the palette. */
const PALETTE = [
  "#2b2f37",
  "#e06c75",
  "#98c379",
  "#e5c07b",
  "#61afef",
  "#c678dd",
  "#56b6c2",
  "#d5d8df",
  "#7f848e",
  "#ef8b92",
  "#b1d69a",
  "#efd49b",
  "#86c3f5",
  "#d7a1e7",
  "#7fcbd4",
  "#ffffff",
];

interface Look {
  readonly foreground: number | null;
  readonly background: number | null;
  readonly bold: boolean;
  readonly dim: boolean;
  readonly italic: boolean;
  readonly underline: boolean;
  readonly inverse: boolean;
}

const PLAIN: Look = {
  foreground: null,
  background: null,
  bold: false,
  dim: false,
  italic: false,
  underline: false,
  inverse: false,
};

interface Cell {
  readonly text: string;
  readonly columns: number;
  readonly look: Look;
}

/** The SVG of a screen of `width` × `height` cells. */
export function screenToSvg(screen: string, width: number, height: number, title: string): string {
  const rows = screen.split("\n").slice(0, height).map(parseRow);
  const w = Math.round(width * CELL_WIDTH + 2 * MARGIN);
  const h = Math.round(height * CELL_HEIGHT + 2 * MARGIN + BAR);
  const body = rows.map((row, y) => drawRow(row, y)).join("\n");
  const dots = ["#ff5f57", "#febc2e", "#28c840"]
    .map((colour, i) => `<circle cx="${18 + i * 18}" cy="15" r="5.5" fill="${colour}"/>`)
    .join("");
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${w} ${h}" width="${w}" height="${h}" font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="14">
<title>${escapeXml(title)}</title>
<rect width="${w}" height="${h}" rx="8" fill="${BACKGROUND}"/>
${dots}
<text x="${w / 2}" y="19" text-anchor="middle" font-size="12" fill="${PALETTE[8]}">${escapeXml(title)}</text>
<g transform="translate(${MARGIN} ${MARGIN + BAR - 8})">
${body}
</g>
</svg>
`;
}

function parseRow(row: string): Cell[] {
  const cells: Cell[] = [];
  let look = PLAIN;
  for (const piece of row.split(/(\x1b\[[\d;:]*m)/)) {
    const codes = /^\x1b\[([\d;:]*)m$/.exec(piece)?.[1];
    if (codes !== undefined) {
      look = applySgr(look, codes);
      continue;
    }
    for (const { segment } of new Intl.Segmenter().segment(piece.replace(/\x1b[^m]*$|[\x00-\x1f]/g, ""))) {
      cells.push({ text: segment, columns: Math.max(1, Bun.stringWidth(segment)), look });
    }
  }
  return cells;
}

function applySgr(before: Look, codes: string): Look {
  let look = before;
  for (const code of (codes === "" ? "0" : codes).split(";").map(Number)) {
    if (code === 0) look = PLAIN;
    else if (code === 1) look = { ...look, bold: true };
    else if (code === 2) look = { ...look, dim: true };
    else if (code === 3) look = { ...look, italic: true };
    else if (code === 4) look = { ...look, underline: true };
    else if (code === 7) look = { ...look, inverse: true };
    else if (code === 22) look = { ...look, bold: false, dim: false };
    else if (code === 23) look = { ...look, italic: false };
    else if (code === 24) look = { ...look, underline: false };
    else if (code === 27) look = { ...look, inverse: false };
    else if (code >= 30 && code <= 37) look = { ...look, foreground: code - 30 };
    else if (code === 39) look = { ...look, foreground: null };
    else if (code >= 40 && code <= 47) look = { ...look, background: code - 40 };
    else if (code === 49) look = { ...look, background: null };
    else if (code >= 90 && code <= 97) look = { ...look, foreground: code - 82 };
    else if (code >= 100 && code <= 107) look = { ...look, background: code - 92 };
  }
  return look;
}

function drawRow(cells: readonly Cell[], y: number): string {
  let x = 0;
  let out = "";
  let run = "";
  let runX = 0;
  let runLook = PLAIN;
  const flush = () => {
    if (run.trim() !== "") out += drawText(run, runX, y, runLook);
    run = "";
  };
  out += drawBackgrounds(cells, y);
  for (const cell of cells) {
    const shape = drawShape(cell, x, y);
    if (shape !== "") {
      flush();
      out += shape;
    } else if (/^[\x20-\x7e]$/.test(cell.text)) {
      if (run === "" || cell.look !== runLook) {
        flush();
        runX = x;
        runLook = cell.look;
      }
      run += cell.text;
    } else {
      flush();
      out += drawText(cell.text, x, y, cell.look, cell.columns);
    }
    x += cell.columns;
  }
  flush();
  return out;
}

function colours(look: Look): { text: string; behind: string | null; opacity: number } {
  const foreground = look.foreground === null ? FOREGROUND : (PALETTE[look.foreground] ?? FOREGROUND);
  const background = look.background === null ? null : (PALETTE[look.background] ?? null);
  const opacity = look.dim ? 0.6 : 1;
  if (look.inverse) return { text: background ?? BACKGROUND, behind: foreground, opacity };
  return { text: foreground, behind: background, opacity };
}

const n = (value: number) => String(Math.round(value * 100) / 100);
const px = (x: number) => n(x * CELL_WIDTH);

/** What lies behind the cells of a row: one rectangle for neighbours of one look, so that no seam shows. */
function drawBackgrounds(cells: readonly Cell[], y: number): string {
  let out = "";
  let x = 0;
  for (let i = 0; i < cells.length; ) {
    const first = cells[i];
    if (first === undefined) break;
    const { text, behind, opacity } = colours(first.look);
    let columns = 0;
    for (; i < cells.length; i++) {
      const cell = cells[i];
      if (cell === undefined) break;
      const other = colours(cell.look);
      const same =
        other.behind === behind && other.opacity === opacity && cell.look.underline === first.look.underline;
      if (!same || (first.look.underline && other.text !== text)) break;
      columns += cell.columns;
    }
    const fill = (top: number, height: number, colour: string) =>
      `<rect x="${px(x)}" y="${n(top)}" width="${px(columns)}" height="${height}" fill="${colour}" fill-opacity="${opacity}"/>`;
    if (behind !== null) out += fill(y * CELL_HEIGHT, CELL_HEIGHT, behind);
    if (first.look.underline) out += fill((y + 1) * CELL_HEIGHT - 1.5, 1, text);
    x += columns;
  }
  return out;
}

function drawText(text: string, x: number, y: number, look: Look, columns = text.length): string {
  const { text: fill, opacity } = colours(look);
  const weight = look.bold ? ' font-weight="bold"' : "";
  const slant = look.italic ? ' font-style="italic"' : "";
  const dim = opacity === 1 ? "" : ` fill-opacity="${opacity}"`;
  const length = ` textLength="${n(columns * CELL_WIDTH)}" lengthAdjust="spacingAndGlyphs"`;
  return `<text x="${px(x)}" y="${n(y * CELL_HEIGHT + 13)}" xml:space="preserve" fill="${fill}"${dim}${weight}${slant}${length}>${escapeXml(text)}</text>`;
}

/** Arms of the box characters: up, right, down, left. */
const ARMS: Readonly<Record<string, string>> = {
  "─": "rl",
  "│": "ud",
  "┌": "rd",
  "┐": "ld",
  "└": "ur",
  "┘": "ul",
  "├": "urd",
  "┤": "uld",
  "┬": "rld",
  "┴": "url",
  "┼": "urld",
  "╭": "rd",
  "╮": "ld",
  "╰": "ur",
  "╯": "ul",
  "┃": "UD",
  "╵": "u",
  "╷": "d",
  "╴": "l",
  "╶": "r",
};
const LOWER = "▁▂▃▄▅▆▇█";
const LEFT = "▏▎▍▌▋▊▉█";

/** Lines and blocks, so that they meet whatever font the reader has; "" for all other characters. */
function drawShape({ text, look }: Cell, x: number, y: number): string {
  const { text: fill, opacity } = colours(look);
  const left = x * CELL_WIDTH;
  const top = y * CELL_HEIGHT;
  const rect = (dx: number, dy: number, w: number, h: number, alpha = opacity) =>
    `<rect x="${n(left + dx)}" y="${n(top + dy)}" width="${n(w)}" height="${n(h)}" fill="${fill}" fill-opacity="${alpha}"/>`;
  const low = LOWER.indexOf(text);
  if (low !== -1) {
    const height = ((low + 1) / 8) * CELL_HEIGHT;
    return rect(0, CELL_HEIGHT - height, text === "█" ? CELL_WIDTH + 0.3 : CELL_WIDTH - 1, height);
  }
  const part = LEFT.indexOf(text);
  if (part !== -1) return rect(0, 0, ((part + 1) / 8) * CELL_WIDTH, CELL_HEIGHT);
  if (text === "░") return rect(0, 0, CELL_WIDTH + 0.3, CELL_HEIGHT, 0.18);
  const arms = ARMS[text];
  if (arms === undefined) return "";
  const cx = left + CELL_WIDTH / 2;
  const cy = top + CELL_HEIGHT / 2;
  const ends: Readonly<Record<string, string>> = {
    u: `V${n(top)}`,
    d: `V${n(top + CELL_HEIGHT)}`,
    l: `H${n(left)}`,
    r: `H${n(left + CELL_WIDTH)}`,
  };
  const path = [...arms.toLowerCase()].map((arm) => `M${n(cx)} ${n(cy)}${ends[arm]}`).join("");
  const thick = arms === arms.toUpperCase() ? 3 : 1.2;
  return `<path d="${path}" stroke="${fill}" stroke-opacity="${opacity}" stroke-width="${thick}" stroke-linecap="square" fill="none"/>`;
}

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
