/** Draws overlays. */

import { nameOfApproval } from "../../contract/run-approvals.ts";
import { printable } from "../../terminal/foreign-text.ts";
import { fit, pad, width, wrapHard, wrapWords } from "../../terminal/text.ts";
import { paramRulesText } from "../../workflow/param-types.ts";
import type { Binding } from "../keys/binding.ts";
import { groupsFor } from "../keys/bindings.ts";
import { COMMANDS, completions } from "../overlays/command.ts";
import { fieldProblem } from "../overlays/form-field.ts";
import type { LineEditor } from "../overlays/line-editor.ts";
import type { FormField, FormPurpose, Overlay } from "../overlays/overlay.ts";
import type { Region, Span } from "../screen/canvas.ts";
import { BOLD, CYAN, DIM, INVERSE, PLAIN, RED, type Style, YELLOW } from "../screen/style.ts";
import type { State } from "../state.ts";
import { drawLines } from "./lines.ts";

/** Draws the overlay over `screen`; its last row belongs to the footer. */
export function drawOverlay(screen: Region, state: State, overlay: Overlay): void {
  switch (overlay.kind) {
    case "help":
      drawHelp(screen, state, overlay.top);
      break;
    case "text":
      drawText(screen, overlay);
      break;
    case "confirm":
      drawConfirm(screen, overlay);
      break;
    case "form":
      drawForm(screen, overlay);
      break;
    case "command":
      drawCommand(screen, state, overlay);
      break;
    case "prompt":
      drawPrompt(screen, overlay);
      break;
    case "menu":
      drawMenu(screen, overlay);
      break;
    case "filter":
      break;
  }
}

type Of<K extends Overlay["kind"]> = Extract<Overlay, { kind: K }>;

/** A framed box in the middle of the screen. */
function box(screen: Region, title: string, columns: number, rows: number, style: Style): Region {
  const w = Math.min(screen.width, columns + 4);
  const h = Math.min(screen.height - 2, rows + 2);
  const area = screen.sub(
    Math.floor((screen.width - w) / 2),
    Math.max(1, Math.floor((screen.height - h) / 2)),
    w,
    h,
  );
  area.clear();
  const inside = area.frame(title, style);
  return inside.sub(1, 0, inside.width - 2, inside.height);
}

/** An input line with the cursor; of a long text, the end is visible. */
function drawEditor(region: Region, x: number, y: number, editor: LineEditor, style: Style): void {
  const space = region.width - x - 1;
  const before = editor.text.slice(0, editor.cursor);
  let skip = 0;
  while (width(before.slice(skip)) > space) skip++;
  region.text(x, y, editor.text.slice(skip), style);
  region.cursor(x + width(before.slice(skip)), y);
}

function drawHelp(screen: Region, state: State, top: number): void {
  const lines: Span[][] = [];
  const seen = new Set<string>();
  for (const { title, bindings } of groupsFor(state)) {
    const valid = bindings.filter(
      (binding) => isShown(binding, state) && !binding.keys.every((key) => seen.has(key)),
    );
    for (const binding of valid) for (const key of binding.keys) seen.add(key);
    if (valid.length === 0) continue;
    if (lines.length > 0) lines.push([]);
    lines.push([[title, BOLD | CYAN]]);
    for (const { label, help } of valid)
      lines.push([
        [`  ${label.padEnd(11)}`, BOLD],
        [help, PLAIN],
      ]);
  }
  lines.push([], [["Commands", BOLD | CYAN]]);
  for (const { names, argument, help } of COMMANDS) {
    const text = `:${names[0]}${argument === undefined ? "" : ` ${argument}`}`;
    lines.push([
      [`  ${text.padEnd(18)}`, BOLD],
      [help, PLAIN],
    ]);
  }
  lines.push([], [["The mouse works too: click, double-click, wheel, tabs, footer.", DIM]]);
  const inside = box(screen, "Help · Esc closes", Math.min(64, screen.width - 6), lines.length, CYAN);
  drawLines(inside, lines, top, "help");
}

/** Of a very long text the beginning is drawn. */
const MOST_DRAWN = 200_000;

function drawText(screen: Region, { title, text, top }: Of<"text">): void {
  const columns = Math.max(20, screen.width - 8);
  const shown = text.slice(0, MOST_DRAWN).split("\n");
  const lines = shown.flatMap((line) => wrapHard(printable(line), columns - 2));
  if (text.length > MOST_DRAWN)
    lines.push("", `… ${text.length - MOST_DRAWN} more characters; y copies them too`);
  const inside = box(
    screen,
    `${fit(title, columns - 30)} · y copies, Esc closes`,
    columns,
    lines.length,
    CYAN,
  );
  drawLines(
    inside,
    lines.map((line) => [[line, PLAIN]]),
    top,
    "help",
  );
}

function isShown({ when, offered }: Binding, state: State): boolean {
  return (when?.(state) ?? true) && (offered?.(state) ?? true);
}

function drawConfirm(screen: Region, overlay: Of<"confirm">): void {
  const columns = Math.min(64, screen.width - 8);
  const lines = overlay.lines.flatMap((line) => wrapWords(line, columns));
  const inside = box(screen, overlay.title, columns, lines.length + 3, YELLOW | BOLD);
  lines.forEach((line, y) => {
    inside.text(0, y + 1, line);
  });
  const y = lines.length + 2;
  let x = inside.text(0, y, " y ", BOLD | INVERSE);
  inside.hit(0, y, x, 1, { kind: "key", key: "y" });
  x = inside.text(x + 1, y, "yes", PLAIN) + 3;
  const from = x;
  x = inside.text(x, y, " n Esc ", BOLD | INVERSE);
  inside.hit(from, y, x - from, 1, { kind: "key", key: "ESCAPE" });
  inside.text(x + 1, y, "no", PLAIN);
}

function drawForm(screen: Region, overlay: Of<"form">): void {
  const columns = Math.min(70, screen.width - 8);
  const labels = Math.min(24, Math.max(...overlay.fields.map((field) => width(field.name))));
  const room = Math.max(3, screen.height - 10);
  const first = Math.max(
    0,
    Math.min(overlay.index - Math.floor(room / 4), overlay.fields.length - Math.floor(room / 2)),
  );
  const fields = overlay.fields.slice(first, first + Math.floor(room / 2));
  const { title, intro, verb } = formWords(overlay.purpose, columns);
  const above = intro.slice(0, Math.max(0, screen.height - 8 - fields.length * 2));
  const rows = above.length + fields.length * 2 + 3;
  const style = overlay.purpose.kind === "reject" ? YELLOW : CYAN;
  const inside = box(screen, title, columns, rows, style | BOLD);
  for (const [y, line] of above.entries()) inside.text(0, y, line);
  fields.forEach((field, i) => {
    const chosen = first + i === overlay.index;
    const y = above.length + 1 + i * 2;
    inside.text(0, y, pad(field.name, labels), chosen ? BOLD | CYAN : PLAIN);
    const input = inside.sub(labels + 2, y, inside.width - labels - 2, 2);
    drawField(input, field, chosen);
  });
  const y = rows - 1;
  if (overlay.error !== null) inside.text(0, y, overlay.error, RED | BOLD);
  else {
    const choose = overlay.fields[overlay.index]?.choices === null ? "Tab fields" : "fields  ←→ choose";
    inside.text(0, y, `Enter next / ${verb}   ↑↓ ${choose}   ^S ${verb}   Esc cancel`, DIM);
  }
}

/** Title, what stands above the fields, and what sending it does. */
function formWords(
  purpose: FormPurpose,
  columns: number,
): { title: string; intro: readonly string[]; verb: string } {
  if (purpose.kind === "trigger")
    return { title: `Trigger ${purpose.workflowId}`, intro: [], verb: "trigger" };
  if (purpose.kind === "pause")
    return {
      title: `Pause ${purpose.workflowId}`,
      intro: wrapWords("Schedules and events make no runs; runs that people ask for are held.", columns),
      verb: "pause",
    };
  if (purpose.kind === "retry")
    return {
      title: `Retry ${purpose.runId.slice(0, 13)}`,
      intro: ["A new run; tasks that are kept are not run again."],
      verb: "retry",
    };
  const { approval, kind: verb } = purpose;
  const title = `${verb === "approve" ? "Approve" : "Reject"} ${nameOfApproval(approval)} of ${approval.workflow_id}`;
  const message = approval.message.trim().split("\n");
  return {
    title: printable(title),
    intro: message.flatMap((line) => wrapWords(printable(line), columns)),
    verb,
  };
}

function drawField(input: Region, field: FormField, chosen: boolean): void {
  const { text } = field.editor;
  if (field.choices !== null) {
    const shown = text === "" ? "…" : text;
    input.text(0, 0, fit(chosen ? `< ${shown} >` : `  ${shown}`, input.width), chosen ? BOLD : PLAIN);
  } else {
    input.text(0, 0, "_".repeat(input.width), DIM);
    if (chosen) drawEditor(input, 0, 0, field.editor, BOLD);
    else input.text(0, 0, fit(text, input.width));
  }
  const problem = text === "" && field.byDefault === null ? null : fieldProblem(field);
  if (problem !== null) {
    input.text(0, 1, fit(problem, input.width), RED);
    return;
  }
  const notes = [field.description, paramRulesText(field.rules), field.byDefault === null ? "required" : ""];
  input.text(0, 1, fit(notes.filter(Boolean).join(" · "), input.width), DIM);
}

function drawCommand(screen: Region, state: State, overlay: Of<"command">): void {
  const line = screen.sub(0, screen.height - 1, screen.width, 1);
  line.clear();
  const x = line.text(0, 0, ":", BOLD | CYAN);
  drawEditor(line, x, 0, overlay.editor, BOLD);
  const found = completions(state, overlay.editor.text, 8);
  const rows = overlay.error === null ? found : [];
  rows.forEach((text, i) => {
    const y = screen.height - 1 - rows.length + i;
    screen.text(0, y, pad(` ${text}`, Math.min(46, screen.width)), INVERSE);
  });
  if (overlay.error !== null) line.textRight(0, overlay.error, RED | BOLD, 1);
}

function drawPrompt(screen: Region, overlay: Of<"prompt">): void {
  const line = screen.sub(0, screen.height - 1, screen.width, 1);
  line.clear();
  const x = line.text(0, 0, `${overlay.label}: `, BOLD | CYAN);
  drawEditor(line, x, 0, overlay.editor, BOLD);
  if (overlay.error !== null) line.textRight(0, overlay.error, RED | BOLD, 1);
}

function drawMenu(screen: Region, overlay: Of<"menu">): void {
  const columns = Math.min(
    60,
    Math.max(overlay.title.length, ...overlay.items.map((item) => width(item.label) + 4)),
  );
  const rows = Math.min(overlay.items.length, screen.height - 6);
  const first = Math.max(0, Math.min(overlay.index - Math.floor(rows / 2), overlay.items.length - rows));
  const inside = box(screen, overlay.title, columns, rows, CYAN | BOLD);
  overlay.items.slice(first, first + rows).forEach((item, i) => {
    const number = first + i < 9 ? `${first + i + 1} ` : "  ";
    const style = first + i === overlay.index ? INVERSE | BOLD : PLAIN;
    inside.text(0, i, pad(`${number}${item.label}`, inside.width), style);
    inside.hit(0, i, inside.width, 1, { kind: "row", list: "menu", id: String(first + i) });
  });
}
