import { expect, test } from "bun:test";
import type { PrincipalInfo } from "../../src/contract/messages.ts";
import { judgeFiles } from "../../src/doctor/files-check.ts";

const GIB = 1024 ** 3;
const judged = (files: PrincipalInfo["files"]) => judgeFiles({ files } as PrincipalInfo);
const FILES = { archives: 1, bytes: GIB, limit_bytes: 50 * GIB, place: "/data/blobs", error: null };

test("nothing is said of a principal that keeps no files", () => {
  expect(judged(undefined)).toEqual([]);
});

test.each([
  ["ok", FILES, "1 archive with files of runs, 1024 MiB of 51200 MiB, in /data/blobs"],
  [
    "warning",
    { ...FILES, archives: 7, bytes: 46 * GIB },
    "7 archives with files of runs, 47104 MiB of 51200 MiB, in /data/blobs",
  ],
  [
    "error",
    { ...FILES, error: "Files cannot be kept in s3://b/: no answer in 30 s." },
    "Files cannot be kept in s3://b/: no answer in 30 s.",
  ],
] as const)("%s", (severity, files, message) => {
  expect(judged(files)).toMatchObject([{ check: "files", severity, message }]);
});
