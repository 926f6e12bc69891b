/**
 * Schedules against the oracle (oracle.py): the rules of the manual in another language with time zones from another source. Its answers
 * are recorded in `record.json.gz`; `npm run oracle` records them anew, and `npm run oracle -- 'EXPRESSION' ZONE` shows where the two differ.
 */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { checkCron } from "../../src/workflow/schedule.ts";
import { LONG } from "../support/long.ts";
import {
  backwards,
  between,
  differencesToCronsim,
  type OracleRecord,
  offsetAt,
  type Row,
  spansOf,
} from "./record.ts";

const record: OracleRecord = JSON.parse(
  new TextDecoder().decode(Bun.gunzipSync(readFileSync(join(import.meta.dir, "record.json.gz")))),
);
const manual = readFileSync(join(import.meta.dir, "../../src/docs/scheduling.md"), "utf8");
const zones = Object.entries(record.zones);

/** `[count, CRC]` of the firings in these spans. */
function digest(cron: string, zone: string, spans: readonly (readonly [number, number])[]) {
  const found = spans.flatMap((span) => between(cron, zone, span));
  return [found.length, Bun.hash.crc32(found.join(","))];
}

function problemsOf(row: Row, zone: string, kinds: readonly string[]): string[] {
  const problems: string[] = [];
  for (const [kind, expected] of Object.entries(row.firings[zone] ?? {})) {
    if (!kinds.includes(kind)) continue;
    const spans = spansOf(record, row, zone)[kind] ?? [];
    const found = digest(row.cron, zone, spans);
    if (!Bun.deepEquals(found, expected))
      problems.push(`"${row.cron}" in ${zone}, ${kind}: ${found[0]} firings, not ${expected[0]} (or others)`);
  }
  return problems;
}

describe("time zones", () => {
  test.each(zones)("%s has the offsets that the oracle's data has", (name, zone) => {
    const wrong = zone.offsets
      .flatMap(([at, offset], index) => {
        const before = zone.offsets[index - 1];
        return before === undefined
          ? [[at, offset] as const]
          : [[at - 1, before[1]] as const, [at, offset] as const];
      })
      .filter(([at, offset]) => offsetAt(name, at) !== offset)
      .map(([at, offset]) => `${new Date(at * 1000).toISOString()}: ${offsetAt(name, at)}, not ${offset}`);
    expect(wrong).toEqual([]);
  });
});

describe("expressions", () => {
  test("all 500 are valid here", () => {
    expect(record.expressions).toHaveLength(500);
    expect(record.expressions.map((row) => row.cron).filter((cron) => checkCron(cron) !== null)).toEqual([]);
  });

  test("around the changes of a zone, each fires as the oracle says", () => {
    expect(record.expressions.flatMap((row) => problemsOf(row, row.home, ["changes"]))).toEqual([]);
  });

  test("on other days and over five years, some of them", () => {
    const some = record.expressions.filter((_, index) => index % 25 === 0);
    expect(some.flatMap((row) => problemsOf(row, row.home, ["days", "years"]))).toEqual([]);
  });

  test.skipIf(!LONG)("all in all zones over five years, forward", () => {
    const problems = record.expressions.flatMap((row) =>
      zones.flatMap(([zone]) => problemsOf(row, zone, ["changes", "days", "years"])),
    );
    expect(problems).toEqual([]);
  });

  test.skipIf(!LONG)("and backward", () => {
    const problems: string[] = [];
    for (const row of record.expressions)
      for (const span of spansOf(record, row, row.home).changes ?? []) {
        const forward = between(row.cron, row.home, span);
        if (!Bun.deepEquals(backwards(row.cron, row.home, span), forward))
          problems.push(`"${row.cron}" in ${row.home} from ${span[0]} to ${span[1]}`);
      }
    expect(problems).toEqual([]);
  });
});

describe("cronsim (Debian's cron) differs only by rules of the manual", () => {
  test("each difference has its rule", () => {
    const unexplained = record.expressions.filter(
      (row) => differs(row) && !differencesToCronsim.some((rule) => rule.applies(row.cron, row.home)),
    );
    expect(unexplained.map((row) => [row.cron, row.home, row.cronsim])).toEqual([]);
  });

  test.each(differencesToCronsim.map((rule) => [rule.name, rule] as const))("%s", (_, rule) => {
    expect(manual).toContain(`\n| ${rule.name} |`);
    const those = record.expressions.filter((row) => rule.applies(row.cron, row.home));
    // The rule is there because of something.
    expect(those.some(differs)).toBe(true);
  });
});

function differs({ cronsim }: Row): boolean {
  return cronsim === null || cronsim.missing.length > 0 || cronsim.extra.length > 0;
}
