/** Resident memory of this process, bytes; undefined when it cannot be read, for example when no descriptor is left. */
export function residentMemory(): number | undefined {
  try {
    return process.memoryUsage.rss();
  } catch {
    return undefined;
  }
}
