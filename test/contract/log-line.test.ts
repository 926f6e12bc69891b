import { describe, expect, test } from "bun:test";
import {
  decodeLogBatch,
  encodeLogBatch,
  encodeLogHead,
  encodeLogLines,
  headColumn,
  headOf,
  isLogBatch,
  LOG_COLUMNS,
  type LogLine,
  LogLineReader,
  lineKey,
  lineOf,
  rowOf,
  splitSingleLine,
  timeOf,
} from "../../src/contract/log-line.ts";
import { InvalidInputError } from "../../src/errors.ts";

const line: LogLine = {
  workflow_id: "etl.daily",
  workflow_name: "Daily ETL",
  workflow_instance_id: "run-1",
  task_name: "Extract",
  task_instance_id: "task-1",
  timestamp_ms: 1_700_000_000_123,
  level: "INFO",
  payload: "a\x01b \u{1F680} end",
};

function encode({ timestamp_ms, level, payload, ...head }: LogLine): string {
  return encodeLogLines(encodeLogHead(head, String), timestamp_ms, level, [payload]);
}

function decode(text: string): LogLine {
  return new LogLineReader().decode(text);
}

describe("log lines", () => {
  test("travel as the eight columns in order", () => {
    expect(encode(line)).toBe(
      "etl.daily\x01Daily ETL\x01run-1\x01Extract\x01task-1\x011700000000123\x01INFO\x01a\x01b \u{1F680} end",
    );
    expect(Object.keys(decode(encode(line)))).toEqual([...LOG_COLUMNS]);
    expect(lineOf(rowOf(Object.values(line)))).toEqual(line);
    expect(rowOf(LOG_COLUMNS.map(() => null))).toEqual(["", "", "", "", "", 0, "" as "INFO", ""]);
  });

  test("of one task run are encoded together, with their head once escaped", () => {
    const head = encodeLogHead(line, (column) => column.toUpperCase());
    const text = encodeLogLines(head, 7, "ERROR", ["one", "", "three"]);
    const read = text.split("\n").map(decode);
    expect(read.map(({ payload }) => payload)).toEqual(["one", "", "three"]);
    expect(read[2]).toMatchObject({ workflow_id: "ETL.DAILY", task_instance_id: "TASK-1", timestamp_ms: 7 });
  });

  test("are read one after the other, whatever came before", () => {
    const reader = new LogLineReader();
    const other = { ...line, task_instance_id: "task-10", payload: "other" };
    for (const next of [line, { ...line, level: "ERROR" as const }, other, line]) {
      expect(reader.decode(encode(next))).toEqual(next);
    }
    expect(reader.check("a\x01b")).toBe("A log line needs 8 fields; this one has 2.");
    expect(reader.check(encode(line).split("\x01", 6).join("\x01"))).toMatch(/has 6\.$/);
    expect(reader.check(encode(line).split("\x01", 7).join("\x01"))).toMatch(/has 7\.$/);
    expect(reader.decode(encode(other))).toEqual(other);
  });

  test("tell head and time without being taken apart", () => {
    const head = headOf(encode(line));
    expect(head.split("\x01")).toEqual(["etl.daily", "Daily ETL", "run-1", "Extract", "task-1", ""]);
    expect(headColumn(head, "workflow_instance_id")).toBe("run-1");
    expect(headColumn(head, "task_instance_id")).toBe("task-1");
    expect(timeOf(encode(line), head)).toBe(line.timestamp_ms);
    expect(headOf("a\x01b\x01c\x01d\x01e")).toBe("");
    expect(headColumn("", "task_instance_id")).toBe("");
  });

  test("have one key as long as a reader cannot tell them apart", () => {
    expect(lineKey({ ...line, workflow_name: "renamed" })).toBe(lineKey(line));
    for (const change of [
      { timestamp_ms: 1 },
      { level: "WARN" as const },
      { payload: "x" },
      { task_instance_id: "y" },
    ])
      expect(lineKey({ ...line, ...change })).not.toBe(lineKey(line));
  });

  test("come back as they went, separator in the payload included", () => {
    expect(decode(encode(line))).toEqual(line);
    expect(decode(encode({ ...line, payload: "" })).payload).toBe("");
  });

  test.each([
    ["too few fields", "a\x01b\x01c"],
    ["no time", encode(line).replace("1700000000123", "soon")],
    ["negative time", encode(line).replace("1700000000123", "-1")],
    ["empty time", encode(line).replace("1700000000123", "")],
    ["unknown level", encode(line).replace("INFO", "LOUD")],
    ["nothing", ""],
  ])("%s: refused", (_, text) => {
    expect(() => decode(text)).toThrow(InvalidInputError);
  });
});

describe("log batches", () => {
  test("come back as they went", () => {
    const lines = [encode(line), encode({ ...line, payload: "second" })];
    const batch = { agent_id: "host", stream_id: "s1", first_seq: 17, lines };
    expect(decodeLogBatch(encodeLogBatch(batch))).toEqual(batch);
    expect(decodeLogBatch(encodeLogBatch({ ...batch, lines: [] }))).toEqual({ ...batch, lines: [] });
  });

  test("a batch and a line of an existing client are told apart", () => {
    const batch = encodeLogBatch({ agent_id: "host", stream_id: "s1", first_seq: 17, lines: [encode(line)] });
    expect(isLogBatch(batch)).toBe(true);
    expect(isLogBatch(encode({ ...line, workflow_id: "LOGS" }))).toBe(false);
    expect(isLogBatch(encode(line))).toBe(false);
    expect(() => decodeLogBatch(encode({ ...line, workflow_id: "LOGS" }))).toThrow(InvalidInputError);
  });

  test.each([
    "",
    "LOGS",
    "LOGS\x01a\x01s\x010\nx",
    "LOGS\x01a\x01s\x01-1",
    "LOGS\x01a\x01s\x01x",
    "LOGS\x01\x01s\x011",
  ])("%j: refused", (text) => {
    expect(() => decodeLogBatch(text)).toThrow(InvalidInputError);
  });
});

describe("a line that is delivered by itself", () => {
  test("is as many lines as its payload has", () => {
    const lines = splitSingleLine(encode({ ...line, payload: "one\n\nthree" }));
    expect(lines.map((text) => decode(text).payload)).toEqual(["one", "", "three"]);
    expect(splitSingleLine(encode(line))).toEqual([encode(line)]);
  });

  test.each([
    ["a line feed in its head", encode({ ...line, task_name: "a\nb" })],
    ["too few fields", "a\x01b"],
  ])("%s: refused", (_, text) => {
    expect(() => splitSingleLine(text)).toThrow(InvalidInputError);
  });
});
