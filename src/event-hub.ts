/**
 * A typed event hub. `Topics` maps the name of each event to its payload. An event is emitted after it has happened; code that must be
 * part of an operation is called directly instead.
 */
export class EventHub<Topics extends object> {
  readonly #handlers: { [Topic in keyof Topics]?: Set<(payload: Topics[Topic]) => void> } = {};

  /** Calls `handler` for each event of the topic, in the order in which handlers were added. Returns a function that removes it. */
  on<Topic extends keyof Topics>(topic: Topic, handler: (payload: Topics[Topic]) => void): () => void {
    const handlers = this.#handlers[topic] ?? new Set();
    this.#handlers[topic] = handlers;
    handlers.add(handler);
    return () => handlers.delete(handler);
  }

  /** Calls all handlers before it returns. */
  emit<Topic extends keyof Topics>(
    topic: Topic,
    ...[payload]: Topics[Topic] extends undefined ? [] : [Topics[Topic]]
  ): void {
    for (const handler of this.#handlers[topic] ?? []) handler(payload as Topics[Topic]);
  }

  /** Resolves when `isSo` is true, which is checked now and after each event of the topic. */
  async until<Topic extends keyof Topics>(topic: Topic, isSo: () => boolean): Promise<void> {
    while (!isSo()) await this.next(topic);
  }

  /** Resolves with the next event of the topic (that satisfies `isIt`); earlier ones do not count. */
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
