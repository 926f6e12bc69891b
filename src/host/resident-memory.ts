/** Memory of this process that is in RAM, bytes; undefined when the system does not tell, as when no descriptor is left. */
export function residentMemory(): number | undefined {
  try {
    return process.memoryUsage.rss();
  } catch {
    return undefined;
  }
}
