import { createHash } from "node:crypto";
import { mkdirSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import type { ArtifactsSummary } from "../../contract/messages.ts";
import { CdktrError, NotFoundError } from "../../errors.ts";
import { unpacking } from "../../host/archive.ts";
import { turn } from "../../timer.ts";
import { itemFileName, nodeId } from "../../workflow/item-id.ts";
import { command } from "../support/command.ts";
import { type Connection, withPrincipal } from "../support/connect.ts";
import { asWriteError, refuseExisting } from "../support/download.ts";
import { formatBytes } from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { findRun, runArg } from "../support/run-id.ts";
import { printJson, printLine } from "../support/stdout.ts";

export default command({
  meta: { name: "artifacts", description: "List the files that the tasks of a run left, and download them" },
  args: {
    ...runArg,
    get: { type: "string", valueHint: "DIR", description: "Write them to DIR/TASK, items to DIR/TASK/KEY" },
    task: {
      type: "string",
      valueHint: "ID",
      description: "Only those of this task, or of this item: load[eu]",
    },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    completes: { run: "run", get: "directory" },
    details:
      "Tasks leave files in the directory that CDKTR_ARTIFACTS names. --get writes nothing over what exists.",
    topic: "files",
    examples: [
      { command: "cdktr runs artifacts 0198c2a4", does: "list them" },
      { command: "cdktr runs artifacts 0198c2a4 --get out", does: "download them all to the directory out" },
      {
        command: "cdktr runs artifacts 0198c2a4 --task report --get .",
        does: "download those of the task report to ./report",
      },
    ],
  },
  run: ({ args }) =>
    withPrincipal(args, async (connection) => {
      const { workflow_instance_id: id } = await findRun(connection, args.run);
      const all = await connection.client.call("LSARTIFACTS", { workflow_instance_id: id });
      const found = args.task === undefined ? all : all.filter((each) => isOf(each, args.task ?? ""));
      if (args.task !== undefined && found.length === 0)
        throw new NotFoundError(`Task ${args.task} of run ${id} has left no files.`, {
          hint: all.length === 0 ? "No task of it has." : `These have: ${all.map(nameOf).join(", ")}.`,
        });
      if (args.get !== undefined) for (const each of found) await download(connection, id, each, args.get);
      if (args.json) return printJson(found);
      if (args.get !== undefined) return;
      if (found.length === 0) say("No task of this run has left files.");
      for (const each of found)
        for (const { path, bytes } of each.files)
          await printLine(`${pathOf(each)}/${path}  ${formatBytes(bytes)}`);
    }),
});

/** How long a piece may take, ms: it may come from a bucket. */
const PIECE_MS = 30_000;

function nameOf({ task_id, item_key }: ArtifactsSummary): string {
  return nodeId(task_id, item_key);
}

function isOf(artifacts: ArtifactsSummary, task: string): boolean {
  return artifacts.task_id === task || nameOf(artifacts) === task;
}

function pathOf({ task_id, item_key }: ArtifactsSummary): string {
  return item_key === null ? task_id : `${task_id}/${itemFileName(item_key)}`;
}

/** Downloads what a task has left: as a whole to a temporary file first, verified, then unpacked. */
async function download(
  { client }: Connection,
  workflow_instance_id: string,
  artifacts: ArtifactsSummary,
  directory: string,
): Promise<void> {
  const { hash, files } = artifacts;
  const target = join(directory, pathOf(artifacts));
  for (const { path } of files) refuseExisting(join(target, path), undefined);
  const partial = join(directory, `.${hash}.${process.pid}.partial`);
  try {
    mkdirSync(directory, { recursive: true });
    const file = await open(partial, "wx", 0o600);
    const hasher = createHash("sha256");
    try {
      for (let offset: number | null = 0; offset !== null; ) {
        const at: number = offset;
        const piece = await client.call(
          "READBLOB",
          { workflow_instance_id, hash, offset: at },
          { timeoutMs: PIECE_MS },
        );
        const data = Buffer.from(piece.data, "base64");
        hasher.update(data);
        await file.write(data);
        offset = piece.next;
      }
    } finally {
      await file.close();
    }
    if (hasher.digest("hex") !== hash)
      throw new CdktrError(`What came of ${nameOf(artifacts)} is not what was left: nothing was written.`);
    mkdirSync(target, { recursive: true });
    for (const _ of unpacking(partial, target)) await turn();
  } catch (error) {
    throw asWriteError(error, target);
  } finally {
    await rm(partial, { force: true }).catch(() => {});
  }
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  say(
    `Wrote ${files.length === 1 ? "1 file" : `${files.length} files`} to ${target} (${formatBytes(bytes)}).`,
  );
}
