/** A history in the process of its principal. */
import type { HistoryHost } from "../contract/history.ts";
import { errorMessage } from "../errors.ts";
import { History } from "./history.ts";

/** Runs the history here, with the same messages as in a process of its own: where no process can be started, and in tests. */
export function historyHere(): HistoryHost {
  return {
    open: async () => {},
    start: (settings, heard, ended) => {
      const history = new History({ settings, send: (text) => queueMicrotask(() => heard(text)) });
      history.start().catch((error) => ended(errorMessage(error)));
      return {
        pid: undefined,
        send: (text) => queueMicrotask(() => history.take(text)),
        end: () => history.stop(),
        kill: () => {
          history.abandon();
          void history.stop().then(() => ended("killed"));
        },
      };
    },
    close: () => {},
  };
}
