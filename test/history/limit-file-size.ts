/** A full disk, as far as this process is concerned. */
import { dlopen, FFIType, ptr } from "bun:ffi";

/** Bounds the size of files that this process writes, as a full disk does; null for no bound. */
export function limitFileSize(bytes: number | null): void {
  const RLIMIT_FSIZE = 1;
  const SIGXFSZ = 25;
  const SIG_IGN = 1n;
  const { symbols } = dlopen("libc.so.6", {
    getrlimit: { args: [FFIType.i32, FFIType.ptr], returns: FFIType.i32 },
    setrlimit: { args: [FFIType.i32, FFIType.ptr], returns: FFIType.i32 },
    signal: { args: [FFIType.i32, FFIType.u64], returns: FFIType.ptr },
  });
  symbols.signal(SIGXFSZ, SIG_IGN);
  const limits = new BigUint64Array(2);
  symbols.getrlimit(RLIMIT_FSIZE, ptr(limits));
  limits[0] = bytes === null ? (limits[1] ?? 0n) : BigInt(bytes);
  if (symbols.setrlimit(RLIMIT_FSIZE, ptr(limits)) !== 0) {
    throw new Error("setrlimit failed");
  }
}
