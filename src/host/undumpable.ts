/** Protects the memory of this process, which holds secrets. */
import { dlopen } from "bun:ffi";

const PR_SET_DUMPABLE = 4;

let isUndumpable = false;

/**
 * From now on, no other process of the same user can read the memory and the environment of this one, and it is not dumped into a file when
 * it crashes. Its children are not concerned.
 */
export function makeUndumpable(): void {
  if (isUndumpable) return;
  isUndumpable = true;
  const { symbols } = dlopen("libc.so.6", {
    prctl: { args: ["i32", "u64", "u64", "u64", "u64"], returns: "i32" },
  });
  symbols.prctl(PR_SET_DUMPABLE, 0n, 0n, 0n, 0n);
}
