/** What every kind of task is declared with. */
import { z } from "zod";
import { Block, Field, type Keys, list } from "../field.ts";
import { filled, text } from "../scalars.ts";
import { TAG_KEY } from "../yaml-tree.ts";

/** The mapping under a tag. When stored, the tag is its `type`. */
export function kind<const Tag extends string, K extends Keys>(tag: Tag, about: string, keys: K) {
  const type = new Field<Tag, "type">(z.literal(tag), z.literal(tag), {}, "type");
  return new Block({ [TAG_KEY]: type, ...keys }, `!${tag}: ${about}`);
}

export const args = () => list(text()).default([]).describe("Arguments, each as it is: no shell is involved");

export const workingDirectory = () =>
  filled().optional().describe("Directory to run in; a relative one starts at the agent's working directory");
