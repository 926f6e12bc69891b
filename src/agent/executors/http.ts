import { VERSION } from "../../build-facts.ts";
import { faultOfOutputs, type Outputs } from "../../contract/outputs.ts";
import { errorMessage } from "../../errors.ts";
import { explainConnection } from "../../host/connection-errors.ts";
import { Timer } from "../../timer.ts";
import { formatDuration } from "../../workflow/duration.ts";
import { formatStatuses, type HttpConfig, mayHaveBody, methodOf } from "../../workflow/kinds/http.ts";
import { CannotStartError, type PerformContext, type Performed, type Performer } from "./executor.ts";
import { expandHome } from "./paths.ts";

/** The most of a response that becomes an output, bytes. */
const MAX_BODY_BYTES = 200 * 1024;
const MAX_REDIRECTS = 10;
const MAX_CA_BYTES = 1024 * 1024;

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
/** Headers that are confidential whatever they hold. */
const CONFIDENTIAL = ["authorization", "cookie", "proxy-authorization"];

/** A request as it is sent. */
interface Request {
  readonly url: URL;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
  /** Names of headers, in lower case, that must not reach another server. */
  readonly confidential: ReadonlySet<string>;
}

/** What came back. */
interface Answer {
  readonly url: URL;
  readonly response: Response;
  /** Its first bytes. */
  readonly body: Uint8Array;
  /** Whether there was more. */
  readonly isCut: boolean;
}

/** The request has failed; the message is the reason. */
class RequestError extends Error {
  readonly hint: string | undefined;

  constructor(message: string, hint?: string) {
    super(message);
    this.hint = hint;
  }
}

/** `!Http`: sends a request from the agent's own process. Its outputs are the status, the headers and the body of the response. */
export const http: Performer<HttpConfig> = {
  secrets: ({ headers = {} }) =>
    Object.values(headers).flatMap((header) => (typeof header === "string" ? [] : [header.secret])),

  async perform(config, context) {
    const ca = config.ca_file === undefined ? undefined : await certificates(config.ca_file, context);
    const request = requestOf(config, context);
    const begun = performance.now();
    const aborting = new AbortController();
    const limit = new Timer(() =>
      aborting.abort(new RequestError(`timed out after ${formatDuration(config.timeout_ms)}`)),
    );
    limit.in(config.timeout_ms);
    const stop = () => aborting.abort(context.signal.reason);
    context.signal.addEventListener("abort", stop);
    try {
      const answer = await sent(request, config.follow_redirects, ca, aborting.signal);
      const took = Math.round(performance.now() - begun);
      const size = answer.isCut ? `more than ${MAX_BODY_BYTES / 1024} KiB` : formatBytes(answer.body.length);
      context.say(
        "INFO",
        `${request.method} ${shown(answer.url)} ${answer.response.status} in ${took} ms, ${size}`,
      );
      return judged(config, answer, context);
    } catch (error) {
      if (context.signal.aborted) return { error: "it was stopped", outputs: null };
      const { message, hint } = error instanceof RequestError ? error : explained(error, request.url);
      context.say("ERROR", `${request.method} ${shown(request.url)}: ${message}.`);
      if (hint !== undefined) context.say("ERROR", hint);
      return { error: message, outputs: null };
    } finally {
      limit.cancel();
      context.signal.removeEventListener("abort", stop);
    }
  },
};

function requestOf(
  config: HttpConfig,
  { secrets, traceparent }: Pick<PerformContext, "secrets" | "traceparent">,
): Request {
  const headers: Record<string, string> = {};
  const confidential = new Set(CONFIDENTIAL);
  for (const [name, header] of Object.entries(config.headers ?? {})) {
    if (typeof header !== "string") confidential.add(name.toLowerCase());
    headers[name] =
      typeof header === "string" ? header : `${header.prefix ?? ""}${headerOf(header.secret, secrets)}`;
  }
  const names = new Set(Object.keys(headers).map((name) => name.toLowerCase()));
  const isTyped = names.has("content-type");
  if (!names.has("user-agent")) headers["User-Agent"] = `cdktr/${VERSION}`;
  if (traceparent !== undefined && !names.has("traceparent")) headers.traceparent = traceparent;
  if (config.body !== undefined && !isTyped && mayHaveBody(methodOf(config)))
    headers["Content-Type"] = typeOf(config.body);
  const method = methodOf(config);
  const body = mayHaveBody(method) ? config.body : undefined;
  return { url: new URL(config.url), method, headers, body, confidential };
}

/** @throws CannotStartError when no header can hold it */
function headerOf(name: string, secrets: PerformContext["secrets"]): string {
  const value = secrets[name] ?? "";
  if (/^[\t\x20-\x7e]*$/.test(value)) return value;
  throw new CannotStartError(
    `Cannot start: the secret ${name} has characters that no header can hold, such as a line break.`,
    { hint: "Store it in base64, or without them." },
  );
}

/** What a body is, unless the headers say so. */
function typeOf(body: string): string {
  try {
    const value: unknown = JSON.parse(body);
    if (typeof value === "object" && value !== null) return "application/json";
  } catch {
    // Text.
  }
  return "text/plain; charset=utf-8";
}

/** @throws CannotStartError */
async function certificates(file: string, context: PerformContext): Promise<string> {
  const path = expandHome(file, context.environment);
  const found = await context.read(path, MAX_CA_BYTES);
  const cannot = (reason: string) =>
    new CannotStartError(`Cannot start: ca_file ${path}: ${reason}.`, {
      hint: "It must be a PEM file, with lines -----BEGIN CERTIFICATE-----.",
    });
  if (found.kind === "failed")
    throw cannot(found.code === "ENOENT" ? "there is no such file" : found.message);
  if (found.kind !== "file")
    throw cannot(found.kind === "directory" ? "it is a directory" : "it cannot be read");
  const text = Buffer.from(found.bytes).toString("latin1");
  if (!text.includes("-----BEGIN CERTIFICATE-----")) throw cannot("it has no certificate");
  return text;
}

/**
 * Sends a request, and those to which it is redirected.
 * @throws RequestError, or what fetch throws
 */
async function sent(
  first: Request,
  follows: boolean,
  ca: string | undefined,
  signal: AbortSignal,
): Promise<Answer> {
  let request = first;
  for (let redirects = 0; ; redirects++) {
    const response = await fetch(request.url.href, {
      method: request.method,
      headers: request.headers,
      ...(request.body === undefined ? {} : { body: request.body }),
      redirect: "manual",
      // A connection that was kept may be one that the server has closed meanwhile.
      keepalive: false,
      ...(ca === undefined ? {} : { tls: { ca } }),
      signal,
    });
    const location = response.headers.get("location");
    if (!follows || !REDIRECTS.has(response.status) || location === null)
      return { url: request.url, response, ...(await bodyOf(response)) };
    await response.body?.cancel().catch(() => {});
    if (redirects === MAX_REDIRECTS)
      throw new RequestError(`there were more than ${MAX_REDIRECTS} redirects`);
    request = redirected(request, response.status, location);
  }
}

/** @throws RequestError when it leads nowhere */
function redirected(request: Request, status: number, location: string): Request {
  const url = URL.parse(location, request.url.href);
  if (url === null || !/^https?:$/.test(url.protocol))
    throw new RequestError(
      `it was redirected to something that is not a URL of the web: ${location.slice(0, 200)}`,
    );
  const becomesGet = status === 303 || (request.method === "POST" && (status === 301 || status === 302));
  const method = becomesGet && request.method !== "HEAD" ? "GET" : request.method;
  const isElsewhere = url.origin !== request.url.origin;
  const headers = Object.entries(request.headers).filter(([name]) => {
    const lower = name.toLowerCase();
    return !(isElsewhere && request.confidential.has(lower)) && !(becomesGet && lower.startsWith("content-"));
  });
  return {
    ...request,
    url,
    method,
    headers: Object.fromEntries(headers),
    body: becomesGet ? undefined : request.body,
  };
}

async function bodyOf(response: Response): Promise<Pick<Answer, "body" | "isCut">> {
  const reader = response.body?.getReader();
  const chunks: Uint8Array[] = [];
  let length = 0;
  for (let next = await reader?.read(); next?.value !== undefined; next = await reader?.read()) {
    chunks.push(next.value);
    length += next.value.length;
    if (length <= MAX_BODY_BYTES) continue;
    await reader?.cancel().catch(() => {});
    return { body: new Uint8Array(0), isCut: true };
  }
  return { body: Buffer.concat(chunks), isCut: false };
}

/** Whether the response is as expected, and what is published of it. */
function judged(config: HttpConfig, answer: Answer, context: PerformContext): Performed {
  const { status } = answer.response;
  const { status: expected } = config.expect;
  if (!expected.some(([from, to]) => from <= status && status <= to)) {
    const location = REDIRECTS.has(status) ? answer.response.headers.get("location") : null;
    const to = location === null ? "" : `; it redirects to ${location.slice(0, 500)}`;
    return {
      error: `status ${status} is not among ${formatStatuses(expected)}${to}${excerptOf(answer)}`,
      outputs: null,
    };
  }
  const outputs = outputsOf(answer);
  const unmet = config.expect.json === undefined ? null : unmetIn(config.expect.json, outputs, context);
  if (unmet !== null) return { error: unmet, outputs: null };
  const fault = faultOfOutputs(outputs);
  return fault === undefined
    ? { error: null, outputs }
    : { error: `its outputs cannot be published: ${fault}`, outputs: null };
}

/** Why a response is not as an expression says; null if it is. */
function unmetIn(template: string, outputs: Outputs, context: PerformContext): string | null {
  if (outputs.truncated === true && outputs.json === undefined)
    return `expect.json cannot be checked: the response has more than ${MAX_BODY_BYTES / 1024} KiB`;
  try {
    const { value, source } = context.evaluate(template, {
      status: Number(outputs.status),
      headers: outputs.headers as Readonly<Record<string, string>>,
      json: outputs.json,
    });
    return value === true ? null : `expect.json is false: ${source}`;
  } catch (error) {
    return `expect.json: ${errorMessage(error)}`;
  }
}

/** The beginning of a short text in a response that is not as expected: it usually says why. */
function excerptOf(answer: Answer): string {
  const text = textOf(answer)?.replace(/\s+/g, " ").trim() ?? "";
  return text === "" || text.startsWith("<") ? "" : `: ${text.slice(0, 300)}`;
}

function outputsOf(answer: Answer): Outputs {
  const { response, isCut } = answer;
  const outputs: Record<string, unknown> = {
    status: response.status,
    headers: Object.fromEntries(response.headers.entries()),
  };
  if (isCut) return { ...outputs, truncated: true };
  const text = textOf(answer);
  if (text === undefined) return outputs;
  const isJson = /^application\/(.+\+)?json\b/i.test(response.headers.get("content-type") ?? "");
  const json = isJson ? readJson(text) : undefined;
  if (json !== undefined) outputs.json = json;
  const whole = { ...outputs, body: text };
  // What is said twice may be too much.
  return json !== undefined && faultOfOutputs(whole) !== undefined ? { ...outputs, truncated: true } : whole;
}

/** The body as text; undefined if it is none. */
function textOf({ response, body }: Answer): string | undefined {
  const [, charset = "utf-8"] =
    /charset="?([^\s;"]+)/i.exec(response.headers.get("content-type") ?? "") ?? [];
  for (const encoding of new Set([charset, "utf-8"])) {
    try {
      return new TextDecoder(encoding as Bun.Encoding, { fatal: true }).decode(body);
    } catch {
      // Unknown, or it is something else.
    }
  }
  return undefined;
}

/** What JSON says; undefined if it is none. Whole numbers that JavaScript cannot hold stay as they are, as text. */
function readJson(text: string): unknown {
  try {
    return JSON.parse(text, (_name: string, value: unknown, context?: { source?: string }) => {
      const isInexact = typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
      return isInexact && context?.source !== undefined ? context.source : value;
    });
  } catch {
    return undefined;
  }
}

/** Why a request has failed, in words. */
function explained(error: unknown, url: URL): RequestError {
  const { message, hint } = explainConnection(error, url);
  return new RequestError(message, hint);
}

/** A URL in a message: without a password. */
function shown(url: URL): string {
  const copy = new URL(url);
  copy.username = "";
  copy.password = "";
  return copy.href;
}

function formatBytes(bytes: number): string {
  return bytes < 1024 ? `${bytes} bytes` : `${(bytes / 1024).toFixed(1)} KiB`;
}
