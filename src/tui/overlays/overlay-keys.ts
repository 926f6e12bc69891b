/** Keys while an overlay is open. */
import { parseDuration } from "../../workflow/duration.ts";
import type { Effects } from "../effects.ts";
import { jumpToTime, nextMatch, parseMoment } from "../logs/log-view.ts";
import { listState } from "../navigation.ts";
import type { State } from "../state.ts";
import { addToast } from "../toast.ts";
import { DEFINITION, FROM } from "./ask.ts";
import { commonCompletion, completions, runCommand } from "./command.ts";
import { fieldKey, fieldProblem } from "./form-field.ts";
import { editLine, newEditor } from "./line-editor.ts";
import type { FormField, Overlay } from "./overlay.ts";

/** Passes a key to the overlay, which receives every key except those that quit or suspend. */
export function overlayKey(state: State, overlay: Overlay, key: string, effects: Effects): void {
  switch (overlay.kind) {
    case "help":
      helpKey(state, overlay, key);
      break;
    case "text":
      if (key === "y") effects.copy(overlay.text, overlay.title);
      else helpKey(state, overlay, key);
      break;
    case "confirm":
      confirmKey(state, overlay, key, effects);
      break;
    case "form":
      formKey(state, overlay, key, effects);
      break;
    case "command":
      commandKey(state, overlay, key, effects);
      break;
    case "filter":
      filterKey(state, overlay, key);
      break;
    case "prompt":
      promptKey(state, overlay, key, effects);
      break;
    case "menu":
      menuKey(state, overlay, key, effects);
      break;
  }
}

type Of<K extends Overlay["kind"]> = Extract<Overlay, { kind: K }>;

const isEnter = (key: string) => key === "ENTER" || key === "KP_ENTER";

/** Scrolls; any other key closes. */
function helpKey(state: State, overlay: Of<"help" | "text">, key: string): void {
  const page = Math.max(1, (state.heights.help ?? 10) - 1);
  const steps: Readonly<Record<string, number>> = {
    DOWN: 1,
    j: 1,
    UP: -1,
    k: -1,
    PAGE_DOWN: page,
    CTRL_D: page,
    " ": page,
    PAGE_UP: -page,
    CTRL_U: -page,
    g: -1e6,
    HOME: -1e6,
    G: 1e6,
    END: 1e6,
  };
  const step = steps[key];
  if (step === undefined) state.overlay = null;
  else overlay.top = Math.max(0, overlay.top + step);
}

function confirmKey(state: State, overlay: Of<"confirm">, key: string, effects: Effects): void {
  const again = overlay.action.kind === "quit" && key === "q";
  // Enter does not mean yes: a user who believes that a search is open ends the input with it.
  if (key === "y" || key === "Y" || again) {
    state.overlay = null;
    if (overlay.action.kind === "quit") state.quitting = true;
    else effects.perform(overlay.action);
  } else if (key === "ESCAPE" || key === "n" || key === "N" || key === "q") state.overlay = null;
  else addToast(state, "Press y for yes, n or Esc for no.");
}

function formKey(state: State, overlay: Of<"form">, key: string, effects: Effects): void {
  const last = overlay.fields.length - 1;
  const field = overlay.fields[overlay.index];
  if (key === "ESCAPE") state.overlay = null;
  else if (key === "DOWN" || key === "TAB") overlay.index = overlay.index === last ? 0 : overlay.index + 1;
  else if (key === "UP" || key === "SHIFT_TAB")
    overlay.index = overlay.index === 0 ? last : overlay.index - 1;
  else if (isEnter(key) && overlay.index < last) overlay.index++;
  else if (isEnter(key) || key === "CTRL_S") submit(state, overlay, effects);
  else if (field !== undefined && fieldKey(field, key)) overlay.error = null;
}

function submit(state: State, overlay: Of<"form">, effects: Effects): void {
  for (const [index, field] of overlay.fields.entries()) {
    const problem = fieldProblem(field);
    if (problem === null) continue;
    overlay.index = index;
    overlay.error = `${field.name} ${problem}`;
    return;
  }
  const { purpose, fields } = overlay;
  state.overlay = null;
  switch (purpose.kind) {
    case "trigger":
      effects.perform({ kind: "trigger", workflowId: purpose.workflowId, params: changed(fields) });
      break;
    case "pause": {
      const [reason = "", lasts = ""] = fields.map(({ editor }) => editor.text.trim());
      const read = parseDuration(lasts);
      if (lasts !== "" && !read.ok) {
        state.overlay = Object.assign(overlay, { index: 1, error: `for: ${read.message}` });
        return;
      }
      const forMs = read.ok ? read.ms : null;
      effects.perform({ kind: "pause", workflowId: purpose.workflowId, reason, forMs });
      break;
    }
    case "retry": {
      const [from, definition, ...params] = fields;
      const { runId, task } = purpose;
      const others = changed(params);
      effects.perform({
        kind: "retry",
        runId,
        fromStart: from?.editor.text === FROM.start,
        ...(task !== null && from?.editor.text === FROM.task ? { task } : {}),
        ...(definition?.editor.text === DEFINITION.current ? { currentDefinition: true } : {}),
        ...(Object.keys(others).length > 0 ? { params: others } : {}),
      });
      break;
    }
    default: {
      const { kind: answer, approval } = purpose;
      const note = fields.at(-1)?.editor.text ?? "";
      effects.perform({ kind: "answer", approval, answer, params: changed(fields.slice(0, -1)), note });
    }
  }
}

/** The values that were changed: the others keep following their defaults. */
function changed(fields: readonly FormField[]): Record<string, string> {
  const params: Record<string, string> = {};
  for (const { name, byDefault, editor } of fields) if (editor.text !== byDefault) params[name] = editor.text;
  return params;
}

function commandKey(state: State, overlay: Of<"command">, key: string, effects: Effects): void {
  const { editor } = overlay;
  if (key === "ESCAPE" || (key === "BACKSPACE" && editor.text === "")) state.overlay = null;
  else if (isEnter(key)) {
    state.overlay = null;
    const problem = runCommand(state, editor.text, effects);
    if (problem !== undefined) {
      overlay.error = problem;
      state.overlay = overlay;
    }
  } else if (key === "TAB") {
    Object.assign(editor, newEditor(commonCompletion(editor.text, completions(state, editor.text))));
  } else if (editLine(editor, key)) overlay.error = null;
}

function filterKey(state: State, overlay: Of<"filter">, key: string): void {
  const list = listState(state, overlay.list);
  if (key === "ESCAPE") {
    list.filter = overlay.before === overlay.editor.text ? "" : overlay.before;
    state.overlay = null;
  } else if (isEnter(key) || key === "DOWN" || key === "UP" || key === "TAB") state.overlay = null;
  else if (key === "BACKSPACE" && overlay.editor.text === "") state.overlay = null;
  else if (editLine(overlay.editor, key)) {
    list.filter = overlay.editor.text;
    list.top = 0;
  }
}

function promptKey(state: State, overlay: Of<"prompt">, key: string, effects: Effects): void {
  const { editor, purpose } = overlay;
  const { log } = state;
  if (key === "ESCAPE") {
    if (purpose === "log-search") log.buffer.setSearch("");
    state.overlay = null;
    return;
  }
  if (!isEnter(key)) {
    if (!editLine(editor, key)) return;
    overlay.error = null;
    // Search incrementally while typing.
    if (purpose === "log-search") {
      log.buffer.setSearch(editor.text);
      log.match = null;
    }
    return;
  }
  if (typeof purpose === "object") {
    if (editor.text.trim() !== "") effects.saveFile(purpose.save, editor.text.trim());
    state.overlay = null;
    return;
  }
  switch (purpose) {
    case "log-search":
      log.match = null;
      log.buffer.setSearch(editor.text);
      if (editor.text !== "" && !nextMatch(log, -1)) {
        if (log.olderThere) {
          effects.searchOlderLines();
          break;
        }
        overlay.error = "not found";
        return;
      }
      break;
    case "log-text":
      log.buffer.setFilter({ ...log.buffer.filter, text: editor.text });
      log.match = null;
      break;
    case "log-time": {
      const ms = parseMoment(editor.text, state.now);
      if (ms === null) {
        overlay.error = "not a time";
        return;
      }
      jumpToTime(log, ms);
      break;
    }
    case "log-save":
      if (editor.text.trim() !== "") effects.saveLog(editor.text.trim());
      break;
  }
  state.overlay = null;
}

function menuKey(state: State, overlay: Of<"menu">, key: string, effects: Effects): void {
  const last = overlay.items.length - 1;
  if (key === "ESCAPE" || key === "q") state.overlay = null;
  else if (key === "DOWN" || key === "j" || key === "TAB")
    overlay.index = overlay.index === last ? 0 : overlay.index + 1;
  else if (key === "UP" || key === "k" || key === "SHIFT_TAB")
    overlay.index = overlay.index === 0 ? last : overlay.index - 1;
  else if (/^[1-9]$/.test(key) && Number(key) <= last + 1) {
    overlay.index = Number(key) - 1;
    choose(state, overlay, effects);
  } else if (isEnter(key)) choose(state, overlay, effects);
}

function choose(state: State, overlay: Of<"menu">, effects: Effects): void {
  state.overlay = null;
  const item = overlay.items[overlay.index];
  if (item === undefined) return;
  if (overlay.purpose === "principal") {
    effects.switchPrincipal(Number(item.id));
    return;
  }
  const { buffer } = state.log;
  buffer.setFilter({ ...buffer.filter, task: item.id === "" ? null : item.id });
  state.log.match = null;
}
