import { expect, test } from "bun:test";
import { createConsola, LogLevels, type LogObject } from "consola";
import { systemClock } from "../../src/clock.ts";
import { Activity } from "../../src/principal/activity.ts";

function listening(level: number) {
  const printed: LogObject[] = [];
  const activity = new Activity(systemClock);
  const log = activity.listeningTo(
    createConsola({ level, reporters: [{ log: (line) => void printed.push(line) }] }),
  );
  return { activity, log, printed };
}

test("what a service logs is kept with its part, level and text, and printed as before", () => {
  const { activity, log, printed } = listening(LogLevels.info);
  log.withTag("agents").warn("Agent a is lost");
  log.withTag("workflows").info("Workflow etl.daily loaded");
  log.error("failed:", new Error("no space left"));
  expect(activity.list({ limit: 10 })).toMatchObject([
    { seq: 1, kind: "agents", level: "WARN", message: "Agent a is lost" },
    { seq: 2, kind: "workflows", level: "INFO", message: "Workflow etl.daily loaded" },
    { seq: 3, kind: "principal", level: "ERROR", message: "failed: no space left" },
  ]);
  expect(printed).toHaveLength(3);
  expect(activity.list({ after: 2, limit: 10 })).toHaveLength(1);
  expect(activity.list({ limit: 2 }).map((event) => event.seq)).toEqual([2, 3]);
});

test("a quiet log still keeps events, and debug output is not an event", () => {
  const { activity, log, printed } = listening(LogLevels.error);
  log.withTag("history").info("The history database is available again");
  log.debug("detail");
  expect(activity.list({ limit: 10 }).map((event) => event.kind)).toEqual(["history"]);
  expect(printed).toHaveLength(0);
});

test("a join token does not become an event: not from a message, nor from an error", () => {
  const { activity, log } = listening(LogLevels.error);
  log.warn("no key file cdktr-join-SECRETSECRET:", new Error("cdktr-join-SECRETSECRET"));
  const [event] = activity.list({ limit: 1 });
  expect(event?.message).toBe("no key file cdktr-join-…: cdktr-join-…");
});

test("memory is bounded: the oldest events go", () => {
  const { activity, log } = listening(LogLevels.error);
  for (let i = 0; i < 1100; i++) log.info(`event ${i}`);
  const events = activity.list({ limit: 5000 });
  expect(events).toHaveLength(1000);
  expect(events[0]?.message).toBe("event 100");
});
