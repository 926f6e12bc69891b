import { EPOLL_DATA_WORD, EPOLL_EVENT_WORDS } from "./libc.ts";

/** Descriptors reported per wake-up. */
const BATCH = 256;

/**
 * The source code of the waiting thread. It is a string, not a module, because that works both in a checkout and in a compiled
 * executable, where our source files do not exist. It blocks in `epoll_wait` forever and only posts messages: -1 when it is ready,
 * then the token of the ready descriptor, or an array of tokens when there are several.
 */
export function reactorWorkerSource(epollDescriptor: number): string {
  return `
import { dlopen } from "bun:ffi";
const { symbols: { epoll_wait } } = dlopen("libc.so.6", {
  epoll_wait: { args: ["i32", "ptr", "i32", "i32"], returns: "i32" },
});
const events = new Uint32Array(new ArrayBuffer(${BATCH * EPOLL_EVENT_WORDS * 4}));
let failures = 0;
postMessage(-1);
for (;;) {
  const count = epoll_wait(${epollDescriptor}, events, ${BATCH}, -1);
  if (count < 0) {
    // Interrupted by a signal (stop and continue do that); lasting errors are left to the main thread.
    if (++failures > 1000) throw new Error("epoll_wait fails");
    continue;
  }
  failures = 0;
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
