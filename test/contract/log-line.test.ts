import { describe, expect, test } from "bun:test";
import {
  decodeLogBatch,
  decodeLogLine,
  encodeLogBatch,
  encodeLogLine,
  type LogLine,
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

describe("log lines", () => {
  test("come back as they went, separator in the payload included", () => {
    expect(decodeLogLine(encodeLogLine(line))).toEqual(line);
    expect(decodeLogLine(encodeLogLine({ ...line, payload: "" })).payload).toBe("");
  });

  test.each([
    ["too few fields", "a\x01b\x01c"],
    ["no time", encodeLogLine(line).replace("1700000000123", "soon")],
    ["empty time", encodeLogLine(line).replace("1700000000123", "")],
    ["unknown level", encodeLogLine(line).replace("INFO", "LOUD")],
    ["nothing", ""],
  ])("%s: refused", (_, text) => {
    expect(() => decodeLogLine(text)).toThrow(InvalidInputError);
  });
});

describe("log batches", () => {
  test("come back as they went", () => {
    const lines = [encodeLogLine(line), encodeLogLine({ ...line, payload: "second" })];
    const batch = { agent_id: "host", stream_id: "s1", first_seq: 17, lines };
    expect(decodeLogBatch(encodeLogBatch(batch))).toEqual(batch);
    expect(decodeLogBatch(encodeLogBatch({ ...batch, lines: [] }))).toEqual({ ...batch, lines: [] });
  });

  test("a batch and a line of an existing client are told apart", () => {
    expect(() => decodeLogBatch(encodeLogLine({ ...line, workflow_id: "LOGS" }))).toThrow(InvalidInputError);
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
