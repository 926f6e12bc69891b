import { expect, test } from "bun:test";
import type { ArchiveInfo } from "../../src/contract/messages.ts";
import { judgeArchive } from "../../src/doctor/archive-checks.ts";

const DAY = 86_400_000;
const info: ArchiveInfo = {
  directory: "/data/app.db.archive",
  history_keep_days: 90,
  archive_keep_days: null,
  database_bytes: 12_300_000,
  archive_bytes: 4_000_000,
  files: 14,
  days: 2,
  first_day: "2025-01-01",
  last_day: "2025-01-02",
  oldest_ms: 0,
  missing: [],
  missing_files: 0,
  passed_at_ms: 10 * DAY,
  problem: null,
};

test("the sizes of the history are told, and what is wrong with its archive", () => {
  const text = (changes: Partial<ArchiveInfo>, now = 11 * DAY) =>
    judgeArchive({ ...info, ...changes }, now).map(({ severity, message }) => `${severity}: ${message}`);
  expect(text({})).toEqual(["ok: History: database 13 MB, archive 4 MB, 2025-01-01 to 2025-01-02."]);
  expect(text({ files: 0, history_keep_days: null, passed_at_ms: null })).toEqual([
    "ok: History: database 13 MB, no archive.",
  ]);
  expect(text({ directory: null, in_lake: true })).toEqual(["ok: History: 13 MB in a lake."]);
  expect(text({ missing: ["a", "b", "c", "d"], missing_files: 4 })).toEqual([
    "error: 4 files of the archive are missing or not whole: a, b, c, ….",
  ]);
  expect(text({ problem: "the disk is full" })).toEqual([
    "warning: Old days of the history could not be moved or deleted: the disk is full",
  ]);
  expect(text({}, 20 * DAY)).toEqual([
    "warning: Old days of the history were moved 10 days ago the last time.",
  ]);
});
