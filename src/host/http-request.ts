/**
 * Reads one HTTP/1.x request as its bytes arrive (RFC 9112). It is strict: a request whose length can be understood in two ways is
 * refused, and so is everything that programs do not send: folded headers, bare line feeds, other transfer codings.
 */

/** A request that is refused before anyone handles it. */
export class HttpRequestError extends Error {
  /** The status of the reply. */
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** The first line and the headers. */
export interface RequestHead {
  readonly method: string;
  readonly url: URL;
  readonly headers: Headers;
  readonly hasBody: boolean;
  /** The client waits for an interim reply before it sends the body. */
  readonly awaitsContinue: boolean;
}

/** Maximum size of the first line and the headers, or of the trailers, bytes. */
const HEAD_LIMIT = 16 * 1024;
const MOST_HEADERS = 100;
/** Maximum length of the line before a chunk, bytes. */
const CHUNK_LINE_LIMIT = 256;

const LINE_END = "\r\n";
const HEAD_END = "\r\n\r\n";
const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const FIRST_LINE = new RegExp(`^(${TOKEN}) (\\S+) HTTP/(\\d)\\.(\\d)$`);
const HEADER_NAME = new RegExp(`^${TOKEN}$`);
const NOT_IN_A_VALUE = /[\0\r\n]/;
const CHUNK_LINE = /^([0-9a-fA-F]{1,8})[ \t]*(;[^\0\r\n]*)?$/;

type Stage = "head" | "body" | "chunk line" | "chunk" | "chunk end" | "trailers" | "done";

/** Reads one request. Bytes after it are ignored. */
export class RequestReader {
  readonly #mostBody: number;
  #stage: Stage = "head";
  #held = Buffer.alloc(0);
  #head: RequestHead | undefined;
  /** Bytes that are missing of the body, or of the current chunk. */
  #missing = 0;
  #taken = 0;
  #trailers = 0;

  /** @param mostBody maximum size of a body, bytes */
  constructor(mostBody: number) {
    this.#mostBody = mostBody;
  }

  /** Undefined until it is complete. */
  get head(): RequestHead | undefined {
    return this.#head;
  }

  /** Whether the whole request has arrived. */
  get isDone(): boolean {
    return this.#stage === "done";
  }

  /**
   * Takes the next bytes.
   * @returns the pieces of the body in them
   * @throws HttpRequestError
   */
  push(bytes: Uint8Array): Uint8Array[] {
    if (this.isDone) return [];
    this.#held = Buffer.concat([this.#held, bytes]);
    const pieces: Uint8Array[] = [];
    while (this.#step(pieces));
    return pieces;
  }

  /** @returns whether there may be more to do with the bytes that are held */
  #step(pieces: Uint8Array[]): boolean {
    switch (this.#stage) {
      case "head":
        return this.#readHead();
      case "body":
        return this.#readBytes(pieces, "done");
      case "chunk line":
        return this.#readChunkLine();
      case "chunk":
        return this.#readBytes(pieces, "chunk end");
      case "chunk end": {
        const line = this.#line(0);
        if (line === undefined) return false;
        this.#stage = "chunk line";
        return true;
      }
      case "trailers": {
        const line = this.#line(HEAD_LIMIT);
        if (line === undefined) return false;
        this.#trailers += line.length + LINE_END.length;
        if (this.#trailers > HEAD_LIMIT) throw new HttpRequestError(431, "the trailers are too long");
        if (line === "") this.#stage = "done";
        return true;
      }
      case "done":
        return false;
    }
  }

  #readHead(): boolean {
    const end = this.#held.indexOf(HEAD_END);
    if (end > HEAD_LIMIT || (end === -1 && this.#held.length > HEAD_LIMIT))
      throw new HttpRequestError(431, "the headers are too long");
    if (end === -1) return false;
    const [first = "", ...lines] = this.#cut(end, HEAD_END.length).split(LINE_END);
    const headers = headersOf(lines);
    const { method, url } = startOf(first, headers);
    const chunked = headers.get("transfer-encoding");
    const length = headers.get("content-length");
    if (chunked !== null) {
      if (length !== null) throw new HttpRequestError(400, "the body has two lengths");
      if (chunked.toLowerCase() !== "chunked")
        throw new HttpRequestError(501, "this transfer coding is not known");
      this.#stage = "chunk line";
    } else if (length !== null) {
      if (!/^\d{1,15}$/.test(length)) throw new HttpRequestError(400, "the length of the body is no number");
      this.#missing = Number(length);
      this.#expect(this.#missing);
      this.#stage = this.#missing > 0 ? "body" : "done";
    } else this.#stage = "done";
    const awaitsContinue = /^100-continue$/i.test(headers.get("expect") ?? "");
    this.#head = { method, url, headers, hasBody: !this.isDone, awaitsContinue };
    return true;
  }

  #readChunkLine(): boolean {
    const line = this.#line(CHUNK_LINE_LIMIT);
    if (line === undefined) return false;
    const size = CHUNK_LINE.exec(line)?.[1];
    if (size === undefined) throw new HttpRequestError(400, "the body is not in chunks");
    this.#missing = Number.parseInt(size, 16);
    this.#expect(this.#missing);
    this.#stage = this.#missing > 0 ? "chunk" : "trailers";
    return true;
  }

  #readBytes(pieces: Uint8Array[], next: Stage): boolean {
    if (this.#held.length === 0) return false;
    const piece = this.#held.subarray(0, this.#missing);
    this.#held = this.#held.subarray(piece.length);
    this.#missing -= piece.length;
    this.#taken += piece.length;
    pieces.push(piece);
    if (this.#missing === 0) this.#stage = next;
    return true;
  }

  /** @throws HttpRequestError when `size` more bytes are too many */
  #expect(size: number): void {
    if (this.#taken + size > this.#mostBody)
      throw new HttpRequestError(413, `the body is longer than ${this.#mostBody} bytes`);
  }

  /** The next line; undefined when it is incomplete. */
  #line(limit: number): string | undefined {
    const end = this.#held.indexOf(LINE_END);
    if (end > limit || (end === -1 && this.#held.length > limit + 1))
      throw new HttpRequestError(400, "the body is not in chunks");
    return end === -1 ? undefined : this.#cut(end, LINE_END.length);
  }

  /** Removes text from the bytes that are held, and the delimiter after it. */
  #cut(length: number, delimiter: number): string {
    const text = this.#held.toString("latin1", 0, length);
    this.#held = this.#held.subarray(length + delimiter);
    return text;
  }
}

function startOf(line: string, headers: Headers): { method: string; url: URL } {
  const [, method = "", target = "", major, minor] = FIRST_LINE.exec(line) ?? [];
  if (major === undefined) throw new HttpRequestError(400, "this is no HTTP request");
  if (major !== "1") throw new HttpRequestError(505, "only HTTP/1.x is spoken here");
  const host = headers.get("host");
  if (host === null && minor !== "0") throw new HttpRequestError(400, "the header Host is missing");
  const absolute = /^https?:\/\//i.test(target);
  if (!absolute && !target.startsWith("/")) throw new HttpRequestError(400, "the request names no path");
  try {
    return { method, url: new URL(absolute ? target : `http://${host || "localhost"}${target}`) };
  } catch {
    throw new HttpRequestError(400, "the request names no valid path or host");
  }
}

function headersOf(lines: readonly string[]): Headers {
  if (lines.length > MOST_HEADERS) throw new HttpRequestError(431, "there are too many headers");
  const headers = new Headers();
  for (const line of lines) {
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(0, colon));
    const value = withoutBlanks(line, colon + 1);
    if (!HEADER_NAME.test(name) || NOT_IN_A_VALUE.test(value))
      throw new HttpRequestError(400, "a header is malformed");
    // Two different lengths, hosts or codings would be joined to a value that is none.
    headers.append(name, value);
  }
  return headers;
}

/**
 * The rest of a line without the spaces and tabs around it. A regular expression for that takes time in proportion to the cube of a long
 * row of blanks.
 */
function withoutBlanks(line: string, from: number): string {
  const isBlank = (index: number) => line[index] === " " || line[index] === "\t";
  let [start, end] = [from, line.length];
  while (start < end && isBlank(start)) start++;
  while (end > start && isBlank(end - 1)) end--;
  return line.slice(start, end);
}
