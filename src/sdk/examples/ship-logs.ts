/**
 * Ships every log line somewhere else as it is printed: here as JSON to a URL, in batches. It triggers nothing.
 *
 *     SHIP_TO=http://127.0.0.1:9000/lines cdktr listen ship-logs.ts
 */
import { EventListener, type LogLine, Principal } from "cdktr";

const URL = process.env.SHIP_TO ?? "http://127.0.0.1:9000/lines";
const LONGEST_BATCH = 500;
const RETRY_MS = 500;

export default class ShipLogs extends EventListener {
  #waiting: LogLine[] = [];
  #wake: () => void = () => {};

  async startListening(): Promise<void> {
    const principal = new Principal();
    const tail = await principal.tailLogs(undefined, { signal: this.signal });
    console.log("shipping");
    const sending = this.#send();
    for await (const line of tail) {
      this.#waiting.push(line);
      this.#wake();
    }
    this.#wake();
    await sending;
    await principal.close();
  }

  async #send(): Promise<void> {
    while (!this.signal.aborted || this.#waiting.length > 0) {
      const batch = this.#waiting.slice(0, LONGEST_BATCH);
      if (batch.length === 0) {
        await new Promise<void>((wake) => {
          this.#wake = wake;
        });
        continue;
      }
      try {
        const response = await fetch(URL, { method: "POST", body: JSON.stringify(batch) });
        if (!response.ok) throw new Error(`status ${response.status}`);
        this.#waiting.splice(0, batch.length);
      } catch (error) {
        if (this.signal.aborted) return;
        console.error(`${URL}: ${error instanceof Error ? error.message : error}`);
        await new Promise((done) => setTimeout(done, RETRY_MS));
      }
    }
  }
}
