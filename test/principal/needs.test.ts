/** What runs and slices need of an agent, and which agents have it. */
import { describe, expect, test } from "bun:test";
import { LANGUAGE_SINCE, SLICES_SINCE } from "../../src/contract/version.ts";
import {
  meets,
  needsOfSlice,
  needsOfWhole,
  readNeeds,
  withPriority,
} from "../../src/principal/limits/needs.ts";
import { waitReasons } from "../../src/principal/runs/wait-reasons.ts";
import { PARKED, PARKED_ANY } from "../../src/storage/operational/pauses.ts";
import { placementOf } from "../../src/workflow/placement.ts";
import { planFrom } from "../../src/workflow/plan.ts";

const anywhere = placementOf({ runs_on: undefined, placement: undefined }, { runs_on: undefined });
const inZone = placementOf({ runs_on: { zone: "eu" }, placement: undefined }, { runs_on: undefined });

const planWith = (placement: typeof anywhere, ...protocols: (number | undefined)[]) =>
  planFrom(
    protocols.map((protocol, index) => ({
      id: `t${index}`,
      name: `t${index}`,
      index,
      needs: [],
      placement,
      ...(protocol === undefined ? {} : { protocol }),
    })),
  );

describe("what a whole run needs", () => {
  test("is nothing, if its tasks ask for nothing: then the oldest agent can have it", () => {
    expect(needsOfWhole(planWith(anywhere, undefined, 1))).toBe("");
  });

  test("is what the newest of its tasks needs", () => {
    const needs = needsOfWhole(planWith(anywhere, 1, LANGUAGE_SINCE, 1));
    expect(readNeeds(needs)).toMatchObject({ protocol: LANGUAGE_SINCE, placement: { runs_on: {} } });
    const placed = needsOfWhole(planWith(inZone, 1, LANGUAGE_SINCE));
    expect(readNeeds(placed)).toMatchObject({
      protocol: LANGUAGE_SINCE,
      placement: { runs_on: { zone: "eu" } },
    });
    expect(readNeeds(needsOfWhole(planWith(inZone, 1)))).toMatchObject({ protocol: SLICES_SINCE });
  });
});

test("a slice needs an agent that knows slices, or more", () => {
  expect(readNeeds(needsOfSlice(anywhere, 1)).protocol).toBe(SLICES_SINCE);
  const needs = needsOfSlice(anywhere, LANGUAGE_SINCE);
  const agent = (protocol: number) => ({ protocol, labels: {} });
  expect(meets(agent(LANGUAGE_SINCE - 1), readNeeds(needs))).toBe(false);
  expect(meets(agent(LANGUAGE_SINCE), readNeeds(needs))).toBe(true);

  const older = {
    agent_id: "a",
    status: "UP",
    labels: {},
    version: "0.2.0",
    protocol: 2,
    leases: 0,
    max_leases: 5,
  } as const;
  expect(waitReasons([older])(needs)).toMatchObject({
    kind: "version",
    reason: "every agent that fits is too old: a has cdktr 0.2.0",
  });
});

test("what gets secrets of the principal's store is for no agent of a principal that serves everyone, and of an older one", () => {
  const needs = needsOfSlice(inZone, LANGUAGE_SINCE, true);
  expect(readNeeds(needs)).toMatchObject({
    protocol: LANGUAGE_SINCE,
    usesStore: true,
    placement: { runs_on: { zone: "eu" } },
  });
  const agent = { protocol: LANGUAGE_SINCE, labels: { zone: "eu" } };
  expect(meets(agent, readNeeds(needs), true)).toBe(true);
  expect(meets(agent, readNeeds(needs), false)).toBe(false);
  expect(meets(agent, readNeeds(needsOfSlice(inZone, LANGUAGE_SINCE)), false)).toBe(true);
  // As an older cdktr reads it.
  expect(Number(needs.split(" ")[0])).toBeNaN();
  const up = { agent_id: "a", status: "UP", version: "1", leases: 0, max_leases: 5, ...agent } as const;
  expect(waitReasons([up], true)(needs).kind).toBe("ready");
  expect(waitReasons([up], false)(needs)).toEqual({
    kind: "no agent",
    reason:
      "it needs secrets of the principal's store, and this principal gives them to no agent, because it serves everyone without keys (--insecure)",
    hint: "Set up keys: cdktr docs security",
  });
});

describe("priorities, pools and pauses", () => {
  const inPool = placementOf({}, { pool: { warehouse: 2, "api.eu": 1 }, runs_on: { zone: "a b" } });

  test.each([
    ["", needsOfWhole(planWith(anywhere, 1))],
    ["p8:1 {}", needsOfWhole(planWith(anywhere, 1), 8)],
    ["2 {}", needsOfSlice(anywhere, 1)],
    ["p0:3+secrets {}", needsOfSlice(anywhere, 3, true, 0)],
    [
      'p9:2+pool {"runs_on":{"zone":"a b"},"pool":{"api.eu":1,"warehouse":2}}',
      needsOfSlice(inPool, 1, false, 9),
    ],
    ["2+pool", needsOfSlice(inPool, 1).split(" ")[0] ?? ""],
  ])("are written as %p", (text, needs) => {
    expect(needs).toBe(text);
  });

  test("an older cdktr gives none of them to anybody", () => {
    const texts = [needsOfWhole(planWith(anywhere, 1), 8), needsOfSlice(inPool, 1), `${PARKED}2 {}`];
    // As it reads them: it must not fail, because it would then assign nothing at all.
    for (const text of texts) {
      const [start = "", ...key] = text.split(" ");
      expect(Number(start.replace(/\+secrets$/, ""))).toBeNaN();
      expect(JSON.parse(key.join(" "))).toBeObject();
    }
  });

  test("what a newer cdktr writes is for no agent of this one, and stays as it is", () => {
    const text = "z1 7+more {}";
    expect(meets({ protocol: 99, labels: {} }, readNeeds(text))).toBe(false);
    expect(withPriority(text, 3)).toBe(text);
  });

  test("another priority changes nothing else, and the default one leaves no trace", () => {
    expect(withPriority("", 5)).toBe("");
    expect(withPriority("", 7)).toBe("p7:1 {}");
    expect(withPriority("p7:1 {}", 5)).toBe("");
    expect(withPriority("paused:1 {}", 0)).toBe("paused:p0:1 {}");
    expect(withPriority("paused:p0:1 {}", 5)).toBe("paused:1 {}");
    expect(withPriority('2+pool {"pool":{"a":1}}', 1)).toBe('p1:2+pool {"pool":{"a":1}}');
  });

  test("what waits for its workflow to be resumed is for no agent, and keeps its place", () => {
    const agent = { protocol: 99, labels: { zone: "a b" } };
    const needs = needsOfSlice(inPool, 1, false, 2);
    expect(meets(agent, readNeeds(needs))).toBe(true);
    expect(meets(agent, readNeeds(`${PARKED}${needs}`))).toBe(false);
    expect(readNeeds(`${PARKED}${needs}`)).toEqual({ ...readNeeds(needs), isPaused: true });
    expect(readNeeds(`${PARKED}${PARKED_ANY}`)).toEqual({ ...readNeeds(""), isPaused: true });
  });

  test("are read as they were written", () => {
    for (let n = 0; n < 1000; n++) {
      const some = <T>(values: readonly T[]): T | undefined =>
        values[(n * 7919 + values.length * n) % values.length];
      const placement = placementOf(
        { placement: some([undefined, "spread", "together"] as const) },
        {
          runs_on: some<Record<string, string> | undefined>([
            undefined,
            { zone: "eu" },
            { "a=b c": 'x "y" }', z: "{}" },
          ]),
          pool: some<Record<string, number> | undefined>([undefined, { a: 1 }, { b: 100_000, a: 3 }, {}]),
        },
      );
      const of = { protocol: 2 + (n % 5), usesStore: n % 3 === 0, priority: (n >> 2) % 10 };
      const text = needsOfSlice(placement, of.protocol, of.usesStore, of.priority);
      expect(readNeeds(text)).toEqual({ ...of, placement, isPaused: false });
    }
  });
});
