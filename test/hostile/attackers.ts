/** The attackers: a separate process, so that it does not distort measurements. */
import { join } from "node:path";
import type { Campaign, Plan } from "./campaign.ts";

/** A mix of everything: a bit more than half of the 10,000 connections and messages. */
export const ROUND: Plan = {
  noise: 400,
  silence: 300,
  halfOpen: 300,
  handshakes: 400,
  curve: 300,
  oldPeers: 200,
  frames: 400,
  churn: 800,
  unknownKeys: 100,
  requests: 1000,
  largeRequests: 6,
  identities: 500,
  longPolls: 1000,
  deafClients: 80,
  deafWatchers: 10,
  subscriptions: 2000,
  logs: 1000,
  largeLogs: 12,
};

/** A campaign that is under way. */
export class Attackers implements AsyncDisposable {
  readonly #child: Bun.Subprocess<"pipe", "pipe", "inherit">;
  #output = "";
  /** How many connections and messages it was. */
  readonly done: Promise<number>;

  constructor(campaign: Campaign) {
    const program = join(import.meta.dir, "campaign.ts");
    this.#child = Bun.spawn([process.execPath, program, JSON.stringify(campaign)], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
    });
    this.done = this.#finish();
  }

  /** What each attack was and how long it took. */
  get account(): string {
    return this.#output;
  }

  async #finish(): Promise<number> {
    const decoder = new TextDecoder();
    for await (const chunk of this.#child.stdout) {
      this.#output += decoder.decode(chunk, { stream: true });
      const total = /"done":true,"count":(\d+)/.exec(this.#output);
      if (total !== null) return Number(total[1]);
    }
    throw new Error(`The attackers gave up:\n${this.#output}`);
  }

  /** Leaves, with everything that it holds open. */
  async leave(): Promise<void> {
    await this.#child.stdin.end();
    await this.#child.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill();
    await this.#child.exited;
  }
}
