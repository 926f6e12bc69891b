import { describe, expect, test } from "bun:test";
import { HttpRequestError, RequestReader } from "../../src/host/http-request.ts";

/** Reads a request that arrives in pieces of `size` bytes. */
function read(text: string, { size = 1, most = 100 } = {}) {
  const reader = new RequestReader(most);
  let body = "";
  const bytes = Buffer.from(text, "latin1");
  for (let at = 0; at < bytes.length; at += size)
    for (const piece of reader.push(bytes.subarray(at, at + size)))
      body += Buffer.from(piece).toString("latin1");
  return { head: reader.head, body, isDone: reader.isDone };
}

function statusOf(text: string): number {
  try {
    read(text, { size: 7 });
    return 0;
  } catch (error) {
    if (error instanceof HttpRequestError) return error.status;
    throw error;
  }
}

const LINE = "POST /a?b=c HTTP/1.1\r\nHost: x:80\r\n";

describe("a request is read, however its bytes come", () => {
  test.each([1, 2, 3, 1000])("in pieces of %d", (size) => {
    const plain = read(`${LINE}X-A:  one \r\nx-a: two\r\nContent-Length: 5\r\n\r\nhelloGET /`, { size });
    expect(plain).toMatchObject({ body: "hello", isDone: true });
    expect(plain.head?.method).toBe("POST");
    expect(plain.head?.url.href).toBe("http://x/a?b=c");
    expect(plain.head?.headers.get("x-a")).toBe("one, two");
    const chunked = read(
      `${LINE}Transfer-Encoding: Chunked\r\n\r\n3;ext=1\r\nhel\r\n02\r\nlo\r\n0\r\nTrailer: x\r\n\r\nmore`,
      { size },
    );
    expect(chunked).toMatchObject({ body: "hello", isDone: true });
    const none = read("GET / HTTP/1.0\r\n\r\n", { size });
    expect([none.head?.url.href, none.head?.hasBody, none.isDone]).toEqual([
      "http://localhost/",
      false,
      true,
    ]);
  });
});

test("what is incomplete is waited for", () => {
  expect(read("GET / HTTP/1.1\r\nHost: x\r\n\r").head).toBeUndefined();
  expect(read(`${LINE}Content-Length: 5\r\n\r\nhell`)).toMatchObject({ body: "hell", isDone: false });
  expect(read(`${LINE}Transfer-Encoding: chunked\r\n\r\n0\r\n`).isDone).toBe(false);
});

const REFUSED: readonly (readonly [status: number, text: string])[] = [
  [400, "hello\r\n\r\n"],
  [400, "GET  / HTTP/1.1\r\nHost: x\r\n\r\n"],
  [400, "GET x HTTP/1.1\r\nHost: x\r\n\r\n"],
  [400, "GET / HTTP/1.1\r\n\r\n"],
  [400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"],
  [400, "GET / HTTP/1.1\nHost: x\r\n\r\n"],
  [505, "GET / HTTP/2.0\r\nHost: x\r\n\r\n"],
  [400, `${LINE}X-A: 1\r\n folded\r\n\r\n`],
  [400, `${LINE}X-A : 1\r\n\r\n`],
  [400, `${LINE}X-A: 1\0\r\n\r\n`],
  [400, `${LINE}X-A: 1\rX-B: 2\r\n\r\n`],
  [400, `${LINE}Content-Length: -1\r\n\r\n`],
  [400, `${LINE}Content-Length: 1\r\nContent-Length: 2\r\n\r\n`],
  [400, `${LINE}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n`],
  [501, `${LINE}Transfer-Encoding: gzip, chunked\r\n\r\n`],
  [413, `${LINE}Content-Length: 101\r\n\r\n`],
  [413, `${LINE}Transfer-Encoding: chunked\r\n\r\n64\r\n${"x".repeat(100)}\r\n1\r\n`],
  [400, `${LINE}Transfer-Encoding: chunked\r\n\r\n0x1\r\n`],
  [400, `${LINE}Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n`],
  [400, `${LINE}Transfer-Encoding: chunked\r\n\r\n${"0".repeat(2000)}`],
  [431, `GET /${"x".repeat(20_000)}`],
  [431, `${LINE}${"X-A: 1\r\n".repeat(200)}\r\n`],
  [431, `${LINE}Transfer-Encoding: chunked\r\n\r\n0\r\n${"X-A: 1\r\n".repeat(4000)}`],
];

test("what can be understood in two ways, or is too long, is refused", () => {
  for (const [status, text] of REFUSED) expect([text, statusOf(text)]).toEqual([text, status]);
});

test("a header that is full of blanks takes no longer than any other", () => {
  const blanks = " \t".repeat(8000);
  for (const end of ["\0", "\n", "\r", `\0${blanks.slice(0, 100)}x`])
    expect(statusOf(`GET / HTTP/1.1\r\nHost: x\r\nA:${blanks.slice(0, 15_800)}${end}\r\n\r\n`)).toBe(400);
  const { head } = read(
    `GET / HTTP/1.1\r\nHost: x\r\nA:${blanks.slice(0, 15_800)}b c${blanks.slice(0, 100)}\r\n\r\n`,
    {
      size: 1000,
    },
  );
  expect(head?.headers.get("a")).toBe("b c");
});
