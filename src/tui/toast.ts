/** Short messages. */
import type { State, Toast } from "./state.ts";

const SHOWN_MS = { info: 4000, good: 5000, bad: 9000 };
const KEPT = 20;

/** Shows a message for a few seconds, longer for errors. */
export function addToast(state: State, text: string, kind: Toast["kind"] = "info"): void {
  const toasts = state.toasts.filter((toast) => toast.until > state.hostNow);
  state.toasts = [...toasts, { text, kind, until: state.hostNow + SHOWN_MS[kind] }].slice(-KEPT);
}
