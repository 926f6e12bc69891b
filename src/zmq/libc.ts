import { dlopen } from "bun:ffi";

const SYMBOLS = {
  epoll_create1: { args: ["i32"], returns: "i32" },
  epoll_ctl: { args: ["i32", "i32", "i32", "ptr"], returns: "i32" },
  memcpy: { args: ["ptr", "ptr", "u64"], returns: "ptr" },
} as const;

type Libc = ReturnType<typeof dlopen<typeof SYMBOLS>>["symbols"];

let loaded: Libc | undefined;

/** The C library functions that sockets need, bound on the first call. */
export function libc(): Libc {
  loaded ??= dlopen("libc.so.6", SYMBOLS).symbols;
  return loaded;
}

/** `struct epoll_event` is packed on x64 (12 bytes) and aligned elsewhere (16): size in 32-bit words. */
export const EPOLL_EVENT_WORDS: number = process.arch === "x64" ? 3 : 4;
/** Offset of the low half of its `data`, in 32-bit words. */
export const EPOLL_DATA_WORD: number = process.arch === "x64" ? 1 : 2;
