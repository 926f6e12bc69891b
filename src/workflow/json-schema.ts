/** The JSON Schema of workflow files, for editors. */
import { z } from "zod";
import { Workflow } from "./model.ts";
import { TAG_KEY } from "./yaml-tree.ts";

/** A JSON Schema as plain JSON. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/**
 * The JSON Schema (draft 7, the one that YAML language servers read) of a workflow file. Tags are no part of JSON:
 * a task's config is described by its keys, and the tags belong into the editor's list of custom tags
 * (`yaml.customTags: ["!Subprocess mapping", "!UvPython mapping"]`).
 */
export function workflowJsonSchema(): JsonSchema {
  const schema = z.toJSONSchema(Workflow.file, {
    target: "draft-7",
    io: "input",
    override: ({ zodSchema, jsonSchema }) => {
      // zod leaves defaults out where the value is transformed: it cannot know that ours are in the form of the file.
      const shown = z.globalRegistry.get(zodSchema)?.default;
      if (shown !== undefined) jsonSchema.default = shown as NonNullable<typeof jsonSchema.default>;
      if (jsonSchema.properties?.[TAG_KEY] === undefined) return;
      delete jsonSchema.properties[TAG_KEY];
      if (jsonSchema.required !== undefined) {
        jsonSchema.required = jsonSchema.required.filter((key) => key !== TAG_KEY);
      }
    },
  });
  return { ...schema, title: "cdktr workflow" };
}
