/** What the commands that write files for monitoring systems share. */
import { resolve } from "node:path";
import type { Files } from "../../metrics/monitoring/files.ts";
import { writeFiles } from "../../sdk/write-files.ts";
import { jsonArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson } from "../support/stdout.ts";

export const filesArgs = {
  dir: { type: "positional", required: true, description: "Directory to write it into" },
  force: { type: "boolean", description: "Replace files of the same names" },
  ...jsonArg,
} as const;

/** Writes files, and says what is there now and what to do with it. */
export async function writeAndTell(
  args: { readonly dir: string; readonly force?: boolean | undefined; readonly json?: boolean | undefined },
  files: Files,
  next: string,
): Promise<void> {
  const directory = resolve(args.dir);
  const { written, unchanged } = writeFiles(directory, files, { force: args.force ?? false });
  if (args.json) return printJson({ directory, written, unchanged });
  for (const path of written) say(`${path} is in ${directory}.`);
  for (const path of unchanged) say(`${path} is in ${directory} already.`);
  say(next);
}
