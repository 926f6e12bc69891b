import type { RunAssignment } from "../../contract/messages.ts";
import type { Outputs } from "../../contract/outputs.ts";
import { makeUndumpable } from "../../host/undumpable.ts";
import { CannotStartError } from "../executors/executor.ts";
import { OutputsError } from "../parse-outputs.ts";
import { Masker, Sought } from "./masker.ts";
import { type SecretPlaces, SecretSources } from "./sources.ts";
import { type Spellings, spellingsOf } from "./spellings.ts";

/** The most that the secrets of a run may have together, bytes: all their spellings are kept in memory. */
const MAX_TOGETHER_BYTES = 256 * 1024;

/**
 * The secrets of a run on this agent: read anew for each try of a task that uses them, and masked in everything that any task of the run says
 * from then on. They are in memory only, and for as long as the run.
 */
export class RunSecrets {
  readonly #declared: NonNullable<RunAssignment["workflow"]["secrets"]>;
  readonly #sources: SecretSources;
  /** Every value that was read, with its spellings. */
  readonly #known = new Map<string, Spellings>();
  #bytes = 0;
  #sought: Sought | undefined;

  constructor({ workflow, stored_secrets = {} }: RunAssignment, places: SecretPlaces) {
    this.#declared = workflow.secrets ?? {};
    this.#sources = new SecretSources(places, stored_secrets);
  }

  /**
   * Reads secrets for a try.
   * @param wanted their names in the workflow, by what they are for, such as variables; the values are by the same
   * @param signal ends what is under way
   * @throws CannotStartError when one of them cannot be read
   */
  async read(wanted: Readonly<Record<string, string>>, signal: AbortSignal): Promise<Record<string, string>> {
    makeUndumpable();
    const values: Record<string, string> = {};
    // One after the other: commands may ask for the same key of a person, or be refused when they come at once.
    for (const [variable, name] of Object.entries(wanted)) {
      const source = Object.hasOwn(this.#declared, name) ? this.#declared[name] : undefined;
      if (source === undefined)
        throw new CannotStartError(`Cannot start: its workflow declares no secret ${name}.`);
      values[variable] = await this.#sources.read(name, source, signal);
      signal.throwIfAborted();
    }
    this.#remember(Object.values(values));
    return values;
  }

  /** A text with `***` in the place of each secret. */
  mask(text: string): string {
    return this.#sought?.mask(text) ?? text;
  }

  /** Masks a stream of output. */
  masker(): Masker {
    return new Masker(() => this.#sought);
  }

  /**
   * What a task publishes, with `***` in the place of each secret.
   * @throws OutputsError when a name has a secret in it
   */
  maskOutputs(outputs: Outputs): Outputs {
    const masked = this.#maskValue(outputs);
    return masked as Outputs;
  }

  #maskValue(value: unknown): unknown {
    if (typeof value === "string") return this.mask(value);
    if (typeof value === "number") {
      const text = String(value);
      const masked = this.mask(text);
      return masked === text ? value : masked;
    }
    if (Array.isArray(value)) return value.map((entry) => this.#maskValue(entry));
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map(([name, entry]) => {
        if (this.mask(name) !== name) throw new OutputsError("a secret is part of a name");
        return [name, this.#maskValue(entry)];
      }),
    );
  }

  #remember(values: readonly string[]): void {
    const news = new Set(values.filter((value) => !this.#known.has(value)));
    if (news.size === 0) return;
    for (const value of news) this.#bytes += Buffer.byteLength(value);
    if (this.#bytes > MAX_TOGETHER_BYTES)
      throw new CannotStartError(
        `Cannot start: the secrets of this run have more than ${MAX_TOGETHER_BYTES / 1024} KiB together.`,
        { hint: "Secrets are for passwords and keys; let the task read large files itself." },
      );
    for (const value of news) this.#known.set(value, spellingsOf(value));
    this.#sought = new Sought([...this.#known.values()]);
  }
}
