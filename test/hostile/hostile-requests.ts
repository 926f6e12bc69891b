/** Malicious requests and log frames. */
import { encodeLogBatch } from "../../src/contract/log-line.ts";
import { VERB_NAMES, type Verb } from "../../src/contract/verbs.ts";
import type { Random } from "../chaos/random.ts";
import { malformedRequests } from "./malformed.ts";

/** Verbs that make the principal write files for any well-formed argument. */
const WRITERS: ReadonlySet<string> = new Set(["EXPORTDB", "BACKUPDB"]);
const FUZZED = VERB_NAMES.filter((verb) => !WRITERS.has(verb));

/** Makers of one field each. */
const FIELDS: readonly ((random: Random) => string)[] = [
  () => "",
  () => "{}",
  () => "null",
  () => "\u0000",
  () => "../../etc/passwd",
  () => "\ud800",
  () => "é".repeat(5000),
  () => "x".repeat(300_000),
  () => "-9223372036854775808",
  () => "1e999",
  () => "NaN",
  () => '{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}',
  () => `${"[".repeat(100_000)}${"]".repeat(100_000)}`,
  () => `${'{"a":'.repeat(20_000)}1${"}".repeat(20_000)}`,
  () => `{"wait_ms":1e308,"limit":-1,"max_rows":99999999999999999999,"after":{"x":[]}}`,
  () => `{"workflow_instance_id":"${"0".repeat(64)}","wait_ms":0}`,
  () => `{"sql":"select ${"(".repeat(5000)}1${")".repeat(5000)}","max_rows":10}`,
  () => `{"sql":"copy (select 1) to '/tmp/x'","max_rows":10}`,
  () => `{"grep":"(a+)+$","limit":10}`,
  () => `{"grep":"[","limit":10}`,
  (random) => `"${"\\u0000".repeat(Math.floor(random.between(0, 2000)))}"`,
  (random) => String.fromCharCode(...Array.from({ length: 40 }, () => Math.floor(random.between(2, 0xd7ff)))),
];

/** Malformed requests that are still to come, of each verb. */
const coming = new Map<Verb, Generator<string[], undefined>>();

/** The next malformed request of some verb. */
function malformedRequest(random: Random): string {
  const verb = random.pick(VERB_NAMES);
  let next = coming.get(verb)?.next();
  if (next === undefined || next.done) {
    const again = malformedRequests(verb);
    coming.set(verb, again);
    next = again.next();
  }
  return [verb, ...(next.value ?? [])].join("\x01");
}

/** Noise, a malformed request, or a known verb with fields that are not what it wants. */
export function hostileRequest(random: Random): Uint8Array {
  const kind = random.next();
  if (kind < 0.1) return bytes(random, Math.floor(random.between(0, 2000)));
  const request = Buffer.from(kind < 0.5 ? malformedRequest(random) : strangeFields(random));
  // Sometimes a byte of it is another one: no UTF-8 then, or no JSON.
  if (random.next() < 0.2) request[Math.floor(random.next() * request.length)] = 0xff;
  return request;
}

function strangeFields(random: Random): string {
  const verb = random.next() < 0.05 ? "SHUTDOWN" : random.pick(FUZZED);
  const fields = Array.from({ length: Math.floor(random.between(0, 7)) }, () => random.pick(FIELDS)(random));
  return [verb, ...fields].join("\x01");
}

/** What goes to the port for logs: noise, forged batches, lines that are none, far too many, far too long. */
export function hostileLogs(random: Random): Uint8Array {
  const line = (payload: string) =>
    `wf\x01Wf\x01run\x01task\x01t-${random.next()}\x011700000000000\x01INFO\x01${payload}`;
  const batch = (first_seq: number, lines: string[]) =>
    Buffer.from(
      encodeLogBatch({ agent_id: "mallory", stream_id: `forged-${random.next()}`, first_seq, lines }),
    );
  return random.pick<() => Uint8Array>([
    () => bytes(random, Math.floor(random.between(0, 3000))),
    () => batch(1, [line("forged")]),
    () => batch(Number.MAX_SAFE_INTEGER, [line("the last one")]),
    () => batch(1, ["", "\x01", "\x01".repeat(8), line("x").replace("INFO", "LOUD")]),
    () => Buffer.from(`LOGS\x01a\x01b\x01${random.next()}`),
    () => Buffer.from(`LOGS\x01${"\x01".repeat(10_000)}`),
    () => Buffer.from(line("of an agent that numbers nothing")),
    () => Buffer.from("\x01".repeat(7)),
  ])();
}

/** The same, and large: each of these is a good part of a MiB, or several. */
export function largeHostileLogs(random: Random): Uint8Array {
  return random.pick<() => Uint8Array>([
    () => Buffer.from(`LOGS\x01a\x01wide-${random.next()}\x011\n${"\n".repeat(4 * 1024 * 1024)}`),
    () =>
      Buffer.from(
        `LOGS\x01a\x01long-${random.next()}\x011\nw\x01W\x01r\x01t\x01i\x011700000000000\x01INFO\x01${"y".repeat(1024 * 1024)}`,
      ),
    () => Buffer.from("\x01".repeat(2 * 1024 * 1024)),
  ])();
}

/** Random bytes. */
export function bytes(random: Random, length: number): Buffer {
  const made = Buffer.alloc(length);
  for (let at = 0; at < length; at++) made[at] = Math.floor(random.next() * 256);
  return made;
}
