import { describe, expect, test } from "bun:test";
import {
  formatBytes,
  formatClock,
  formatDuration,
  formatRelative,
  formatStatus,
} from "../../src/cli/support/format.ts";
import { makeStyle } from "../../src/cli/support/style.ts";
import { type Column, renderTable } from "../../src/cli/support/table.ts";

const plain = makeStyle(false);
const coloured = makeStyle(true);

test.each([
  [0, "0ms"],
  [37.4, "37ms"],
  [999, "999ms"],
  [4200, "4.2s"],
  [59_940, "59.9s"],
  [59_960, "1m"],
  [200_000, "3m 20s"],
  [3_599_600, "1h"],
  [18_720_000, "5h 12m"],
  [86_400_000, "1d"],
  [187_200_000, "2d 4h"],
  [-1500, "-1.5s"],
])("a duration of %p ms is %p", (ms, text) => expect(formatDuration(ms)).toBe(text));

test.each([
  [0, "just now"],
  [-12_000, "12s ago"],
  [-3_700_000, "1h ago"],
  [-90_000_000, "25h ago"],
  [-180_000_000, "2d ago"],
  [300_000, "in 5m"],
])("%p ms from now is %p", (offset, text) => expect(formatRelative(1e12 + offset, 1e12)).toBe(text));

test("a clock shows milliseconds of the local day", () => {
  expect(formatClock(new Date(2025, 0, 20, 4, 3, 7, 50).getTime())).toBe("04:03:07.050");
});

test.each([
  [0, "0 B"],
  [1023, "1023 B"],
  [1024, "1.0 KiB"],
  [1024 ** 2 - 1, "1.0 MiB"],
  [1.25 * 1024 ** 3, "1.3 GiB"],
])("%p bytes are %p", (bytes, text) => expect(formatBytes(bytes)).toBe(text));

test("a status is a bare word for programs, symbol and colour for people", () => {
  expect(formatStatus("FAILED", plain)).toBe("FAILED");
  expect(formatStatus("FAILED", coloured)).toBe("\x1b[31m✗ FAILED\x1b[39m");
});

describe("a table", () => {
  const columns = [
    { title: "NAME", value: (row: { name: string; size: number }) => row.name, flexible: true },
    {
      title: "SIZE",
      value: (row: { name: string; size: number }) => String(row.size),
      align: "right" as const,
    },
  ];

  test("lines up whatever the characters", () => {
    const rows = [
      { name: "plain", size: 1 },
      { name: "日本語", size: 22 },
      { name: "e\u0301te\u0301 👩‍👩‍👧", size: 333 },
    ];
    const lines = renderTable(columns, rows, { style: plain, width: undefined });
    expect(lines).toHaveLength(4);
    expect(new Set(lines.map((line) => Bun.stringWidth(line))).size).toBe(1);
  });

  test("fits the terminal by cutting what is flexible", () => {
    const rows = [{ name: "a very long name indeed, too long for this", size: 5 }];
    const [header = "", row = ""] = renderTable(columns, rows, { style: plain, width: 20 });
    expect(Bun.stringWidth(row)).toBe(20);
    expect(row).toBe("a very long n…     5");
    expect(header).toBe("NAME            SIZE");
  });

  test("keeps everything when it is not for a terminal", () => {
    const name = "x".repeat(500);
    expect(renderTable(columns, [{ name, size: 1 }], { style: plain, width: undefined })[1]).toContain(name);
  });

  test("a table that is too wide shortens names, then leaves columns out, the last first", () => {
    interface Row {
      readonly id: string;
    }
    const wide: Column<Row>[] = [
      { title: "ID", value: ({ id }) => id, short: ({ id }) => id.slice(0, 8) },
      { title: "FIRST", value: () => "one", dispensable: true },
      { title: "SECOND", value: () => "two", dispensable: true },
      { title: "LAST", value: () => "three" },
    ];
    const drawn = (width: number) =>
      renderTable(wide, [{ id: "0123456789abcdef" }], { style: plain, width }).map((line) =>
        line.replace(/ +/g, " "),
      );
    expect(drawn(40)).toEqual(["ID FIRST SECOND LAST", "0123456789abcdef one two three"]);
    expect(drawn(32)).toEqual(["ID FIRST SECOND LAST", "01234567 one two three"]);
    expect(drawn(24)).toEqual(["ID FIRST LAST", "01234567 one three"]);
    expect(drawn(10)).toEqual(["ID LAST", "012… thr…"]);
  });

  test("never lets a cell break a line", () => {
    const lines = renderTable(columns, [{ name: "two\nlines", size: 1 }], { style: plain, width: undefined });
    expect(lines[1]).toBe("two lines     1");
  });
});
