import { describe, expect, test } from "bun:test";
import {
  decodeFrame,
  decodeReply,
  encodeFields,
  encodeReply,
  MAX_FRAME_BYTES,
} from "../../src/contract/wire.ts";
import { InvalidInputError } from "../../src/errors.ts";

describe("wire", () => {
  test("fields are joined by 0x01", () => {
    expect(Buffer.from(encodeFields(["RUNTASK", "etl.daily", "{}"])).toString("latin1")).toBe(
      "RUNTASK\x01etl.daily\x01{}",
    );
  });

  test("a reply is its kind, and its payload may hold the separator", () => {
    expect(decodeReply(encodeReply("PONG"))).toEqual({ kind: "PONG", payload: "" });
    expect(decodeReply(encodeReply("SUCCESS", "a\x01b"))).toEqual({ kind: "SUCCESS", payload: "a\x01b" });
  });

  test("what is not a reply is refused", () => {
    expect(() => decodeReply(Buffer.from("HTTP/1.1 400 Bad Request"))).toThrow(InvalidInputError);
    expect(() => decodeReply(new Uint8Array())).toThrow(InvalidInputError);
  });

  test("frames that are empty, not UTF-8 or too long are refused", () => {
    expect(() => decodeFrame(new Uint8Array())).toThrow("empty");
    expect(() => decodeFrame(Uint8Array.of(0x50, 0xff, 0xfe))).toThrow("UTF-8");
    expect(() => decodeFrame(new Uint8Array(MAX_FRAME_BYTES + 1).fill(65))).toThrow("at most");
    expect(decodeFrame(Buffer.from("PING"))).toBe("PING");
  });
});
