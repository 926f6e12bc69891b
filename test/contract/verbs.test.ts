import { describe, expect, test } from "bun:test";
import { z } from "zod";
import { CLIENT_ROLES } from "../../src/contract/roles.ts";
import { fieldsOf, type Speaker, type VerbEntry, verb } from "../../src/contract/verb-entry.ts";
import { type RequestFor, VERB_NAMES, VERBS, type Verb } from "../../src/contract/verbs.ts";
import { Dealer } from "../../src/zmq/index.ts";
import { malformedRequests, sampleRequest } from "../hostile/malformed.ts";
import { refusal, Secured } from "../principal/secured.ts";
import { required, TestPrincipal } from "../principal/support.ts";

const entryOf = (name: Verb): VerbEntry => VERBS[name];

/** Whether a request has a value at a path such as `options.wait_ms`. */
function has(request: object, path: string): boolean {
  return path.split(".").reduce<unknown>((at, key) => Object(at)[key], request) !== undefined;
}

describe.each(VERB_NAMES.map((name) => [name, entryOf(name)] as const))("%s", (name, entry) => {
  const sample = sampleRequest(name);

  test("says what it does, who may use it, and what a repetition does", () => {
    expect(entry.about).toMatch(/^[A-Z].*[^.]$/);
    expect(entry.roles.length).toBeGreaterThan(0);
    for (const role of entry.roles) expect([...CLIENT_ROLES, "join"]).toContain(role);
    if (entry.fields !== undefined) expect(entry.fields.length).toBe(Object.keys(entry.request.shape).length);
    if (typeof entry.changes === "object") expect(has(sample, entry.changes.key)).toBe(true);
    expect(entry.since ?? 1).toBeGreaterThanOrEqual(1);
  });

  test("is a long poll if and only if its request may say how long it waits", () => {
    const waits = ["wait_ms", "options.wait_ms"].find((path) => has(sample, path));
    expect(entry.waits).toBe(waits as VerbEntry["waits"]);
  });

  test("says in whose name it speaks if and only if its request names an agent", () => {
    expect(entry.speaksFor !== undefined).toBe(JSON.stringify(sample).includes('"agent_id"'));
    // Work that agents do for themselves is not for clients.
    if (entry.speaksFor !== undefined && speakersOf(name).some(({ speaker }) => speaker !== "sender"))
      expect(entry.roles).toEqual(VERBS.FETCHWORKFLOW.roles);
  });
});

test("a verb whose request names an agent does not compile without saying in whose name it speaks", () => {
  const base = { about: "", roles: [], reply: z.null(), changes: "nothing" } as const;
  const request = z.object({ agent_id: z.string() });
  // @ts-expect-error speaksFor is missing
  verb({ ...base, request });
  verb({ ...base, request, speaksFor: () => "agent" });
  // @ts-expect-error there is nobody to speak for
  verb({ ...base, request: z.object({}), speaksFor: () => "agent" });
});

test("a request that changes state does not compile without its idempotency key", () => {
  // @ts-expect-error dedupe_key is missing
  const retry: RequestFor<"RETRYRUN"> = { workflow_instance_id: "x" };
  // @ts-expect-error options.dedupe_key is missing
  const task: RequestFor<"RUNTASK"> = { workflow_id: "x", options: {} };
  const keyed: RequestFor<"RUNTASK"> = { workflow_id: "x", options: { dedupe_key: "k" } };
  expect([retry, task, keyed]).toHaveLength(3);
});

/** The requests of a verb for an agent, one for each name it may speak in. */
function speakersOf(name: Verb, agentId = "host"): { fields: string[]; speaker: Speaker }[] {
  const entry = entryOf(name);
  const sample = { ...sampleRequest(name), agent_id: agentId };
  const options = { ...Object(Reflect.get(sample, "options")) };
  delete options.session_id;
  const found = new Map<Speaker, string[]>();
  for (const request of [sample, ...("options" in sample ? [{ ...sample, options }] : [])]) {
    const speaker = entry.speaksFor?.(entry.request.parse(request) as { agent_id: string });
    if (speaker !== undefined) found.set(speaker, fieldsOf(entry, request));
  }
  return [...found].map(([speaker, fields]) => ({ speaker, fields }));
}

describe("a request that speaks for an agent", () => {
  const spoken = VERB_NAMES.flatMap((name) =>
    speakersOf(name)
      .filter(({ speaker }) => speaker !== "sender")
      .map(({ speaker }) => ({ name, speaker })),
  );

  test("is refused, whatever its verb, from a sender to whose key the agent does not belong", async () => {
    expect(spoken.length).toBeGreaterThanOrEqual(7);
    await using secured = await Secured.start();
    await secured.agent(await secured.add("good", "agent"), "host");
    const bad = secured.client(await secured.add("bad", "agent"));
    for (const { name, speaker } of spoken) {
      const { fields } = required(speakersOf(name).find((each) => each.speaker === speaker));
      const text = await refusal(bad.request(name, fields));
      expect(`${name} as ${speaker}: ${text}`).toStartWith(
        `${name} as ${speaker}: The agent id "host" belongs to the key good: the key bad may not act for it.`,
      );
      // An agent that is nobody's has to be registered first.
      if (speaker !== "agent") continue;
      const { fields: unknown } = required(
        speakersOf(name, "unknown").find((each) => each.speaker === speaker),
      );
      expect(`${name}: ${await refusal(bad.request(name, unknown))}`).toMatch(/: register first\.$/);
    }
  });

  test("gets no work for an unowned agent until the sender has registered it", async () => {
    await using secured = await Secured.start();
    const admin = secured.client(secured.keys("admin"));
    const worker = secured.client(await secured.add("worker", "agent"));
    await admin.request("REGISTERAGENT", ["simple"]);
    expect(await refusal(worker.request("FETCHWORKFLOW", ["simple"]))).toMatch(/: register first\.$/);
    await worker.request("REGISTERAGENT", ["simple"]);
    expect((await worker.request("FETCHWORKFLOW", ["simple"])).kind).toBe("OK");
  });
});

test("every malformed request of every verb is answered with CLIENTERROR", async () => {
  await using principal = await new TestPrincipal().start();
  using dealer = new Dealer({ linger: 0, receiveTimeout: 20_000 });
  dealer.connect(`tcp://127.0.0.1:${principal.ports.api}`);
  const wrong: string[] = [];
  for (const name of VERB_NAMES) {
    let count = 0;
    for (const fields of malformedRequests(name)) {
      count++;
      const frame = [name, ...fields].join("\x01");
      await dealer.send(["", frame]);
      const reply = String((await dealer.receive()).at(-1));
      if (!reply.startsWith("CLIENTERROR\x01")) wrong.push(`${frame.slice(0, 300)} → ${reply.slice(0, 100)}`);
    }
    expect(count).toBeGreaterThan(0);
  }
  expect(wrong).toEqual([]);
});
