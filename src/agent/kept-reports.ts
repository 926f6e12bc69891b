import type { AgentReport } from "../contract/messages.ts";

/** Reports that are on disk are kept in memory too up to this size, bytes, which saves reading them. */
const REPORTS_IN_MEMORY_BYTES = 4 * 1024 * 1024;

/** A report that the principal does not have, without its content when that is only on disk. */
interface KeptReport {
  readonly seq: number;
  readonly bytes: number;
  /** Whether it is about a slice of a run. One of an older agent does not say. */
  readonly isOfSlice: boolean;
  /** Whether it tells of a run that the agent has begun by itself. */
  readonly isBegun: boolean;
  /** Its JSON until it is on disk. */
  text: string | undefined;
  report: AgentReport | undefined;
}

/** The reports of an outbox that the principal does not have, oldest first: all on disk but for the last ones. */
export class KeptReports {
  readonly #all: KeptReport[] = [];
  #bytes = 0;
  /** Size of those that are on disk and in memory, bytes. */
  #cachedBytes = 0;
  /** Number and size of those that are not on disk. */
  #unsavedCount = 0;
  #unsavedBytes = 0;
  #ofSlices = 0;
  #begun = 0;

  get count(): number {
    return this.#all.length;
  }

  /** The size of all, bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  get unsavedCount(): number {
    return this.#unsavedCount;
  }

  get unsavedBytes(): number {
    return this.#unsavedBytes;
  }

  /** Whether any is about a slice of a run. */
  get hasSlices(): boolean {
    return this.#ofSlices > 0;
  }

  /** Whether any tells of a run that the agent has begun by itself. */
  get hasBegun(): boolean {
    return this.#begun > 0;
  }

  /** Adds a new one, which is not on disk. */
  add(report: AgentReport, text: string): void {
    const kept = this.#add(report, text);
    this.#unsavedCount++;
    this.#unsavedBytes += kept.bytes;
  }

  /** Adds one that was read from the disk. */
  addSaved(report: AgentReport, text: string): void {
    this.#isSaved(this.#add(report, text));
  }

  #add(report: AgentReport, text: string): KeptReport {
    const { seq, slice = 0 } = report;
    const isBegun = report.kind === "run" && report.begun !== undefined;
    const bytes = Buffer.byteLength(text);
    const kept: KeptReport = { seq, bytes, isOfSlice: slice > 0, isBegun, text, report };
    this.#all.push(kept);
    this.#bytes += kept.bytes;
    if (kept.isOfSlice) this.#ofSlices++;
    if (isBegun) this.#begun++;
    return kept;
  }

  /** Those that are not on disk. */
  unsaved(): readonly Pick<KeptReport, "seq" | "text">[] {
    return this.#all.slice(this.#all.length - this.#unsavedCount);
  }

  /** All are on disk. */
  saved(): void {
    for (let index = this.#all.length - this.#unsavedCount; index < this.#all.length; index++) {
      const kept = this.#all[index];
      if (kept !== undefined) this.#isSaved(kept);
    }
    this.#unsavedCount = 0;
    this.#unsavedBytes = 0;
  }

  /** One is on disk: it stays in memory as well if there is room. */
  #isSaved(kept: KeptReport): void {
    kept.text = undefined;
    if (this.#cachedBytes + kept.bytes > REPORTS_IN_MEMORY_BYTES) kept.report = undefined;
    else this.#cachedBytes += kept.bytes;
  }

  /** The oldest with a number above `after`, at most `limit`. One without content is only on disk. */
  after(after: number, limit: number): readonly Pick<KeptReport, "seq" | "bytes" | "report">[] {
    const start = this.#all.findIndex(({ seq }) => seq > after);
    return start === -1 ? [] : this.#all.slice(start, start + limit);
  }

  /** Removes those up to `seq`. Returns whether there were any. */
  forget(seq: number): boolean {
    let count = 0;
    for (const kept of this.#all) {
      if (kept.seq > seq) break;
      this.#uncount(kept);
      count++;
    }
    this.#all.splice(0, count);
    return count > 0;
  }

  /** Removes one. */
  remove(seq: number): void {
    const index = this.#all.findIndex((kept) => kept.seq === seq);
    const [kept] = index === -1 ? [] : this.#all.splice(index, 1);
    if (kept !== undefined) this.#uncount(kept);
  }

  clear(): void {
    this.forget(Number.POSITIVE_INFINITY);
  }

  #uncount(kept: KeptReport): void {
    this.#bytes -= kept.bytes;
    if (kept.isOfSlice) this.#ofSlices--;
    if (kept.isBegun) this.#begun--;
    if (kept.text !== undefined) {
      this.#unsavedCount--;
      this.#unsavedBytes -= kept.bytes;
    } else if (kept.report !== undefined) this.#cachedBytes -= kept.bytes;
  }
}
