/** A restore that is killed between any two of its steps is finished by whoever starts next. */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bootId } from "../../src/host/boot.ts";
import {
  asideFor,
  exchange,
  finishRestore,
  isRestoring,
  stagedFor,
} from "../../src/storage/restore-journal.ts";
import { TemporaryDirectory } from "../support/temporary-directory.ts";

const ASIDE = "before-restore-now";

/** A data directory with a state and a history, new ones of both beside them; the history is elsewhere. */
function prepare(directory: TemporaryDirectory) {
  const [data, elsewhere] = [directory.path("data"), directory.path("elsewhere")];
  for (const path of [data, elsewhere]) mkdirSync(path);
  const state = join(data, "state.db");
  const history = join(elsewhere, "app.db");
  for (const file of [state, history]) {
    writeFileSync(file, "old");
    writeFileSync(`${file}${file === state ? "-wal" : ".wal"}`, "old log");
    writeFileSync(stagedFor(file), "new");
  }
  writeFileSync(join(data, "principal.pid"), "1\n");
  return { data, files: [state, history], elsewhere };
}

const same = (error: unknown) => error;

/** The renames of a restore, in their order. */
function movesOf([state = "", history = ""]: readonly string[]): [string, string][] {
  const aside = (file: string, end: string): [string, string] => [file + end, asideFor(file, ASIDE) + end];
  return [
    aside(state, ""),
    aside(state, "-wal"),
    [stagedFor(state), state],
    aside(history, ""),
    aside(history, ".wal"),
    [stagedFor(history), history],
  ];
}

function expectDone({ data, files, elsewhere }: ReturnType<typeof prepare>): void {
  expect(files.map((file) => readFileSync(file, "utf8"))).toEqual(["new", "new"]);
  expect(files.map((file) => readFileSync(asideFor(file, ASIDE), "utf8"))).toEqual(["old", "old"]);
  expect(readdirSync(data).sort()).toEqual([ASIDE, "state.db"]);
  expect(readdirSync(elsewhere).sort()).toEqual(["app.db", ASIDE]);
  expect(readdirSync(join(data, ASIDE)).sort()).toEqual(["state.db", "state.db-wal"]);
  expect(readdirSync(join(elsewhere, ASIDE)).sort()).toEqual(["app.db", "app.db.wal"]);
}

test("nobody kills it: everything is in place, and nothing is left to finish", () => {
  using directory = new TemporaryDirectory();
  const place = prepare(directory);
  expect(exchange(place.data, place.files, ASIDE, same)).toEqual(place.files);
  expectDone(place);
  expect(isRestoring(place.data)).toBe(false);
  finishRestore(place.data, () => expect.unreachable());
});

test.each([0, 1, 2, 3, 4, 5, 6])(
  "it is killed after %i renames: it is finished, and that is said",
  (count) => {
    using directory = new TemporaryDirectory();
    const place = prepare(directory);
    const journal = { pid: 999_999_999, started: "never", aside: ASIDE, files: place.files };
    writeFileSync(join(place.data, "restore.json"), JSON.stringify(journal));
    for (const [from, to] of movesOf(place.files).slice(0, count)) {
      mkdirSync(join(to, ".."), { recursive: true });
      renameSync(from, to);
    }
    const said: string[] = [];
    finishRestore(place.data, (message) => said.push(message));
    expectDone(place);
    expect(said).toEqual([
      expect.stringContaining("was killed while it put files in place. That is finished now"),
    ]);
    finishRestore(place.data, () => expect.unreachable());
  },
);

test("an error undoes it; what is in place is as it was", () => {
  using directory = new TemporaryDirectory();
  const { data, files } = prepare(directory);
  const [state = "", history = ""] = files;
  renameSync(stagedFor(history), directory.path("gone"));
  expect(() => exchange(data, files, ASIDE, same)).toThrow("ENOENT");
  expect([state, history].map((file) => readFileSync(file, "utf8"))).toEqual(["old", "old"]);
  expect(existsSync(`${history}.wal`)).toBe(true);
  expect(isRestoring(data)).toBe(false);
});

test("while it goes on, nobody else starts", async () => {
  using directory = new TemporaryDirectory();
  const { data, files } = prepare(directory);
  const child = Bun.spawn(["sleep", "100"]);
  const stat = readFileSync(`/proc/${child.pid}/stat`, "latin1");
  const started = `${bootId()} ${stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]}`;
  writeFileSync(join(data, "restore.json"), JSON.stringify({ pid: child.pid, started, aside: ASIDE, files }));
  expect(() => finishRestore(data, () => {})).toThrow(`(process ${child.pid}) is putting a backup in place`);
  child.kill("SIGKILL");
  await child.exited;
  finishRestore(data, () => {});
  expect(files.map((file) => readFileSync(file, "utf8"))).toEqual(["new", "new"]);
});
