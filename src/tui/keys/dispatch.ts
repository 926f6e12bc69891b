/** Routes keys, pasted text and mouse events. */
import type { Effects } from "../effects.ts";
import { listIds } from "../lists/list-ids.ts";
import { scrollLog } from "../logs/log-view.ts";
import {
  activeList,
  listState,
  moveSelection,
  scrollName,
  selectRow,
  showPane,
  showTab,
} from "../navigation.ts";
import { insertText, type LineEditor } from "../overlays/line-editor.ts";
import { overlayKey } from "../overlays/overlay-keys.ts";
import type { Target } from "../screen/canvas.ts";
import type { MouseEvent } from "../screen/terminal.ts";
import type { State } from "../state.ts";
import { TABS } from "../state.ts";
import { addToast } from "../toast.ts";
import { bindingsFor } from "./bindings.ts";

/** Keys that work regardless of overlays. */
const ALWAYS = new Set(["CTRL_C", "CTRL_Z", "CTRL_L"]);
const WHEEL_ROWS = 3;

/** Handles a key press. */
export function pressKey(state: State, key: string, effects: Effects): void {
  if (state.overlay !== null && !ALWAYS.has(key)) {
    overlayKey(state, state.overlay, key, effects);
    return;
  }
  const binding = bindingsFor(state).find(({ keys }) => keys.includes(key));
  if (binding === undefined) addToast(state, `${keyLabel(key)} does nothing here; ? lists the keys.`);
  else binding.run(state, effects);
}

/** A key as people call it: `^K`, `F7`, `/`. */
function keyLabel(key: string): string {
  return key.replace(/^CTRL_/, "^");
}

/** Handles pasted text: it is inserted where text is being typed, and ignored elsewhere. */
export function pasteText(state: State, text: string): void {
  const editor = editorOf(state);
  if (editor === undefined) return;
  insertText(editor, text);
  if (state.overlay?.kind === "filter") listState(state, state.overlay.list).filter = editor.text;
}

function editorOf(state: State): LineEditor | undefined {
  const { overlay } = state;
  if (overlay === null) return undefined;
  if (overlay.kind === "form") {
    const field = overlay.fields[overlay.index];
    return field?.choices === null ? field.editor : undefined;
  }
  return "editor" in overlay ? overlay.editor : undefined;
}

/** Handles a mouse event; `target` is what is under the pointer, `again` whether this is a double click. */
export function useMouse(
  state: State,
  event: MouseEvent,
  target: Target | undefined,
  again: boolean,
  effects: Effects,
): void {
  if (event.kind !== "press") {
    turnWheel(state, event.kind === "wheel-up" ? -WHEEL_ROWS : WHEEL_ROWS, effects);
    return;
  }
  if (target === undefined) return;
  switch (target.kind) {
    case "tab": {
      const tab = TABS[target.index];
      if (tab !== undefined && state.overlay === null) showTab(state, tab);
      return;
    }
    case "key":
      if (target.key.startsWith("pane:"))
        showPane(state, target.key.slice(5) as Parameters<typeof showPane>[1]);
      else pressKey(state, target.key, effects);
      return;
    case "row":
      clickRow(state, target.list, target.id, again, effects);
      return;
    case "scroll":
      return;
  }
}

function clickRow(state: State, list: string, id: string, again: boolean, effects: Effects): void {
  if (state.overlay?.kind === "menu") {
    if (list !== "menu") return;
    state.overlay.index = Number(id);
    pressKey(state, "ENTER", effects);
    return;
  }
  if (state.overlay !== null && state.overlay.kind !== "filter") return;
  state.overlay = null;
  const ids = listIds(state, list);
  selectRow(listState(state, list), ids, ids.indexOf(id));
  if (again) pressKey(state, "ENTER", effects);
}

function turnWheel(state: State, rows: number, effects: Effects): void {
  if (state.overlay?.kind === "help" || state.overlay?.kind === "text" || state.overlay?.kind === "menu") {
    pressKey(state, rows < 0 ? "UP" : "DOWN", effects);
    return;
  }
  if (state.overlay !== null) return;
  const list = activeList(state);
  if (list !== null) moveSelection(state, list, listIds(state, list), rows);
  else if (isLog(state)) {
    scrollLog(state.log, rows);
    if (rows < 0 && state.log.top === 0) effects.loadOlderLines();
  } else {
    const name = scrollName(state);
    state.scroll[name] = Math.max(0, (state.scroll[name] ?? 0) + rows);
  }
}

function isLog(state: State): boolean {
  const page = state.pages[state.tab].at(-1);
  return page?.kind === "logs" || (page?.kind === "run" && page.pane === "log");
}
