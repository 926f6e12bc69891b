/** Posts JSON to a server, and says in words why that failed. */
import { VERSION } from "../../../build-facts.ts";
import { explainConnection } from "../../../host/connection-errors.ts";
import { plainText } from "../../../terminal/foreign-text.ts";
import { Timer } from "../../../timer.ts";
import { formatDuration } from "../../../workflow/duration.ts";
import { SendError } from "./sender.ts";

/** How long a request may take with its response, ms. */
const LIMIT_MS = 30_000;
/** The most of a response that is read, bytes, and that is told, characters. */
const MOST_BYTES = 16 * 1024;
const MOST_TOLD = 300;
/** The longest time that a server may ask for, ms. */
const LONGEST_RETRY_MS = 3_600_000;
/** Statuses of 4xx after which the same request may succeed later. */
const TEMPORARY: ReadonlySet<number> = new Set([407, 408, 425, 429]);

/** A request. */
export interface Post {
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** JSON. */
  readonly body: string;
  /** Certificates to trust instead of the usual authorities, PEM. */
  readonly ca?: string | undefined;
  /** What must not be in a message, whatever the server says. */
  readonly secrets: readonly string[];
  readonly signal: AbortSignal;
}

/**
 * Posts, and follows no redirect: it could lead what is secret to another server.
 * @throws SendError unless the server accepts it
 */
export async function post({ url, headers = {}, body, ca, secrets, signal }: Post): Promise<void> {
  if (!URL.canParse(url) || !/^https?:/i.test(url))
    throw new SendError("The URL of the channel is not one that starts with https:// or http://.");
  const target = new URL(url);
  const aborting = new AbortController();
  const limit = new Timer(() => aborting.abort());
  limit.in(LIMIT_MS);
  const stop = () => aborting.abort();
  signal.addEventListener("abort", stop);
  if (signal.aborted) stop();
  try {
    const response = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json", "User-Agent": `cdktr/${VERSION}`, ...headers },
      body,
      redirect: "manual",
      keepalive: false,
      ...(ca === undefined ? {} : { tls: { ca } }),
      signal: aborting.signal,
    });
    if (response.ok) {
      await response.body?.cancel().catch(() => {});
      return;
    }
    throw refusal(response, target, await excerptOf(response, secrets));
  } catch (error) {
    if (error instanceof SendError) throw error;
    if (signal.aborted) throw new SendError(`The request to ${target.host} was stopped.`);
    if (aborting.signal.aborted)
      throw new SendError(`${target.host} did not answer within ${formatDuration(LIMIT_MS)}.`);
    const { message, hint } = explainConnection(error, target);
    throw new SendError(`${capital(masked(message, secrets))}.`, { hint: hint ?? proxyHint(target) });
  } finally {
    limit.cancel();
    signal.removeEventListener("abort", stop);
  }
}

function refusal({ status, headers }: Response, { host }: URL, excerpt: string): SendError {
  const said = excerpt === "" ? "" : `: ${excerpt}`;
  if (status >= 300 && status < 400) {
    const location = URL.parse(headers.get("location") ?? "", `https://${host}`);
    const to = location === null ? "" : ` to ${location.host}`;
    return new SendError(`${host} redirects${to} (status ${status}), which is not followed.`, {
      hint: "Write the URL to which it leads into the channel.",
    });
  }
  const isPermanent = status >= 400 && status < 500 && !TEMPORARY.has(status);
  const who = status === 407 ? `The proxy on the way to ${host}` : host;
  return new SendError(`${who} answered with status ${status}${said}.`, {
    isPermanent,
    retryAfterMs: isPermanent ? undefined : retryAfter(headers.get("retry-after")),
    hint: HINTS[status],
  });
}

const HINTS: Readonly<Record<number, string>> = {
  401: "Check the secrets of the channel.",
  403: "Check the URL and the secrets of the channel.",
  404: "Check the URL of the channel.",
  407: "The proxy wants to know who asks: HTTP_PROXY and HTTPS_PROXY may have a user and a password.",
  410: "The URL of the channel is not in use any more: make another one.",
};

/** The time after which a server wants to be asked again, ms. */
function retryAfter(header: string | null): number | undefined {
  if (header === null) return undefined;
  const ms = /^\d+$/.test(header.trim()) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isFinite(ms) && ms > 0 ? Math.min(ms, LONGEST_RETRY_MS) : undefined;
}

/** A proxy may be what cannot be reached. */
function proxyHint({ protocol }: URL): string | undefined {
  const names = protocol === "https:" ? ["HTTPS_PROXY", "https_proxy"] : ["HTTP_PROXY", "http_proxy"];
  const name = names.find((each) => (Bun.env[each] ?? "") !== "");
  return name === undefined
    ? undefined
    : `The principal goes through the proxy of ${name}, unless NO_PROXY names the host.`;
}

/** The beginning of a response: it usually says why. What is secret is masked before it is cut. */
async function excerptOf(response: Response, secrets: readonly string[]): Promise<string> {
  const reader = response.body?.getReader();
  const chunks: Uint8Array[] = [];
  let length = 0;
  try {
    for (
      let next = await reader?.read();
      next?.value !== undefined && length < MOST_BYTES;
      next = await reader?.read()
    ) {
      chunks.push(next.value);
      length += next.value.length;
    }
    await reader?.cancel();
  } catch {
    // What was read counts.
  }
  const plain = plainText(Buffer.concat(chunks).toString("utf8")).replace(/\s+/g, " ").trim();
  const text = masked(plain, secrets);
  if (text.startsWith("<")) return "";
  return (text.length > MOST_TOLD ? `${text.slice(0, MOST_TOLD)}…` : text).replace(/\.$/, "");
}

/** Text of others without what is secret. */
function masked(text: string, secrets: readonly string[]): string {
  return secrets.reduce(
    (shown, secret) => (secret.length < 4 ? shown : shown.replaceAll(secret, "***")),
    text,
  );
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
