import { CUSTOM_TAGS, workflowJsonSchema } from "../../workflow/json-schema.ts";
import { command } from "../support/command.ts";
import { jsonArg } from "../support/globals.ts";
import { printLine } from "../support/stdout.ts";

export default command({
  meta: { name: "schema", description: "Print the JSON Schema of workflow files" },
  args: { ...jsonArg },
  extras: {
    details: `For editors. Write it to a file, name that file on the first line of a workflow
      (# yaml-language-server: $schema=cdktr.schema.json), and tell the editor of the tags:
      yaml.customTags ${CUSTOM_TAGS}.`,
    examples: [{ command: "cdktr workflow schema > cdktr.schema.json", does: "completion in the editor" }],
  },
  run: () => printLine(JSON.stringify(workflowJsonSchema(), null, 2)),
});
