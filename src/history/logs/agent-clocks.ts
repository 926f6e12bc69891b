/** Corrects the times of log lines from agents whose clocks are wrong. */
import { headOf, timeOf, withTime } from "../../contract/log-line.ts";
import { dropOldest } from "../../recent.ts";

/** A clock that is off by less is left alone: differences of this size are not worth a change of the line, ms. */
const TOLERANCE_MS = 3000;
/** Number of agents with wrong clocks to remember. */
const MAX_AGENTS = 10_000;

/** The clocks of agents that are known to be wrong. */
export class AgentClocks {
  /** Agent → what must be added to its times, ms. */
  readonly #offsets = new Map<string, number>();

  /** An agent's clock was compared with the principal's. A small change is ignored, so that lines do not go back in time. */
  compared(agentId: string, offsetMs: number): void {
    const known = this.#offsets.get(agentId) ?? 0;
    if (Math.abs(offsetMs - known) < TOLERANCE_MS) return;
    this.#offsets.delete(agentId);
    if (Math.abs(offsetMs) < TOLERANCE_MS) return;
    this.#offsets.set(agentId, offsetMs);
    dropOldest(this.#offsets, MAX_AGENTS);
  }

  /**
   * What corrects the encoded lines of an agent; undefined when its clock is right as far as is known. Times that are possible only
   * without the correction stay: the clock has been set right since it was compared. Nothing is later than now.
   */
  correction(agentId: string, now: number): ((line: string) => string) | undefined {
    const offset = this.#offsets.get(agentId);
    if (offset === undefined) return undefined;
    const latest = now + TOLERANCE_MS;
    return (line) => {
      const head = headOf(line);
      const time = timeOf(line, head);
      if (offset < 0 && time <= latest) return line;
      const corrected = [time + offset, time].find((at) => at <= latest) ?? now;
      return corrected === time ? line : withTime(line, head, corrected);
    };
  }
}
