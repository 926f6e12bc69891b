import { describe, expect, test } from "bun:test";
import { AGENT_PHASES, AgentLife, type AgentPhase } from "../../src/agent/agent-phase.ts";
import { canTransition, isTerminal } from "../../src/workflow/status.ts";

const PHASES = Object.keys(AGENT_PHASES) as AgentPhase[];

/** A sequence of phases from STARTING to each phase. */
const WAYS: Record<AgentPhase, AgentPhase[]> = {
  STARTING: [],
  REGISTERING: ["REGISTERING"],
  UP: ["REGISTERING", "UP"],
  ALONE: ["REGISTERING", "ALONE"],
  DRAINING: ["DRAINING"],
  CANCELLING: ["CANCELLING"],
  HANDING_OVER: ["HANDING_OVER"],
  REFUSED: ["REGISTERING", "REFUSED"],
  ENDING: ["DRAINING", "ENDING"],
  ENDED: ["DRAINING", "ENDING", "ENDED"],
};

function lifeIn(phase: AgentPhase): AgentLife {
  const life = new AgentLife();
  for (const step of WAYS[phase]) expect(life.enter(step)).toBe(true);
  expect(life.phase).toBe(phase);
  return life;
}

describe("the phases of an agent", () => {
  for (const from of PHASES) {
    for (const to of PHASES) {
      const legal = canTransition(AGENT_PHASES, from, to);
      test(`${from} → ${to} is ${legal ? "taken" : "refused, and nothing changes"}`, () => {
        const life = lifeIn(from);
        expect(life.enter(to)).toBe(legal);
        expect(life.phase).toBe(legal ? to : from);
      });
    }
  }

  test("ENDED is the only end, and can be reached from every phase", () => {
    expect(PHASES.filter((phase) => isTerminal(AGENT_PHASES, phase))).toEqual(["ENDED"]);
    for (const phase of PHASES) {
      const reached = new Set([phase]);
      for (const one of reached) for (const next of AGENT_PHASES[one]) reached.add(next);
      expect(reached.has("ENDED")).toBe(true);
    }
  });

  test("an agent that takes nothing new never takes anything again", () => {
    for (const from of PHASES.filter((phase) => !lifeIn(phase).isTaking)) {
      for (const to of AGENT_PHASES[from]) expect([from, to, lifeIn(to).isTaking]).toEqual([from, to, false]);
    }
  });

  test("how the end came says what becomes of the runs", () => {
    expect(PHASES.map((phase) => [phase, lifeIn(phase).stopReason])).toEqual([
      ["STARTING", undefined],
      ["REGISTERING", undefined],
      ["UP", undefined],
      ["ALONE", undefined],
      ["DRAINING", undefined],
      ["CANCELLING", "cancelled"],
      ["HANDING_OVER", "handed over"],
      ["REFUSED", "superseded"],
      ["ENDING", undefined],
      ["ENDED", undefined],
    ]);
  });

  test("the first order to end now counts", () => {
    const life = lifeIn("DRAINING");
    expect(life.enter("HANDING_OVER")).toBe(true);
    expect(life.enter("CANCELLING")).toBe(false);
    expect(life.stopReason).toBe("handed over");
  });

  test("an idle agent ends when it is told to, or when the principal is gone", () => {
    expect(PHASES.filter((phase) => lifeIn(phase).endsWhenIdle)).toEqual([
      "ALONE",
      "DRAINING",
      "CANCELLING",
      "HANDING_OVER",
      "REFUSED",
    ]);
  });
});
