import { describe, expect, test } from "bun:test";
import { needsOfSlice } from "../../src/principal/limits/needs.ts";
import { type AgentRoom, waitReasons } from "../../src/principal/runs/wait-reasons.ts";
import { placementOf } from "../../src/workflow/placement.ts";

const agent = (agent_id: string, change: Partial<AgentRoom> = {}): AgentRoom => ({
  agent_id,
  status: "UP",
  labels: {},
  version: "0.2.0",
  protocol: 2,
  leases: 0,
  max_leases: 5,
  ...change,
});

/** What a slice with these labels needs. */
const slice = (runs_on: Record<string, string>) =>
  needsOfSlice(placementOf({ runs_on, placement: undefined }, { runs_on: undefined }), 1);

/** A run as a whole. */
const ANYWHERE = "";
const LABELS = { gpu: "true", zone: "eu" };
const GPU = slice(LABELS);

const why = (needs: string, ...agents: AgentRoom[]) => waitReasons(agents)(needs);

describe("why tasks wait for an agent", () => {
  test.each<
    [name: string, needs: string, agents: AgentRoom[], kind: string, reason: string, hint: string | null]
  >([
    ["nobody has registered", ANYWHERE, [], "no agent", "no agent is up", "Start one: cdktr start agent"],
    [
      "all agents are lost",
      GPU,
      [agent("a", { status: "LOST" }), agent("b", { status: "LOST" })],
      "no agent",
      "no agent is up; lost: a, b",
      "Start one: cdktr start agent --label gpu=true --label zone=eu",
    ],
    [
      "all agents are draining",
      ANYWHERE,
      [agent("a", { status: "DRAINING" }), agent("b", { status: "LOST" })],
      "draining",
      "every agent that is up is draining: a",
      "Start one: cdktr start agent",
    ],
    [
      "the agent with the labels is draining",
      GPU,
      [agent("a"), agent("b", { status: "DRAINING", labels: LABELS })],
      "draining",
      "every agent with gpu=true and zone=eu is draining: b",
      "Start one: cdktr start agent --label gpu=true --label zone=eu",
    ],
    [
      "nobody has any of the labels",
      GPU,
      [agent("a", { labels: { os: "linux" } })],
      "labels",
      "no agent that is up has gpu=true and zone=eu",
      "Start one: cdktr start agent --label gpu=true --label zone=eu",
    ],
    [
      "the nearest agent lacks one label",
      GPU,
      [agent("a"), agent("b", { labels: { zone: "eu" } }), agent("c", { labels: { zone: "us" } })],
      "labels",
      "no agent that is up has gpu=true and zone=eu; the nearest is b, which has no label gpu",
      "Start one: cdktr start agent --label gpu=true --label zone=eu",
    ],
    [
      "the nearest agent has other values",
      slice({ ...LABELS, disk: "fast" }),
      [agent("a", { labels: { gpu: "false", zone: "eu" } }), agent("b", { labels: { zone: "eu" } })],
      "labels",
      "no agent that is up has disk=fast, gpu=true and zone=eu; the nearest is a, which has no label disk and has gpu=false",
      "Start one: cdktr start agent --label disk=fast --label gpu=true --label zone=eu",
    ],
    [
      "the agent with the labels is lost",
      GPU,
      [agent("a"), agent("b", { status: "LOST", labels: LABELS })],
      "labels",
      "no agent that is up has gpu=true and zone=eu; lost: b",
      "Start one: cdktr start agent --label gpu=true --label zone=eu",
    ],
    [
      "it must be a certain host",
      slice({ host: "web-3", role: "front end" }),
      [agent("a", { labels: { host: "web-1" } })],
      "labels",
      "no agent that is up has host=web-3 and role=front end; the nearest is a, which has host=web-1 and has no label role",
      "Start one on a host with host=web-3: cdktr start agent --label 'role=front end'",
    ],
    [
      "all that fit are too old",
      slice({}),
      [agent("a", { protocol: 1, version: "0.1.0" })],
      "version",
      "every agent that fits is too old: a has cdktr 0.1.0",
      "Replace the executable of these agents and restart them: cdktr docs operations",
    ],
    [
      "the only agent is full",
      ANYWHERE,
      [agent("a", { leases: 5 }), agent("b", { status: "DRAINING" })],
      "full",
      "the only agent that is up is full: a 5/5",
      "See what they run: cdktr runs list --status running. More agents, or a higher --max-concurrent-workflows, make room.",
    ],
    [
      "many agents are full",
      ANYWHERE,
      ["a", "b", "c", "d", "e", "f", "g"].map((id, i) => agent(id, { leases: i + 1, max_leases: i + 1 })),
      "full",
      "all agents that are up are full: a 1/1, b 2/2, c 3/3, d 4/4, e 5/5 and 2 more",
      "See what they run: cdktr runs list --status running. More agents, or a higher --max-concurrent-workflows, make room.",
    ],
    [
      "the only agent with the labels is full",
      GPU,
      [agent("a"), agent("b", { labels: LABELS, leases: 5 })],
      "full",
      "the only agent that fits is full: b 5/5",
      "See what they run: cdktr runs list --status running. More agents, or a higher --max-concurrent-workflows, make room.",
    ],
    [
      "those that are full are not those that fit",
      GPU,
      [agent("a", { leases: 5 }), agent("b", { labels: LABELS, leases: 4 })],
      "ready",
      "b can take it next: the oldest goes first",
      null,
    ],
  ])("%s", (_, needs, agents, kind, reason, hint) => {
    expect(why(needs, ...agents)).toEqual({ kind: kind as never, reason, hint });
  });

  test("equal needs have one answer", () => {
    const reasonOf = waitReasons([agent("a")]);
    expect(reasonOf(slice({ zone: "eu", gpu: "true" }))).toBe(reasonOf(GPU));
    expect(reasonOf(slice({ zone: "eu" }))).not.toBe(reasonOf(GPU));
  });
});
