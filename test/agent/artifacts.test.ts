/** What tasks leave as files, as far as an agent is concerned, and how it speaks to the principal about them. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BlobFetcher } from "../../src/agent/blob-fetcher.ts";
import type { PrincipalLink } from "../../src/agent/principal-link.ts";
import { ArtifactsError, type RunBlobs } from "../../src/agent/run-blobs.ts";
import type { WriteBlob } from "../../src/contract/messages.ts";
import {
  type PrincipalClient,
  RequestRefusedError,
  RequestUnprocessableError,
} from "../../src/protocol/client.ts";
import { TemporaryDirectory } from "../support/temporary-directory.ts";
import { assignmentOf, Bench, type TaskSpec, until, workflowOf } from "./support/bench.ts";

const LEFT = { hash: "a".repeat(64), bytes: 2048, files: [{ path: "x", bytes: 1, offset: 512 }] };
const leaving = (run: string): TaskSpec => ({
  config: { type: "Shell", script: run, shell: null, working_directory: null },
});

/** Somebody who keeps files. */
function keeper(keep: RunBlobs["keep"] = async () => LEFT): RunBlobs & { directories: string[] } {
  const directories: string[] = [];
  return {
    directories,
    keep: (attempt, left, how) => {
      directories.push(left.directory);
      return keep(attempt, left, how);
    },
    use: async () => {
      throw new Error("nothing was asked for");
    },
  };
}

const leftIn = (bench: Bench) => readdirSync(join(bench.directory, "data/tasks"));

describe("a task", () => {
  test("that leaves nothing is not asked about, whether or not it has the directory", async () => {
    const blobs = keeper();
    using bench = new Bench({ blobs });
    const outcome = await bench.run({
      script: leaving('test -d "$CDKTR_ARTIFACTS"'),
      removed: leaving('rmdir "$CDKTR_ARTIFACTS"'),
      plain: { run: 'test ! -e "$CDKTR_ARTIFACTS"' },
    });
    expect(outcome.end).toBe("COMPLETED");
    expect(blobs.directories).toEqual([]);
    expect(outcome.last("script").artifacts).toBeUndefined();
    await until(() => leftIn(bench).length === 0, "nothing is left");
  });

  test("has COMPLETED when what it left is kept", async () => {
    const gate = Promise.withResolvers<typeof LEFT>();
    const blobs = keeper(() => gate.promise);
    using bench = new Bench({ blobs, slots: 1 });
    const assignment = assignmentOf(
      workflowOf({
        t: { run: 'mkdir "$CDKTR_ARTIFACTS"; echo > "$CDKTR_ARTIFACTS/x"; echo n=1 > "$CDKTR_OUTPUT"' },
        // Its slot is free meanwhile.
        other: { run: "touch other" },
      }),
    );
    const run = bench.prepare(assignment);
    run.start();
    await until(() => blobs.directories.length === 1 && bench.has("other"), "it is being kept");
    expect(bench.outcome(assignment, null).statuses("t")).toEqual(["RUNNING"]);
    expect(readdirSync(blobs.directories[0] ?? "")).toEqual(["x"]);
    gate.resolve(LEFT);
    const outcome = bench.outcome(assignment, await run.over);
    expect(outcome.last("t")).toMatchObject({ status: "COMPLETED", artifacts: LEFT, outputs: { n: "1" } });
    await until(() => leftIn(bench).length === 0, "nothing is left");
  });

  test.each([
    [
      "cannot be kept",
      new ArtifactsError("they have 300 MiB"),
      "its artifacts cannot be kept: they have 300 MiB",
    ],
    ["meets a fault of the agent", new Error("oops"), "the agent could not handle its end: oops"],
  ])("whose files %p has FAILED, and has published nothing", async (_, fault, error) => {
    const blobs = keeper(async () => {
      throw fault;
    });
    using bench = new Bench({ blobs });
    const outcome = await bench.run({
      t: leaving('echo > "$CDKTR_ARTIFACTS/x"; echo n=1 > "$CDKTR_OUTPUT"'),
      after: { depends: ["t"] },
    });
    expect(outcome.last("t")).toMatchObject({ status: "FAILED", error, outputs: null });
    expect(outcome.last("t").artifacts).toBeUndefined();
    expect(outcome.statuses("after")).toEqual(["SKIPPED"]);
  });

  test("that is cancelled while its files are being kept is CANCELLED", async () => {
    const blobs = keeper((_, __, { signal }) => {
      const { promise, reject } = Promise.withResolvers<null>();
      signal.addEventListener("abort", () => reject(signal.reason));
      return promise;
    });
    using bench = new Bench({ blobs });
    const assignment = assignmentOf(workflowOf({ t: leaving('echo > "$CDKTR_ARTIFACTS/x"') }));
    const run = bench.prepare(assignment);
    run.start();
    await until(() => blobs.directories.length === 1, "it is being kept");
    run.stop("cancelled");
    const outcome = bench.outcome(assignment, await run.over);
    expect(outcome.end).toBe("CANCELLED");
    expect(outcome.statuses("t")).toEqual(["RUNNING", "CANCELLED"]);
    await until(() => leftIn(bench).length === 0, "nothing is left");
  });

  test("that fails leaves nothing", async () => {
    const blobs = keeper();
    using bench = new Bench({ blobs });
    const outcome = await bench.run({
      script: leaving('echo > "$CDKTR_ARTIFACTS/x"; exit 1'),
      plain: {
        run: 'mkdir "$CDKTR_ARTIFACTS"; echo > "$CDKTR_ARTIFACTS/x"; echo n=1 > "$CDKTR_OUTPUT"; exit 1',
      },
    });
    expect(outcome.end).toBe("FAILED");
    expect(blobs.directories).toEqual([]);
    await until(() => leftIn(bench).length === 0, "nothing is left");
  });
});

describe("keeping files", () => {
  let directory: TemporaryDirectory;
  beforeEach(() => {
    directory = new TemporaryDirectory();
    mkdirSync(directory.path("left"));
    writeFileSync(directory.path("left/x"), "content");
  });
  afterEach(() => directory[Symbol.dispose]());

  const ATTEMPT = { workflow_instance_id: "r1", slice: 0, attempt: 1 };

  /** A principal that answers each request with the next of these; what it got is in `requests`. */
  function fetcher(...answers: ((request: WriteBlob) => { next: number })[]) {
    const requests: WriteBlob[] = [];
    const said: string[] = [];
    const client = {
      call: async (_: string, request: WriteBlob) => {
        requests.push(request);
        const answer = answers.length > 1 ? answers.shift() : answers[0];
        return answer?.(request);
      },
    } as unknown as PrincipalClient;
    const link = { isUp: true, whileUp: new AbortController().signal, untilUp: async () => {} };
    const blobs = new BlobFetcher({
      directory: directory.path("cache"),
      limitBytes: 1_000_000,
      client,
      link: link as unknown as PrincipalLink,
      agentId: "agent",
    });
    const keep = (isSecret: (name: string) => boolean = () => false, signal = new AbortController().signal) =>
      blobs.keep(
        ATTEMPT,
        { task_instance_id: "t1", directory: directory.path("left"), isSecret },
        { signal, say: (level, text) => said.push(`${level} ${text}`) },
      );
    return { blobs, requests, said, keep };
  }
  const taken = ({ offset, data }: WriteBlob) => ({ next: offset + Buffer.from(data, "base64").length });

  test("asks whether there is room, then how much is there, and sends the rest", async () => {
    const { blobs, keep, requests } = fetcher(
      () => ({ next: 0 }),
      () => ({ next: 512 }),
      taken,
    );
    const kept = await keep();
    expect(kept?.files).toEqual([{ path: "x", bytes: 7, offset: 512 }]);
    expect(requests.map(({ hash, offset, data }) => [hash === kept?.hash, offset, data.length > 0])).toEqual([
      [false, 0, false],
      [true, 0, false],
      [true, 512, true],
    ]);
    // Whoever depends on it here need not fetch it.
    const read = async (path: string) => readFileSync(path).includes("content");
    const how = { signal: new AbortController().signal };
    expect(await blobs.use(ATTEMPT, { hash: kept?.hash ?? "", bytes: kept?.bytes ?? 0 }, how, read)).toBe(
      true,
    );
    expect(requests).toHaveLength(3);
  });

  test("what the principal refuses is the reason; nothing was read for it", async () => {
    const { keep } = fetcher(() => {
      throw new RequestRefusedError("they have 300 MiB, and a run may keep 256 MiB");
    });
    await expect(keep()).rejects.toThrow(new ArtifactsError("they have 300 MiB, and a run may keep 256 MiB"));
  });

  test("what the principal cannot do now is told once, and tried again", async () => {
    const away = () => {
      throw new RequestUnprocessableError("Files cannot be kept in /x: the disk is full.");
    };
    const { keep, said } = fetcher(away, away, taken);
    expect((await keep())?.files).toHaveLength(1);
    expect(said).toEqual([
      "WARN Its artifacts cannot be kept yet: Files cannot be kept in /x: the disk is full.",
    ]);
  });

  test("a name that holds a secret is refused without telling it", async () => {
    const { keep, requests } = fetcher(taken);
    await expect(keep((name) => name === "x")).rejects.toThrow("the name of one of them contains a secret");
    expect(requests).toEqual([]);
  });

  test("ends when it is told to, and leaves nothing half", async () => {
    const stop = new AbortController();
    const { keep } = fetcher(taken, () => {
      stop.abort(new Error("stopped"));
      throw new RequestUnprocessableError("not now");
    });
    await expect(keep(undefined, stop.signal)).rejects.toThrow("stopped");
    expect(readdirSync(directory.path("cache")).every((name) => /^[0-9a-f]{64}$/.test(name))).toBe(true);
  });
});
