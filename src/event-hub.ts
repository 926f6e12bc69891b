/**
 * Tells those who want to know that something happened. `Topics` says what there is to hear of: name → what comes with it. An event
 * is told when it has happened; whoever must take part in it is called by name instead.
 */
export class EventHub<Topics extends object> {
  readonly #handlers: { [Topic in keyof Topics]?: Set<(payload: Topics[Topic]) => void> } = {};

  /** Calls `handler` for each event of the topic, in the order in which the handlers came. Returns what ends that. */
  on<Topic extends keyof Topics>(topic: Topic, handler: (payload: Topics[Topic]) => void): () => void {
    const handlers = this.#handlers[topic] ?? new Set();
    this.#handlers[topic] = handlers;
    handlers.add(handler);
    return () => handlers.delete(handler);
  }

  /** Tells everybody, before it returns. */
  emit<Topic extends keyof Topics>(
    topic: Topic,
    ...[payload]: Topics[Topic] extends undefined ? [] : [Topics[Topic]]
  ): void {
    for (const handler of this.#handlers[topic] ?? []) handler(payload as Topics[Topic]);
  }

  /** Resolves when `isSo`, which is looked at now and after each event of the topic. */
  async until<Topic extends keyof Topics>(topic: Topic, isSo: () => boolean): Promise<void> {
    while (!isSo()) await this.next(topic);
  }

  /** Resolves with the next event of the topic (for which `isIt`); earlier ones do not count. */
  next<Topic extends keyof Topics>(
    topic: Topic,
    isIt: (payload: Topics[Topic]) => boolean = () => true,
  ): Promise<Topics[Topic]> {
    return new Promise((resolve) => {
      const end = this.on(topic, (payload) => {
        if (!isIt(payload)) return;
        end();
        resolve(payload);
      });
    });
  }
}
