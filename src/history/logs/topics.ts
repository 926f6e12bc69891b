/** A publisher's table of subscriptions takes about fifty times the size of the topics. */
const SUBSCRIBED = 1;
const UNSUBSCRIBED = 0;

/** The topics to which clients have subscribed. */
export class Topics {
  readonly #topics = new Set<string>();
  #characters = 0;

  /** Total length of all different topics, bytes. */
  get length(): number {
    return this.#characters;
  }

  /** Processes a message from an XPUB: a new topic, one without subscribers, or anything else that a peer sent. */
  take(frame: Buffer): void {
    if (frame[0] !== SUBSCRIBED && frame[0] !== UNSUBSCRIBED) return;
    const topic = frame.toString("latin1", 1);
    const { size } = this.#topics;
    if (frame[0] === SUBSCRIBED) this.#topics.add(topic);
    else this.#topics.delete(topic);
    this.#characters += (this.#topics.size - size) * topic.length;
  }
}
