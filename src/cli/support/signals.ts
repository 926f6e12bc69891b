/** Handles the signals that ask this process to end. */
import { readFileSync } from "node:fs";

/**
 * Calls `handle` with each TERM, INT and HUP, and their count. HUP stays ignored if it already is (`nohup`).
 * @returns removes the handlers
 */
export function onStopSignals(handle: (count: number) => void): () => void {
  const signals: NodeJS.Signals[] = ["SIGTERM", "SIGINT"];
  if (!isHangupIgnored()) signals.push("SIGHUP");
  let count = 0;
  const listener = () => handle(++count);
  for (const signal of signals) process.on(signal, listener);
  return () => {
    for (const signal of signals) process.off(signal, listener);
  };
}

function isHangupIgnored(): boolean {
  try {
    const mask = /^SigIgn:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
    return mask !== undefined && (BigInt(`0x${mask}`) & 1n) === 1n;
  } catch {
    return false;
  }
}
