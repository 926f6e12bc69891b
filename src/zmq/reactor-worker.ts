import { EPOLL_DATA_WORD, EPOLL_EVENT_WORDS } from "./libc.ts";

/** Descriptors reported per wake-up. */
const BATCH = 256;

/** What it posts in place of a token: it is ready; the process has used processor time; the clock was set. */
export const READY = -1;
export const BUSY = -2;
export const CLOCK_SET = -3;

/** Processor time between two looks that counts, ms. */
const BUSY_MS = 5;
/** After so many looks in a row that find less, the process is at rest, and the pauses without an event are this much longer. */
const REST_LOOKS = 5;
const REST_FACTOR = 2.5;
/** By how much the wall clock may move against the monotonic one between two looks, ms. */
const CLOCK_MS = 100;

/**
 * The source code of the waiting thread. It is a string, not a module, because that works both in a checkout and in a compiled
 * executable, where our source files do not exist. It blocks in `epoll_wait` and only posts messages: {@link READY}, then the token
 * of the ready descriptor, or an array of tokens when there are several. In between it looks at the process, see host/pulse.ts.
 * @param pulseAddress address of the interval of looks, an int32, ms; 0 for none
 */
export function reactorWorkerSource(epollDescriptor: number, pulseAddress: number): string {
  return `
import { dlopen, read } from "bun:ffi";
const { symbols: { epoll_wait, clock_gettime } } = dlopen("libc.so.6", {
  epoll_wait: { args: ["i32", "ptr", "i32", "i32"], returns: "i32" },
  clock_gettime: { args: ["i32", "ptr"], returns: "i32" },
});
const time = new Int32Array(4);
function processorMs() {
  clock_gettime(2, time); // CLOCK_PROCESS_CPUTIME_ID
  return time[0] * 1000 + time[2] / 1e6;
}
let lookedAt = performance.now();
let usedMs = processorMs();
let offsetMs = Date.now() - lookedAt;
let restfulLooks = 0;
function look(everyMs) {
  const now = performance.now();
  if (now - lookedAt < everyMs - 1) return;
  lookedAt = now;
  const used = processorMs();
  const offset = Date.now() - now;
  if (used - usedMs >= ${BUSY_MS}) postMessage(${BUSY});
  if (Math.abs(offset - offsetMs) > ${CLOCK_MS}) postMessage(${CLOCK_SET});
  restfulLooks = used - usedMs < ${BUSY_MS} ? restfulLooks + 1 : 0;
  usedMs = used;
  offsetMs = offset;
}
function pauseMs(everyMs) {
  if (everyMs <= 0) return -1;
  return restfulLooks < ${REST_LOOKS} ? everyMs : everyMs * ${REST_FACTOR};
}
const events = new Uint32Array(new ArrayBuffer(${BATCH * EPOLL_EVENT_WORDS * 4}));
let failures = 0;
postMessage(${READY});
for (;;) {
  const everyMs = read.i32(${pulseAddress}, 0);
  const count = epoll_wait(${epollDescriptor}, events, ${BATCH}, pauseMs(everyMs));
  if (count < 0) {
    // Interrupted by a signal (stop and continue do that); lasting errors are left to the main thread.
    if (++failures > 1000) throw new Error("epoll_wait fails");
    continue;
  }
  failures = 0;
  if (everyMs > 0) look(everyMs);
  if (count === 0) continue;
  if (count === 1) {
    postMessage(events[${EPOLL_DATA_WORD}]);
    continue;
  }
  const ready = [];
  for (let i = 0; i < count; i++) ready.push(events[i * ${EPOLL_EVENT_WORDS} + ${EPOLL_DATA_WORD}]);
  postMessage(ready);
}
`;
}
