/** The declaration of a kind of task. */
import { z } from "zod";
import { Block, Field, type Keys, list, templated, type ValueOf } from "../field.ts";
import { filled, text } from "../scalars.ts";
import { TAG_KEY } from "../yaml-tree.ts";

/** Additional properties of a kind. */
export interface KindFacts<Config> {
  /** The command of a task, as the words of a command line. */
  readonly command: (config: Config) => readonly string[];
  /** The program that executes the command, as it would be typed before it. */
  readonly runner?: (config: Config) => readonly string[];
  /**
   * Its keys that hold a script, of which an expression must not become a part, and how such a script reads the environment variable NAME.
   * `variable` gets the values as they are in the file: scalars are text.
   */
  readonly scripts?: {
    readonly keys: readonly string[];
    readonly variable: (values: { readonly shell?: string | null }) => string;
  };
  /** Keys of the task that mean nothing for this kind. */
  readonly ignores?: readonly string[];
  /** Two keys of which a config has exactly one. */
  readonly eitherOf?: readonly [string, string];
  /** Finds a key that is valid but has no effect in this config, and says what to do. */
  readonly noEffect?: (config: Config) => { key: string; where: string; help: string } | null;
  /** Says what is wrong with a config as a whole, as the end of a sentence, and what to do. */
  readonly demands?: (config: Config) => { message: string; help: string } | null;
  /** What a task of this kind waits for: the principal carries it out, and no agent is held. */
  readonly waitsFor?: "time" | "run" | "person";
  /** The outputs of a task of this kind, if they are known: these, and the names under one of its keys. */
  readonly publishes?: { readonly own: readonly string[]; readonly keysOf: string };
}

type Tagged<Tag extends string, K> = K & { [TAG_KEY]: Field<Tag, "type"> };

/** A kind of task: the mapping under its tag. In the stored form, the tag is its `type`. */
export class Kind<const Tag extends string, K extends Keys> extends Block<Tagged<Tag, K>> {
  constructor(
    tag: Tag,
    about: string,
    keys: K,
    readonly facts: KindFacts<ValueOf<Block<Tagged<Tag, K>>>>,
  ) {
    const type = new Field<Tag, "type">(z.literal(tag), z.literal(tag), {}, "type");
    super({ [TAG_KEY]: type, ...keys } as Tagged<Tag, K>, `!${tag}: ${about}`);
  }
}

export const args = () =>
  list(templated(text(), "string")).default([]).describe("Arguments, each as it is: no shell is involved");

/** @param base what a relative one is relative to */
export const workingDirectory = (base = "a relative one starts at the agent's working directory") =>
  templated(filled(), "string").optional().describe(`Directory to run in; ${base}`);
