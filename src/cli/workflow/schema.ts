import {
  alertJsonSchema,
  CUSTOM_TAGS,
  settingsJsonSchema,
  workflowJsonSchema,
} from "../../workflow/json-schema.ts";
import { command } from "../support/command.ts";
import { jsonArg } from "../support/globals.ts";
import { printLine } from "../support/stdout.ts";

export default command({
  meta: { name: "schema", description: "Print the JSON Schema of workflow files" },
  args: {
    settings: {
      type: "boolean",
      description: "Print the JSON Schema of _cdktr.yml, the settings of a directory",
    },
    alerts: { type: "boolean", description: "Print the JSON Schema of alert files" },
    ...jsonArg,
  },
  extras: {
    details: `For editors. Write it to a file, name that file on the first line of a workflow
      (# yaml-language-server: $schema=cdktr.schema.json), and tell the editor of the tags:
      yaml.customTags ${CUSTOM_TAGS}.
      'cdktr init --editor vscode' does so for a project.`,
    topic: "editor",
    examples: [
      { command: "cdktr workflow schema > cdktr.schema.json", does: "completion in the editor" },
      { command: "cdktr workflow schema --alerts > alert.schema.json", does: "the same for alert files" },
      { command: "cdktr workflow schema --settings > settings.schema.json", does: "the same for _cdktr.yml" },
    ],
  },
  run: ({ args }) => {
    const schema = args.settings
      ? settingsJsonSchema()
      : args.alerts
        ? alertJsonSchema()
        : workflowJsonSchema();
    return printLine(JSON.stringify(schema, null, 2));
  },
});
