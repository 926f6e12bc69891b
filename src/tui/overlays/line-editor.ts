/** An editable line of text. */
import { graphemes } from "../../terminal/text.ts";

/** `cursor` counts UTF-16 units and is always at a grapheme boundary. */
export interface LineEditor {
  text: string;
  cursor: number;
}

export function newEditor(text = ""): LineEditor {
  return { text, cursor: text.length };
}

/** Applies a key; false when the key does not edit text. */
export function editLine(editor: LineEditor, key: string): boolean {
  const { text, cursor } = editor;
  switch (key) {
    case "LEFT":
    case "CTRL_B":
      editor.cursor = before(text, cursor);
      return true;
    case "RIGHT":
    case "CTRL_F":
      editor.cursor = after(text, cursor);
      return true;
    case "HOME":
    case "CTRL_A":
      editor.cursor = 0;
      return true;
    case "END":
    case "CTRL_E":
      editor.cursor = text.length;
      return true;
    case "BACKSPACE":
    case "CTRL_H":
      remove(editor, before(text, cursor), cursor);
      return true;
    case "DELETE":
      remove(editor, cursor, after(text, cursor));
      return true;
    case "CTRL_U":
      remove(editor, 0, cursor);
      return true;
    case "CTRL_K":
      remove(editor, cursor, text.length);
      return true;
    case "CTRL_W":
    case "ALT_BACKSPACE":
      remove(editor, text.slice(0, cursor).replace(/\S*\s*$/, "").length, cursor);
      return true;
  }
  if (!isCharacter(key)) return false;
  insertText(editor, key);
  return true;
}

/** Inserts text at the cursor; newlines become spaces. */
export function insertText(editor: LineEditor, text: string): void {
  const clean = text.replace(/[\r\n\t]+/g, " ").replace(/[\x00-\x1f\x7f-\x9f]/g, "");
  editor.text = editor.text.slice(0, editor.cursor) + clean + editor.text.slice(editor.cursor);
  editor.cursor += clean.length;
}

/** Whether a key is a printable character. Names of other keys are upper case with more than one letter. */
function isCharacter(key: string): boolean {
  return !/^[A-Z][A-Z0-9_]+$/.test(key) && [...graphemes(key)].length === 1;
}

function before(text: string, cursor: number): number {
  let last = 0;
  for (const { index } of graphemes(text)) {
    if (index >= cursor) break;
    last = index;
  }
  return last;
}

function after(text: string, cursor: number): number {
  for (const { index, segment } of graphemes(text)) {
    if (index >= cursor) return index + segment.length;
  }
  return text.length;
}

function remove(editor: LineEditor, from: number, to: number): void {
  editor.text = editor.text.slice(0, from) + editor.text.slice(to);
  editor.cursor = from;
}
