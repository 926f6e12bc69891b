/** The JSON Schema of workflow files, for editors. */
import { z } from "zod";
import { TASK_TAGS } from "./kinds/index.ts";
import { DirectorySettings, Workflow } from "./model.ts";
import { TAG_KEY } from "./yaml-tree.ts";

/** A JSON Schema as plain JSON. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** The value of `yaml.customTags` in an editor's settings: JSON Schema cannot describe tags. */
export const CUSTOM_TAGS = `[${TASK_TAGS.map((tag) => `"!${tag} mapping"`).join(", ")}]`;

/** The JSON Schema of a workflow file (draft 7, which YAML language servers support). */
export function workflowJsonSchema(): JsonSchema {
  return { ...schemaOf(Workflow.file), title: "cdktr workflow" };
}

/** The JSON Schema of the settings of a directory, `_cdktr.yml`. */
export function settingsJsonSchema(): JsonSchema {
  return { ...schemaOf(DirectorySettings.file), title: "settings of a directory of cdktr workflows" };
}

function schemaOf(file: z.ZodType): JsonSchema {
  return z.toJSONSchema(file, {
    target: "draft-7",
    io: "input",
    override: ({ zodSchema, jsonSchema }) => {
      // zod omits defaults of transformed values, because it cannot know that ours are in the form of the file.
      const shown = z.globalRegistry.get(zodSchema)?.default;
      if (shown !== undefined) jsonSchema.default = shown as NonNullable<typeof jsonSchema.default>;
      // Of a task: see check-work.ts.
      if (jsonSchema.properties?.run !== undefined)
        jsonSchema.oneOf = [{ required: ["run"] }, { required: ["config"] }];
      if (jsonSchema.properties?.[TAG_KEY] === undefined) return;
      delete jsonSchema.properties[TAG_KEY];
      if (jsonSchema.required !== undefined) {
        jsonSchema.required = jsonSchema.required.filter((key) => key !== TAG_KEY);
      }
    },
  });
}
