import type { Exposition } from "./exposition.ts";

/** Adds the metrics that every process reports about itself. */
export function addProcess(page: Exposition): void {
  const { user, system } = process.cpuUsage();
  page.counter("process_cpu_seconds_total", "CPU time of the process.", (user + system) / 1e6);
  page.gauge("process_resident_memory_bytes", "Resident memory of the process.", process.memoryUsage.rss());
}
