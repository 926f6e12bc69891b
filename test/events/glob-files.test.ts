import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GlobFiles } from "../../src/events/declared/glob-files.ts";
import { FileHelper } from "../../src/host/file-helper/file-helper.ts";
import type { FileRequests, FileVerb } from "../../src/host/file-helper/requests.ts";

const FILES = 11_000;

/** Notes how many files each reply has. */
class Counting extends FileHelper {
  readonly counts: number[] = [];

  override async ask<Verb extends FileVerb>(
    verb: Verb,
    request: FileRequests[Verb]["request"],
  ): Promise<FileRequests[Verb]["reply"]> {
    const reply = await super.ask(verb, request);
    const { present, gone } = (reply ?? {}) as Partial<FileRequests["glob"]["reply"]>;
    if (present !== undefined && gone !== undefined) this.counts.push(present.length + gone.length);
    return reply;
  }
}

test("many files come in several replies, and then only what has changed", async () => {
  const directory = mkdtempSync(join(tmpdir(), "cdktr-glob-"));
  const helper = new Counting();
  try {
    const path = (i: number) => join(directory, `${i}.csv`);
    for (let i = 0; i < FILES; i++) writeFileSync(path(i), "");
    const files = new GlobFiles(helper, "g", join(directory, "*.csv"), () => {});
    const ask = { also: [], directories: [directory], whole: true };
    const first = await files.look(ask);
    expect({ size: first.present.size, touched: first.touched }).toEqual({ size: FILES, touched: undefined });
    expect(helper.counts.length).toBeGreaterThan(1);
    expect(Math.max(...helper.counts)).toBeLessThanOrEqual(5000);
    expect(first.places.get(directory)).toBe(first.present.get(path(0))?.place);

    helper.counts.length = 0;
    writeFileSync(path(1), "longer");
    rmSync(path(2));
    const second = await files.look(ask);
    expect({ size: second.present.size, touched: [...(second.touched ?? [])].sort() }).toEqual({
      size: FILES - 1,
      touched: [path(1), path(2)],
    });
    expect(helper.counts).toEqual([2]);
    // What is left of the directory is on its file system, but it is not where the files were.
    rmSync(directory, { recursive: true });
    expect((await files.look(ask)).places.get(directory)).toBe("");
  } finally {
    helper.close();
    rmSync(directory, { recursive: true, force: true });
  }
});
