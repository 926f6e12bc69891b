import { resolve } from "node:path";
import { TYPESCRIPT_FILES } from "../../sdk/typescript-files.ts";
import { writeFiles } from "../../sdk/write-files.ts";
import { command } from "../support/command.ts";
import { plural } from "../support/format.ts";
import { jsonArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson } from "../support/stdout.ts";

export default command({
  meta: { name: "typescript", description: "Write the types of TypeScript listeners" },
  args: {
    dir: { type: "positional", required: true, description: "The directory of the listeners" },
    force: { type: "boolean", description: "Replace files of the same names" },
    ...jsonArg,
  },
  extras: {
    completes: { dir: "directory" },
    details:
      "Editors and the TypeScript compiler need the types; cdktr itself does not. The implementation is in this executable.",
    topic: "listeners",
    examples: [{ command: "cdktr sdk typescript .", does: "for the listeners in this directory" }],
  },
  async run({ args }) {
    const directory = resolve(args.dir);
    const { written, unchanged } = writeFiles(directory, TYPESCRIPT_FILES, { force: args.force ?? false });
    if (args.json) return printJson({ directory, written, unchanged });
    say(`The types of cdktr are in ${directory} (${plural(written.length, "file")} written).`);
  },
});
