/** Memory that a publisher's table of subscriptions takes is some fifty times the text of the topics. */
const SUBSCRIBED = 1;
const UNSUBSCRIBED = 0;

/** What watchers have subscribed to. */
export class Topics {
  readonly #topics = new Set<string>();
  #characters = 0;

  /** Length of all different topics together, bytes. */
  get length(): number {
    return this.#characters;
  }

  /** Takes what an XPUB received: a topic that is new to it, one that nobody has any more, or anything else that a peer sent. */
  take(frame: Buffer): void {
    if (frame[0] !== SUBSCRIBED && frame[0] !== UNSUBSCRIBED) return;
    const topic = frame.toString("latin1", 1);
    const { size } = this.#topics;
    if (frame[0] === SUBSCRIBED) this.#topics.add(topic);
    else this.#topics.delete(topic);
    this.#characters += (this.#topics.size - size) * topic.length;
  }
}
