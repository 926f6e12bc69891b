/** The process of the history: a child of the principal, which ends with it. */
import { dlopen } from "bun:ffi";
import { writeFileSync } from "node:fs";
import type { HistoryStart } from "../contract/history.ts";
import { Dealer, type Message } from "../zmq/index.ts";
import { History } from "./history.ts";

const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;
/** When memory is short, the kernel ends the history rather than the principal or its agent. */
const OOM_SCORE = 500;
/** Messages read at once. */
const BATCH = 64;

/** Serves the principal that is at the other end of standard input, until that ends. */
export async function serveHistory(): Promise<void> {
  // The principal stops it, after itself. A signal that reaches the whole group or unit must not be faster.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => {});
  endWithParent();
  offerToTheKernel();
  let history: History | undefined;
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of Bun.stdin.stream()) {
    if (history !== undefined) continue;
    rest += decoder.decode(chunk, { stream: true });
    const end = rest.indexOf("\n");
    if (end === -1) continue;
    const start = JSON.parse(rest.slice(0, end)) as HistoryStart;
    // The parent ended before it could be followed.
    if (process.ppid !== start.parent_pid) endNow();
    history = serve(start);
  }
  // The principal is gone, or has been told that everything is closed. Whatever is in DuckDB's files is complete.
  endNow();
}

function serve({ settings, endpoint, id }: HistoryStart): History {
  const socket = new Dealer({ routingId: id, sendHighWaterMark: 0, receiveHighWaterMark: 0, linger: 1000 });
  socket.connect(endpoint);
  socket.trySend("");
  const history = new History({ settings, send: (text) => void socket.trySend(text) });
  void receive(socket, history);
  // The principal has been told why it cannot start, and ends this process.
  history.start().catch(() => {});
  return history;
}

async function receive(socket: Dealer, history: History): Promise<void> {
  for (;;) {
    const messages: Message[] = await socket.receiveBatch(BATCH);
    for (const [text] of messages) if (text !== undefined) history.take(text.toString());
  }
}

/** Threads of libraries may be at work: the process ends without waiting for them. */
function endNow(): never {
  process.kill(process.pid, "SIGKILL");
  process.exit(0);
}

/** The kernel ends this process when its parent ends, also when this one is stopped or hangs. */
function endWithParent(): void {
  const { prctl } = dlopen("libc.so.6", {
    prctl: { args: ["i32", "u64", "u64", "u64", "u64"], returns: "i32" },
  }).symbols;
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
}

function offerToTheKernel(): void {
  try {
    writeFileSync("/proc/self/oom_score_adj", String(OOM_SCORE));
  } catch {
    // The host does not allow it.
  }
}
