import { describe, expect, test } from "bun:test";
import { VERSION } from "../../src/build-facts.ts";
import { CdktrError } from "../../src/errors.ts";
import { type ListenerHealth, listenerPages } from "../../src/metrics/listener-pages.ts";

const WELL: ListenerHealth = {
  name: "files",
  state: "running",
  restarts: 1,
  fired: 7,
  delivered: 4,
  failed: 2,
  dropped: 1,
  buffered: 3,
  buffer_bytes: 420,
  last_trigger_ms: 1_700_000_000_500,
  principal_away_since_ms: null,
  error: null,
};

/** The samples of a page, as they stand there. */
async function samples(...listeners: ListenerHealth[]): Promise<string[]> {
  const text = await listenerPages(() => listeners).page();
  return text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
}

describe("the page of metrics", () => {
  test("has every number of a listener, and what every process has", async () => {
    const lines = await samples(WELL);
    expect(lines.filter((line) => line.startsWith("cdktr_"))).toEqual([
      `cdktr_build_info{version="${VERSION}"} 1`,
      'cdktr_listener_state{listener="files",state="running"} 1',
      'cdktr_listener_state{listener="files",state="backing off"} 0',
      'cdktr_listener_state{listener="files",state="stopped"} 0',
      'cdktr_listener_state{listener="files",state="lost"} 0',
      'cdktr_listener_restarts_total{listener="files"} 1',
      'cdktr_listener_triggers_total{listener="files"} 7',
      'cdktr_listener_delivered_total{listener="files"} 4',
      'cdktr_listener_failed_total{listener="files"} 2',
      'cdktr_listener_dropped_total{listener="files"} 1',
      'cdktr_listener_buffered{listener="files"} 3',
      'cdktr_listener_buffer_bytes{listener="files"} 420',
      'cdktr_listener_last_trigger_time_seconds{listener="files"} 1700000000.5',
      'cdktr_listener_principal_away{listener="files"} 0',
    ]);
    const process = Object.fromEntries(lines.map((line) => line.split(" ")));
    expect(Number(process.process_cpu_seconds_total)).toBeGreaterThan(0);
    expect(Number(process.process_resident_memory_bytes)).toBeGreaterThan(1024 * 1024);
  });

  test("tells listeners of several hosts apart, and leaves out what has never been", async () => {
    const lines = await samples(
      { ...WELL, host: "a", pid: 12, last_trigger_ms: null },
      { ...WELL, host: "b", pid: 34, state: "lost", principal_away_since_ms: 1 },
    );
    expect(lines).toContain('cdktr_listener_state{listener="files",host="a",pid="12",state="running"} 1');
    expect(lines).toContain('cdktr_listener_state{listener="files",host="b",pid="34",state="lost"} 1');
    expect(lines).toContain('cdktr_listener_principal_away{listener="files",host="b",pid="34"} 1');
    expect(lines.filter((line) => line.includes("last_trigger"))).toHaveLength(1);
  });

  test("without listeners has none of their metrics", async () => {
    expect((await samples()).filter((line) => line.includes("listener"))).toEqual([]);
  });
});

describe("health", () => {
  const health = (...listeners: ListenerHealth[]) => listenerPages(() => listeners).health();
  const refusal = (...listeners: ListenerHealth[]) =>
    health(...listeners).then(
      () => "",
      (error: unknown) => (error instanceof CdktrError ? error.message : ""),
    );

  test("is healthy while every listener runs, even if the principal is unreachable", async () => {
    const listeners = [WELL, { ...WELL, name: "other", principal_away_since_ms: 1 }];
    expect(await health(...listeners)).toEqual({ version: VERSION, listeners });
  });

  test("is unhealthy when one does not run, and says which and why", async () => {
    expect(await refusal(WELL, { ...WELL, name: "mail", state: "backing off", error: "no route" })).toBe(
      "the listener mail is backing off: no route",
    );
    expect(await refusal({ ...WELL, state: "stopped" })).toBe("the listener files is stopped");
  });
});
