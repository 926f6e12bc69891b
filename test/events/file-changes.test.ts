import { expect, test } from "bun:test";
import {
  DOUBT_MS,
  FileChanges,
  type FileEvent,
  type SeenState,
} from "../../src/events/declared/file-changes.ts";
import type { Look } from "../../src/events/declared/glob-files.ts";
import { RateLimit } from "../../src/events/declared/rate-limit.ts";
import type { FileState } from "../../src/host/file-helper/requests.ts";

/** A look at files given as `path:version@place`; the place is `disk` by default, and so is that of missing files. */
function lookAt(
  changes: FileChanges,
  files: readonly string[],
  missing = "disk",
  touched?: readonly string[],
): Look {
  const present = new Map<string, FileState>();
  for (const file of files) {
    const [, path = "", version = "", place = "disk"] = /^([^:]+):([^@]+)(?:@(.+))?$/.exec(file) ?? [];
    present.set(path, { version, place });
  }
  return { present, touched, places: new Map(changes.directories().map((one) => [one, missing])) };
}

/** Processes looks, and handles the events. */
function looks(settleMs: number, changes = new FileChanges(settleMs)) {
  const at = async (nowMs: number, missing: string, files: readonly string[]): Promise<string[]> => {
    const events = await changes.see(lookAt(changes, files, missing), nowMs);
    for (const event of events) changes.done(event);
    return events.map(({ kind, path, state }: FileEvent) => `${kind} ${path}:${state.version}`);
  };
  return (nowMs: number, ...files: string[]) => at(nowMs, "disk", files);
}

test("files that exist at first are no events; after that, each settled change is one", async () => {
  const look = looks(100);
  expect(await look(0, "a:1")).toEqual([]);
  expect(await look(10, "a:1", "b:1")).toEqual([]);
  expect(await look(60, "a:2", "b:1")).toEqual([]);
  expect(await look(110, "a:2", "b:1")).toEqual(["created b:1"]);
  expect(await look(160, "a:2", "b:1")).toEqual(["changed a:2"]);
  expect(await look(500, "a:2", "b:1")).toEqual([]);
  expect(await look(600, "b:1")).toEqual([]);
  expect(await look(700, "b:1")).toEqual(["deleted a:2"]);
  expect(await look(800, "b:1")).toEqual([]);
});

test("a burst is one event, of its last version", async () => {
  const look = looks(100);
  await look(0);
  for (let i = 1; i <= 20; i++) expect(await look(i * 50, `a:${i}`)).toEqual([]);
  expect(await look(1100, "a:20")).toEqual(["created a:20"]);
});

test("a replaced file counts as changed, and a file that was only missing briefly causes no event", async () => {
  const look = looks(100);
  await look(0, "a:1", "b:1");
  expect(await look(10)).toEqual([]);
  expect(await look(20, "a:2", "b:1")).toEqual([]);
  expect(await look(120, "a:2", "b:1")).toEqual(["changed a:2"]);
  // Came and went.
  expect(await look(200, "a:2", "b:1", "c:1")).toEqual([]);
  expect(await look(210, "a:2", "b:1")).toEqual([]);
  expect(await look(900, "a:2", "b:1")).toEqual([]);
});

test("an event that was not handled is repeated", async () => {
  const changes = new FileChanges(0);
  await changes.see(lookAt(changes, []), 0);
  const [event] = await changes.see(lookAt(changes, ["a:1"]), 1);
  expect(await changes.see(lookAt(changes, ["a:1"]), 2)).toEqual([event as FileEvent]);
  changes.done(event as FileEvent);
  expect(await changes.see(lookAt(changes, ["a:1"]), 3)).toEqual([]);
});

/** Changes after a start at which these files were known, on the volume `nas`. */
function known(paths: readonly string[], catchup = true): FileChanges {
  const seen: SeenState = {
    known: new Map(paths.map((path) => [path, { version: "1", place: "nas" }])),
    doubtful: new Map(),
  };
  return new FileChanges(100, seen, catchup);
}

/** What a look finds when `missing` is in the place of the directories; handles it. */
async function seen(
  changes: FileChanges,
  nowMs: number,
  missing: string,
  ...files: string[]
): Promise<string[]> {
  const events = await changes.see(lookAt(changes, files, missing), nowMs);
  for (const event of events) changes.done(event);
  return events.map(({ kind, path }) => `${kind} ${path}`);
}

test.each([true, false])("a volume that is mounted late costs no event (catchup %p)", async (catchup) => {
  const changes = known(["/m/a", "/m/b"], catchup);
  expect(await seen(changes, 0, "root")).toEqual([]);
  expect(await seen(changes, 200, "root")).toEqual([]);
  expect(changes.hidden).toEqual({ count: 2, directory: "/m" });
  // Hidden files are not checked one by one.
  expect(changes.unsettled(10)).toEqual([]);
  expect(await seen(changes, DOUBT_MS - 1, "root", "/m/local:1@root")).toEqual([]);
  expect(await seen(changes, DOUBT_MS - 1, "nas", "/m/a:1@nas", "/m/b:1@nas")).toEqual([]);
  expect(changes.hidden).toBeUndefined();
  // Now they are visible: what is deleted from there is deleted.
  expect(await seen(changes, DOUBT_MS, "nas", "/m/a:1@nas")).toEqual([]);
  expect(await seen(changes, DOUBT_MS + 100, "nas", "/m/a:1@nas")).toEqual(["deleted /m/b"]);
});

test("files count as deleted after an hour without their volume, but are not new when it is back", async () => {
  const changes = known(["/m/a", "/m/b"]);
  expect(await seen(changes, 0, "root")).toEqual([]);
  const events = await changes.see(lookAt(changes, [], "root"), DOUBT_MS);
  expect(events.map(({ kind, isDoubtful }) => [kind, isDoubtful])).toEqual([
    ["deleted", true],
    ["deleted", true],
  ]);
  for (const event of events) changes.done(event);
  expect(await seen(changes, 2 * DOUBT_MS, "nas", "/m/a:1@nas", "/m/b:2@nas")).toEqual([]);
  expect(await seen(changes, 2 * DOUBT_MS + 100, "nas", "/m/a:1@nas", "/m/b:2@nas")).toEqual([
    "created /m/b",
  ]);
  expect(changes.unsaved).toEqual([{ path: "/m/a", state: { version: "1", place: "nas" } }]);
});

test("a volume that has another number after a restart of the host is recognized by its unchanged files", async () => {
  const changes = known(["/m/a", "/m/b", "/n/c"]);
  // The other directory is empty, so that nothing shows what is there.
  expect(await seen(changes, 0, "nas2", "/m/a:1@nas2")).toEqual([]);
  expect(await seen(changes, 100, "nas2", "/m/a:1@nas2")).toEqual(["deleted /m/b"]);
  expect(changes.hidden).toEqual({ count: 1, directory: "/n" });
});

test("a file that takes the place of a hidden one is new; one that comes back with its volume has changed", async () => {
  const changes = known(["/m/a", "/m/b"]);
  await seen(changes, 0, "root");
  await seen(changes, 100, "root");
  await seen(changes, 200, "root", "/m/a:2@root");
  expect(await seen(changes, 300, "root", "/m/a:2@root")).toEqual(["created /m/a"]);
  await seen(changes, 400, "nas", "/m/a:2@root", "/m/b:2@nas");
  expect(await seen(changes, 500, "nas", "/m/a:2@root", "/m/b:2@nas")).toEqual(["changed /m/b"]);
});

test("a place that changes during a look tells nothing", async () => {
  const changes = known(["/m/a"]);
  await seen(changes, 0, "");
  expect(await seen(changes, 100, "")).toEqual([]);
  expect(await seen(changes, 200, "nas")).toEqual(["deleted /m/a"]);
});

test("a change among many files costs nothing for the others", async () => {
  class Counting<T> extends Map<string, T> {
    passes = 0;
    override keys(): MapIterator<string> {
      this.passes++;
      return super.keys();
    }
    override [Symbol.iterator](): MapIterator<[string, T]> {
      this.passes++;
      return super[Symbol.iterator]();
    }
  }
  const changes = new FileChanges(0);
  const present = new Counting<FileState>();
  for (let i = 0; i < 1000; i++) present.set(`/m/${i}`, { version: "1", place: "disk" });
  await changes.see({ present, touched: undefined, places: new Map() }, 0);
  present.passes = 0;
  present.set("/m/1", { version: "2", place: "disk" });
  const events = await changes.see({ present, touched: ["/m/1"], places: new Map() }, 1);
  expect(events.map(({ kind, path }) => `${kind} ${path}`)).toEqual(["changed /m/1"]);
  expect(present.passes).toBe(0);
});

test("the rate limit lets a burst pass, then so many a second", () => {
  const limit = new RateLimit(3, 2, 0);
  expect([0, 0, 0, 0].map((at) => limit.take(at))).toEqual([true, true, true, false]);
  expect([400, 500, 600, 1000].map((at) => limit.take(at))).toEqual([false, true, false, true]);
  expect([60_000, 60_000, 60_000, 60_000].map((at) => limit.take(at))).toEqual([true, true, true, false]);
});
