/** What carries a message that is written, to one kind of channel. */
import type { ComposedMessage } from "../message.ts";
import type { OutgoingMessage } from "./sender.ts";

/** Carries messages to one channel. */
export interface Transport {
  /**
   * Sends a message; it has arrived when the promise resolves.
   * @throws SendError
   */
  send(composed: ComposedMessage, message: OutgoingMessage, signal: AbortSignal): Promise<void>;
}
