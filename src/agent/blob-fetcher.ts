/** What travels with runs, on an agent: fetched from the principal, kept for other runs. */
import { BlobCache } from "../blobs/blob-cache.ts";
import type { AttemptName, Blob } from "../contract/messages.ts";
import { errorMessage } from "../errors.ts";
import { log } from "../log.ts";
import { type PrincipalClient, RequestRefusedError } from "../protocol/client.ts";
import { BackOff, pause } from "../timer.ts";
import { CannotStartError } from "./executors/index.ts";
import type { PrincipalLink } from "./principal-link.ts";

/** Pauses between tries while the principal is there and cannot give a file, ms. */
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;

/** What {@link BlobFetcher} needs. */
interface BlobFetcherOptions {
  /** The agent's own, for what is kept. */
  readonly directory: string;
  /** How much is kept there, bytes. */
  readonly limitBytes: number;
  readonly client: PrincipalClient;
  readonly link: PrincipalLink;
  readonly agentId: string;
}

export class BlobFetcher {
  readonly #o: BlobFetcherOptions;
  /** Made when it is first needed: most agents never need it. */
  #cache: BlobCache | undefined;

  constructor(options: BlobFetcherOptions) {
    this.#o = options;
  }

  /**
   * Fetches a blob of a run, unless it is here, and does something with it. While the principal is away, this waits.
   * @param attempt for which it is needed
   * @param work gets the path
   * @throws CannotStartError when the principal does not have it; the reason of the signal
   */
  use<T>(
    attempt: AttemptName,
    { hash, bytes }: Blob,
    signal: AbortSignal,
    work: (path: string) => Promise<T>,
  ): Promise<T> {
    const { directory, limitBytes } = this.#o;
    this.#cache ??= new BlobCache(directory, limitBytes);
    return this.#cache.use(hash, bytes, (offset) => this.#piece(attempt, hash, offset, signal), work);
  }

  async #piece(
    { workflow_instance_id, slice, attempt }: AttemptName,
    hash: string,
    offset: number,
    signal: AbortSignal,
  ): Promise<Uint8Array> {
    const { client, link, agentId } = this.#o;
    const pauses = new BackOff(FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
    for (;;) {
      await link.untilUp(signal);
      try {
        const request = { agent_id: agentId, workflow_instance_id, slice, attempt, hash, offset };
        const { data } = await client.call("FETCHBLOB", request, {
          attempts: 1,
          signal: AbortSignal.any([signal, link.whileUp]),
        });
        return Buffer.from(data, "base64");
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof RequestRefusedError)
          throw new CannotStartError(
            `Cannot start: a file that it needs cannot be fetched: ${error.message}`,
            {
              cause: error,
            },
          );
        if (link.whileUp.aborted || !link.isUp || link.mustRegister(error)) continue;
        log.debug(`A file of run ${workflow_instance_id} cannot be fetched now: ${errorMessage(error)}`);
        await pause(pauses.next(), signal);
      }
    }
  }
}
