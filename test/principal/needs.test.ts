/** What runs and slices need of an agent, and which agents have it. */
import { describe, expect, test } from "bun:test";
import { LANGUAGE_SINCE, SLICES_SINCE } from "../../src/contract/version.ts";
import { meets, needsOfSlice, needsOfWhole, readNeeds } from "../../src/principal/runs/needs.ts";
import { waitReasons } from "../../src/principal/runs/wait-reasons.ts";
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
