/** The live log: lines as the principal publishes them. */
import type { LogLine } from "../../contract/log-line.ts";
import type { PrincipalClient } from "../../protocol/client.ts";
import { LogFollower } from "../../protocol/log-follower.ts";
import type { LogSubscription } from "../../protocol/log-subscription.ts";

/**
 * An async iterable over the live log. It reconnects by itself and reads the lines published in between from the history. If the
 * history is not available, live lines continue, and the reading is retried.
 */
export class LogTail implements AsyncIterable<LogLine> {
  readonly #live: LogSubscription;
  readonly #follower: LogFollower;

  /** @param live the subscription, connected */
  constructor(client: PrincipalClient, live: LogSubscription, workflowId: string | undefined) {
    this.#live = live;
    this.#follower = new LogFollower({
      live,
      ask: (search) => client.searchLogs(search),
      search: workflowId === undefined ? {} : { workflow_id: workflowId },
      limit: 0,
      failed: () => {},
    });
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<LogLine> {
    try {
      for await (const lines of this.#follower.lines()) yield* lines;
    } finally {
      this.close();
    }
  }

  /** Ends the iteration. */
  close(): void {
    this.#live.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
