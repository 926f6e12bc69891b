import { expect, test } from "bun:test";
import { FileChanges, type FileEvent } from "../../src/events/declared/file-changes.ts";
import { RateLimit } from "../../src/events/declared/rate-limit.ts";

/** Processes the changes of files given as `name:version` words. */
function looks(settleMs: number) {
  const changes = new FileChanges(settleMs);
  return (nowMs: number, ...files: string[]): string[] => {
    const present = new Map(files.map((file) => file.split(":") as [string, string]));
    const events = changes.see(present, nowMs);
    for (const event of events) changes.done(event);
    return events.map(({ kind, path, version }: FileEvent) => `${kind} ${path}:${version}`);
  };
}

test("files that exist at first are no events; after that, each settled change is one", () => {
  const look = looks(100);
  expect(look(0, "a:1")).toEqual([]);
  expect(look(10, "a:1", "b:1")).toEqual([]);
  expect(look(60, "a:2", "b:1")).toEqual([]);
  expect(look(110, "a:2", "b:1")).toEqual(["created b:1"]);
  expect(look(160, "a:2", "b:1")).toEqual(["changed a:2"]);
  expect(look(500, "a:2", "b:1")).toEqual([]);
  expect(look(600, "b:1")).toEqual([]);
  expect(look(700, "b:1")).toEqual(["deleted a:2"]);
  expect(look(800, "b:1")).toEqual([]);
});

test("a burst is one event, of its last version", () => {
  const look = looks(100);
  look(0);
  for (let i = 1; i <= 20; i++) expect(look(i * 50, `a:${i}`)).toEqual([]);
  expect(look(1100, "a:20")).toEqual(["created a:20"]);
});

test("a replaced file counts as changed, and a file that was only missing briefly causes no event", () => {
  const look = looks(100);
  look(0, "a:1", "b:1");
  expect(look(10)).toEqual([]);
  expect(look(20, "a:2", "b:1")).toEqual([]);
  expect(look(120, "a:2", "b:1")).toEqual(["changed a:2"]);
  // Came and went.
  expect(look(200, "a:2", "b:1", "c:1")).toEqual([]);
  expect(look(210, "a:2", "b:1")).toEqual([]);
  expect(look(900, "a:2", "b:1")).toEqual([]);
});

test("an event that was not handled is repeated", () => {
  const changes = new FileChanges(0);
  changes.see(new Map(), 0);
  const present = new Map([["a", "1"]]);
  const [event] = changes.see(present, 1);
  expect(changes.see(present, 2)).toEqual([event as FileEvent]);
  changes.done(event as FileEvent);
  expect(changes.see(present, 3)).toEqual([]);
});

test("the rate limit lets a burst pass, then so many a second", () => {
  const limit = new RateLimit(3, 2, 0);
  expect([0, 0, 0, 0].map((at) => limit.take(at))).toEqual([true, true, true, false]);
  expect([400, 500, 600, 1000].map((at) => limit.take(at))).toEqual([false, true, false, true]);
  expect([60_000, 60_000, 60_000, 60_000].map((at) => limit.take(at))).toEqual([true, true, true, false]);
});
