import { z } from "zod";
import {
  Block,
  expression,
  Field,
  list,
  type NameCheck,
  named,
  oneOf,
  scalar,
  templated,
  templates,
  type ValueOf,
} from "../field.ts";
import { duration, filled, flag, text } from "../scalars.ts";
import { Kind } from "./kind.ts";

/** The methods of requests. */
const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"] as const;

/** Those whose requests have no body. */
const WITHOUT_BODY: ReadonlySet<string> = new Set(["GET", "HEAD"]);

/** What a header's name is made of (RFC 9110). */
export const HEADER_NAME = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}$/;
/** Headers that the request itself decides on. */
const OWN_HEADERS = new Set([
  "host",
  "content-length",
  "transfer-encoding",
  "connection",
  "upgrade",
  "te",
  "trailer",
]);

export const url = () =>
  scalar(
    z.string(),
    { type: "string", minLength: 1 },
    (value, refuse) => {
      if (!/^https?:\/\//i.test(value))
        return refuse(
          "E014",
          'must start with "http://" or "https://"',
          /^[\w.-]+\.\w+/.test(value) ? `write https://${value}` : undefined,
        );
      return URL.canParse(value) && !/[\s\x00-\x1f]/.test(value)
        ? value
        : refuse(
            "E014",
            "is not a valid URL",
            "write blanks and other special characters as %20 and the like",
          );
    },
    { noun: "a URL", help: "such as https://api.example.com/orders" },
  );

export const headerText = () =>
  scalar(
    z.string(),
    { type: ["string", "number", "boolean"] },
    (value, refuse) => {
      if (/[\r\n]/.test(value))
        return refuse("E014", "must not contain a line break, which would begin another header");
      return /^[\t\x20-\x7e]*$/.test(value)
        ? value
        : refuse("E014", "must contain ASCII characters only", "encode others, in base64 or as in URLs");
    },
    { noun: "a text, or {secret: NAME}" },
  );

export const headerNames = (): NameCheck => {
  const known = new Set<string>();
  return (name) => {
    const problem = (message: string, help?: string) => ({ code: "E014" as const, message, help });
    if (!HEADER_NAME.test(name)) return problem(`${JSON.stringify(name)} is not a name of a header`);
    const lower = name.toLowerCase();
    if (OWN_HEADERS.has(lower)) return problem(`the header ${name} is set by cdktr itself`, "remove it");
    if (known.has(lower))
      return problem(`the header ${name} is given twice`, "names of headers have no case");
    known.add(lower);
    return null;
  };
};

/** A header whose value is a secret. */
const SecretHeader = new Block({
  secret: filled().describe("Name of a secret of the workflow"),
  prefix: headerText().sparse().describe('What stands before it, such as "Bearer "'),
});
type SecretHeader = ValueOf<typeof SecretHeader>;

const plainHeader = templated(headerText(), "string");
const Header = new Field<string | SecretHeader>(
  z.union([plainHeader.file, SecretHeader.file]) as z.ZodType<string | SecretHeader>,
  z.union([z.string(), SecretHeader.stored]),
  { ...plainHeader.traits, keys: SecretHeader.traits.keys ?? {} },
);

/** The first and the last status of a range. */
export type StatusRange = readonly [from: number, to: number];

const statusRange = (): Field<StatusRange> =>
  scalar(
    z.tuple([z.number().int(), z.number().int()]).readonly(),
    {
      anyOf: [
        { type: "integer", minimum: 100, maximum: 599 },
        { type: "string", pattern: "^([1-5]\\d\\d( *- *[1-5]\\d\\d)?|[1-5]xx)$" },
      ],
    },
    (value, refuse) => {
      const [, hundreds] = /^([1-5])xx$/i.exec(value.trim()) ?? [];
      if (hundreds !== undefined) return [Number(hundreds) * 100, Number(hundreds) * 100 + 99] as const;
      const [, first, last = first] = /^([1-5]\d\d)(?: *- *([1-5]\d\d))?$/.exec(value.trim()) ?? [];
      if (first === undefined)
        return refuse(
          "E014",
          `"${value}" is not a status or a range`,
          "write numbers such as 200, ranges such as 200-299, or 2xx",
        );
      const [from, to] = [Number(first), Number(last)];
      return from <= to
        ? ([from, to] as const)
        : refuse("E014", `"${value}" ends before it begins`, `write ${to}-${from}`);
    },
    { noun: "a status or a range of them", write: (range) => textOf(range as StatusRange) },
  );

const Expect = new Block({
  json: expression("bool", "response")
    .sparse()
    .describe("An expression over json, status and headers of the response that must be true"),
  status: list(statusRange(), { min: 1 })
    .default([[200, 299]])
    .describe("Statuses of the response with which the task completes: numbers, ranges such as 200-299, 2xx"),
});

/** Sends an HTTP request. */
export const Http = new Kind(
  "Http",
  "sends an HTTP request",
  {
    url: templated(url(), "string").describe("Where to; https:// or http://"),
    method: templated(oneOf(...METHODS), "string")
      .sparse()
      .describe("GET by default, POST with a body"),
    headers: named(HEADER_NAME, headerNames, Header)
      .sparse()
      .describe(
        "Headers of the request: texts, or {secret: NAME, prefix: TEXT} for one that is a secret of the workflow",
      ),
    body: templated(text(), "string").sparse().describe("What is sent"),
    expect: Expect.orElse({ status: [[200, 299]] }).describe("What the response must be like"),
    timeout: templated(duration(1), "duration")
      .default(30_000)
      .as("timeout_ms")
      .describe("How long the request may take, with its redirects and the response"),
    follow_redirects: templated(flag(), "bool").default(false).describe("Follows up to 10 redirects"),
    ca_file: templated(filled(), "string")
      .sparse()
      .describe(
        "PEM file on the agent's host with the certificates to trust, instead of the usual authorities",
      ),
    templates: templates(),
  },
  {
    command: (config) => [methodOf(config), config.url],
    // It has no process.
    ignores: [
      "working_directory",
      "env",
      "env_file",
      "stdin",
      "background",
      "grace",
      "limits",
      "user",
      "secrets",
    ],
    noEffect: ({ method, body }) =>
      body !== undefined && method !== undefined && WITHOUT_BODY.has(method)
        ? {
            key: "body",
            where: `in a ${method} request`,
            help: "remove it, or choose another method, such as POST",
          }
        : null,
  },
);
export type HttpConfig = ValueOf<typeof Http>;

/** The method of a request. */
export function methodOf({
  method,
  body,
}: {
  readonly method?: string | undefined;
  readonly body?: string | undefined;
}): string {
  return method ?? (body === undefined ? "GET" : "POST");
}

/** Whether a request can have a body. */
export function mayHaveBody(method: string): boolean {
  return !WITHOUT_BODY.has(method);
}

/** The ranges as they are written: `200-299, 404`. */
export function formatStatuses(ranges: readonly StatusRange[]): string {
  return ranges.map(textOf).join(", ");
}

function textOf([from, to]: StatusRange): string {
  return from === to ? String(from) : `${from}-${to}`;
}
