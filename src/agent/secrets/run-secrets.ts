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
/** How many values of one secret are looked for although no try uses them any more: a command may print another one each time. */
const MOST_FORMER = 8;

/** A value that was read. */
interface Known {
  /** The secret's name in the workflow. */
  readonly name: string;
  readonly spellings: Spellings;
  /** Number of uses by tries that are not over. */
  uses: number;
}

/**
 * The secrets of a run on this agent: read anew for each try of a task that uses them, and masked in everything that any task of the run says
 * from then on. They are in memory only, and for as long as the run.
 */
export class RunSecrets {
  readonly #declared: NonNullable<RunAssignment["workflow"]["secrets"]>;
  readonly #sources: SecretSources;
  /** By value; those that were read first come first. */
  readonly #known = new Map<string, Known>();
  #bytes = 0;
  #sought: Sought | undefined;

  constructor({ workflow, stored_secrets = {} }: RunAssignment, places: SecretPlaces) {
    // Those of the store are here from now on, perhaps long before a task uses them.
    if (Object.keys(stored_secrets).length > 0) makeUndumpable();
    this.#declared = workflow.secrets ?? {};
    this.#sources = new SecretSources(places, stored_secrets);
  }

  /**
   * Reads secrets for a try, which gives them back with {@link release}.
   * @param wanted their names in the workflow, by what they are for, such as variables; the values are by the same
   * @param signal ends what is under way
   * @throws CannotStartError when one of them cannot be read
   */
  async read(wanted: Readonly<Record<string, string>>, signal: AbortSignal): Promise<Record<string, string>> {
    makeUndumpable();
    const values: Record<string, string> = {};
    const read: [name: string, value: string][] = [];
    // One after the other: commands may ask for the same key of a person, or be refused when they come at once.
    for (const [variable, name] of Object.entries(wanted)) {
      const source = Object.hasOwn(this.#declared, name) ? this.#declared[name] : undefined;
      if (source === undefined)
        throw new CannotStartError(`Cannot start: its workflow declares no secret ${name}.`);
      const value = await this.#sources.read(name, source, signal);
      signal.throwIfAborted();
      values[variable] = value;
      read.push([name, value]);
    }
    this.#remember(read);
    return values;
  }

  /** A try that has read these values is over. */
  release(values: Readonly<Record<string, string>>): void {
    for (const value of Object.values(values)) {
      const known = this.#known.get(value);
      if (known !== undefined) known.uses--;
    }
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

  #remember(read: readonly (readonly [name: string, value: string])[]): void {
    const news = new Map(
      read.filter(([, value]) => !this.#known.has(value)).map(([name, value]) => [value, name]),
    );
    if (news.size > 0) {
      const added = news.keys().reduce((sum, value) => sum + Buffer.byteLength(value), 0);
      for (const name of new Set(news.values())) this.#forgetFormer(name, MAX_TOGETHER_BYTES - added);
      if (this.#bytes + added > MAX_TOGETHER_BYTES)
        throw new CannotStartError(
          `Cannot start: the secrets of this run have more than ${MAX_TOGETHER_BYTES / 1024} KiB together.`,
          { hint: "Secrets are for passwords and keys; let the task read large files itself." },
        );
      this.#bytes += added;
      for (const [value, name] of news)
        this.#known.set(value, { name, spellings: spellingsOf(value), uses: 0 });
      this.#sought = new Sought([...this.#known.values()].map(({ spellings }) => spellings));
    }
    for (const [, value] of read) {
      const known = this.#known.get(value);
      if (known !== undefined) known.uses++;
    }
  }

  /** Forgets former values of a secret, which no try uses: all but the latest, and more if all values are to have at most `mostBytes`. */
  #forgetFormer(name: string, mostBytes: number): void {
    const former = [...this.#known].filter(([, known]) => known.name === name && known.uses === 0);
    for (const [index, [value]] of former.entries()) {
      if (former.length - index <= MOST_FORMER && this.#bytes <= mostBytes) return;
      this.#known.delete(value);
      this.#bytes -= Buffer.byteLength(value);
    }
  }
}
