/** The terminal UI without a terminal: keys go in, actions and other effects come out. */
import type { Effects } from "../../src/tui/effects.ts";
import { pressKey } from "../../src/tui/keys/dispatch.ts";
import type { Action } from "../../src/tui/overlays/overlay.ts";
import { state } from "./fixtures.ts";

/** A UI that shows a page. */
export function ui(page?: Parameters<typeof state>[2]) {
  const s = state(80, 24, page);
  const done: string[] = [];
  const actions: Action[] = [];
  const note =
    (name: string) =>
    (...args: unknown[]) =>
      void done.push([name, ...args].join(" "));
  const effects: Effects = {
    perform: (action) => void actions.push(action),
    switchPrincipal: note("switch"),
    showItemOutputs: note("outputs of"),
    showAlert: note("show alert"),
    showFile: ({ file }) => void done.push(`show ${file.path}`),
    saveFile: ({ file }, path) => void done.push(`save ${file.path} as ${path}`),
    refresh: note("refresh"),
    loadOlderLines: note("older"),
    searchOlderLines: note("search older"),
    copy: note("copy"),
    saveLog: note("save"),
    suspend: note("suspend"),
    redraw: note("redraw"),
  };
  const keys = (...names: string[]) => {
    for (const name of names) pressKey(s, name, effects);
  };
  const type = (text: string) => keys(...text);
  return { s, done, actions, keys, type, effects };
}
