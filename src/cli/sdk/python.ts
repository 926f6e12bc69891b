import { resolve } from "node:path";
import { PYTHON_PACKAGE } from "../../sdk/python-package.ts";
import { writeFiles } from "../../sdk/write-files.ts";
import { command } from "../support/command.ts";
import { plural } from "../support/format.ts";
import { jsonArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson } from "../support/stdout.ts";

export default command({
  meta: { name: "python", description: "Write the Python package" },
  args: {
    dir: { type: "positional", required: true, description: "Directory to write it into" },
    force: { type: "boolean", description: "Replace files of the same names" },
    ...jsonArg,
  },
  extras: {
    completes: { dir: "directory" },
    topic: "listeners",
    examples: [
      {
        command: "cdktr sdk python ./cdktr-python && pip install ./cdktr-python",
        does: "write and install it",
      },
    ],
  },
  async run({ args }) {
    const directory = resolve(args.dir);
    const { written, unchanged } = writeFiles(directory, PYTHON_PACKAGE, { force: args.force ?? false });
    if (args.json) return printJson({ directory, written, unchanged });
    say(`The Python package cdktr is in ${directory} (${plural(written.length, "file")} written).`);
    say(`Install it with: pip install ${args.dir}`);
  },
});
