/** The JSON Schema of workflow files, for editors. */
import { z } from "zod";
import { AlertFile } from "./alert-file.ts";
import { TASK_TAGS } from "./kinds/index.ts";
import { DirectorySettings, Workflow } from "./model.ts";
import { TAG_KEY } from "./yaml-tree.ts";

/** A JSON Schema as plain JSON. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** The value of `yaml.customTags` in an editor's settings: JSON Schema cannot describe tags. */
export const CUSTOM_TAGS = `[${TASK_TAGS.map((tag) => `"!${tag} mapping", "!${tag} scalar"`).join(", ")}]`;

/** The JSON Schema of a workflow file (draft 7, which YAML language servers support). */
export function workflowJsonSchema(): JsonSchema {
  return { ...schemaOf(Workflow.file), title: "cdktr workflow" };
}

/** The JSON Schema of the settings of a directory, `_cdktr.yml`. */
export function settingsJsonSchema(): JsonSchema {
  return { ...schemaOf(DirectorySettings.file), title: "settings of a directory of cdktr workflows" };
}

/** The JSON Schema of alert files. */
export function alertJsonSchema(): JsonSchema {
  return { ...schemaOf(AlertFile.file), title: "cdktr alert file" };
}

function schemaOf(file: z.ZodType): JsonSchema {
  return z.toJSONSchema(file, {
    target: "draft-7",
    io: "input",
    override: ({ zodSchema, jsonSchema }) => {
      // zod omits defaults of transformed values, because it cannot know that ours are in the form of the file.
      const shown = z.globalRegistry.get(zodSchema)?.default;
      if (shown !== undefined) jsonSchema.default = shown as NonNullable<typeof jsonSchema.default>;
      // Forms of a scalar, beside the text as which it is read.
      if (jsonSchema.anyOf !== undefined && jsonSchema.type !== "object") delete jsonSchema.type;
      // Editors do not see tags: a config may fit several kinds.
      if (jsonSchema.oneOf !== undefined) {
        jsonSchema.anyOf = jsonSchema.oneOf;
        delete jsonSchema.oneOf;
      }
      // Of a task. That it has not both is left to check-work.ts, which says it in words.
      if (jsonSchema.properties?.run !== undefined)
        jsonSchema.anyOf = [{ required: ["run"] }, { required: ["config"] }];
      const tag = jsonSchema.properties?.[TAG_KEY];
      if (jsonSchema.properties === undefined || tag === undefined) return;
      const [kind] = typeof tag === "object" ? (tag.enum ?? [tag.const]) : [];
      if (typeof kind === "string") jsonSchema.title = `!${kind}`;
      delete jsonSchema.properties[TAG_KEY];
      if (jsonSchema.required !== undefined) {
        jsonSchema.required = jsonSchema.required.filter((key) => key !== TAG_KEY);
      }
    },
  });
}
