import { EPOLL_DATA_WORD, EPOLL_EVENT_WORDS } from "./libc.ts";

/** Descriptors reported by one wake-up. */
const BATCH = 256;

/**
 * The source of the thread that waits. It is a string, not a module, because that works the same in a checkout and in
 * a compiled executable, where no file of ours exists. It blocks in `epoll_wait` for ever and only ever posts: -1
 * once it is ready, then the token of the ready descriptor, or an array of tokens when there are several.
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
    // A signal interrupts it (stop and continue do); anything that lasts is for the main thread to deal with.
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
