/**
 * Where pages of lines ended: the next page goes on from that line. Positions are row ids, which change when lines move into the archive or
 * are deleted; a line is then found by its number in the stream of its agent.
 */
import { dropOldest } from "../../recent.ts";

/** Number of pages whose ends are known. */
const KEPT = 10_000;

/** A line. */
export interface LineMark {
  /** The time by which it is ordered, ms. */
  readonly timeMs: number;
  /** The stream and the number that its agent gave it; null for a line of an old agent, which has neither. */
  readonly stream: string | null;
  readonly seq: number;
}

export class LineMarks {
  readonly #marks = new Map<number, LineMark & { readonly moves: number }>();
  /** How often positions may have changed. */
  readonly #moves: () => number;

  constructor(moves: () => number) {
    this.#moves = moves;
  }

  /** A page ended with the line at this position. */
  note(position: number, mark: LineMark): void {
    this.#marks.delete(position);
    this.#marks.set(position, { ...mark, moves: this.#moves() });
    dropOldest(this.#marks, KEPT);
  }

  /** The line that had this position; undefined if it still has it, "lost" if that is not known. */
  at(position: number): LineMark | "lost" | undefined {
    const moves = this.#moves();
    if (moves === 0) return undefined;
    const mark = this.#marks.get(position);
    if (mark === undefined) return position < 0 ? undefined : "lost";
    return mark.moves === moves ? undefined : mark;
  }
}
