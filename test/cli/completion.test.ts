import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Completion, complete, type NameSource } from "../../src/cli/support/complete.ts";
import { joinedWords, SHELLS, type Shell } from "../../src/cli/support/completion-scripts.ts";
import { root } from "../../src/main.ts";
import { CDKTR, type Cluster, cleanEnvironment, startCluster } from "../support/cdktr.ts";
import { installed, skipWithout } from "../support/debian.ts";
import { until } from "../support/until.ts";
import { shellWorkflow } from "./support.ts";

const missing: Record<Shell, string | undefined> = { bash: undefined, zsh: undefined, fish: undefined };
for (const shell of SHELLS) missing[shell] = await installed(shell, () => Bun.which(shell) !== null);

const asked: string[] = [];
const names: NameSource = async (what, principal) => {
  asked.push(principal === undefined ? what : `${what} at ${principal}`);
  return [
    { value: `${what}-1`, about: "first" },
    { value: "other", about: "" },
  ];
};

async function candidates(line: string): Promise<Completion & { values: string[] }> {
  const result = await complete(root, line.split(" "), names);
  return { ...result, values: result.candidates.map(({ value }) => value) };
}

describe("completion candidates", () => {
  test("commands, with what they do", async () => {
    const { candidates: found } = await candidates("ru");
    expect(found.map(({ value }) => value)).toEqual(["run", "runs"]);
    expect(found[1]?.about).toBe("List, inspect, explain, compare, cancel and retry runs");
    expect((await candidates("runs ")).values).toEqual([
      "list",
      "show",
      "why",
      "diff",
      "artifacts",
      "queue",
      "priority",
      "cancel",
      "retry",
    ]);
    expect((await candidates("help workflow gr")).values).toEqual(["graph"]);
    expect((await candidates("nothing ")).values).toContain("runs");
  });

  test("options, negated where only that means anything, and none that are hidden", async () => {
    expect((await candidates("start principal --no-s")).values).toEqual(["--no-scheduler"]);
    const options = (await candidates("start agent -")).values;
    expect(options).toContain("--suffix");
    expect(options).not.toContain("--supervised");
    expect((await candidates("--prin")).values).toEqual(["--principal"]);
    expect((await candidates("logs tail -- --")).values).toEqual([]);
  });

  test("values of options", async () => {
    expect((await candidates("runs list --status f")).values).toEqual(["FAILED"]);
    expect((await candidates("runs list --status=f")).values).toEqual(["--status=FAILED"]);
    expect((await candidates("logs query -w ")).values).toEqual(["workflow-1", "other"]);
    expect((await candidates("start principal --workflow-dir ")).kind).toBe("directories");
    expect((await candidates("runs list --limit ")).values).toEqual([]);
  });

  test("names that the principal knows, of the principal that the line names", async () => {
    asked.length = 0;
    expect((await candidates("--principal other:1 run wo")).values).toEqual(["workflow-1"]);
    expect((await candidates("runs show --json ")).values).toEqual(["run-1", "other"]);
    expect((await candidates("agents drain --principal=h:2 ")).values).toEqual(["agent-1", "other"]);
    expect((await candidates("workflow validate a.yml ")).kind).toBe("files");
    expect((await candidates("run etl ")).values).toEqual([]);
    expect(asked).toEqual(["workflow at other:1", "run", "agent at h:2"]);
  });

  test("bash's words are put together again", () => {
    const joined = (...words: string[]) => joinedWords("bash", words);
    expect(joined("runs", "list", "--status", "=", "f")).toEqual({
      words: ["runs", "list", "--status=f"],
      kept: 9,
    });
    expect(joined("runs", "--status", "=")).toEqual({ words: ["runs", "--status="], kept: 9 });
    expect(joined("--principal", "h", ":", "1", "run", "")).toEqual({
      words: ["--principal", "h:1", "run", ""],
      kept: 0,
    });
    expect(joinedWords("zsh", ["--status", "=", "f"]).words).toHaveLength(3);
  });
});

/** A shell in a terminal, as somebody sits in front of it. */
class Terminal implements Disposable {
  #text = "";
  readonly #changed = new Set<() => void>();
  readonly #shell: Bun.Subprocess;

  constructor(command: readonly string[], env: Record<string, string>, cwd: string) {
    this.#shell = Bun.spawn([...command], {
      env,
      cwd,
      terminal: {
        cols: 200,
        rows: 50,
        data: (_, data) => {
          this.#text += Buffer.from(data).toString("utf8");
          for (const wake of this.#changed) wake();
        },
      },
    });
  }

  /** Types, and waits until the terminal shows what is expected. */
  async type(keys: string, expected: string): Promise<void> {
    this.#text = "";
    this.#shell.terminal?.write(keys);
    const deadline = AbortSignal.timeout(20_000);
    // A bell rings where there is more than one way on.
    while (!Bun.stripANSI(this.#text).replaceAll("\x07", "").includes(expected)) {
      await new Promise<void>((wake, fail) => {
        this.#changed.add(wake);
        deadline.addEventListener("abort", () =>
          fail(
            new Error(
              `no ${JSON.stringify(expected)} after ${JSON.stringify(keys)} in ${JSON.stringify(this.#text)}`,
            ),
          ),
        );
      });
    }
  }

  [Symbol.dispose](): void {
    this.#shell.kill("SIGKILL");
    this.#shell.terminal?.close();
  }
}

describe("the scripts in their shells", () => {
  const directory = mkdtempSync(join(tmpdir(), "cdktr-completion-"));
  let cluster: Cluster;
  let run = "";
  let token = "";

  beforeAll(async () => {
    cluster = await startCluster({
      workflows: {
        "etl/daily.yml": shellWorkflow("Daily", { only: "true" }),
        "etl/daily-late/eu.yml": shellWorkflow("Late in Europe", { only: "true" }),
      },
    });
    await cluster.client.registerAgent("node-7", {
      session_id: "one",
      stream_id: "stream",
      host: "far",
      pid: 1,
      version: "0.1.0",
      max_concurrent_workflows: 1,
      labels: {},
      running: [],
    });
    // Of a principal that is to be secured at its next start.
    for (const words of [["init"], ["add", "worker-1", "--role", "agent"]])
      expect((await cluster.cdktr(["keys", ...words])).code).toBe(0);
    rmSync(join(cluster.dataDirectory, "keys", "admin.key"));
    const made = await cluster.cdktr(["join-token", "create", "--address", "127.0.0.1:1"]);
    token = /^Token (\S+):/m.exec(made.stderr)?.[1] ?? "none";
    run = (await cluster.client.runTask("etl.daily", { dedupe_key: "one" })).workflow_instance_id;
    const program = join(directory, "bin", "cdktr");
    mkdirSync(join(directory, "bin"));
    mkdirSync(join(directory, "work", "pipelines"), { recursive: true });
    writeFileSync(join(directory, "work", "pipelines", "history.db"), "");
    writeFileSync(program, `#!/bin/sh\nexec ${CDKTR.map((word) => `'${word}'`).join(" ")} "$@"\n`);
    chmodSync(program, 0o755);
  });

  afterAll(async () => {
    await cluster.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  const environment = () => ({
    ...cleanEnvironment(cluster.env),
    PATH: `${join(directory, "bin")}:${process.env.PATH}`,
    HOME: directory,
    TERM: "xterm",
    PS1: "ready> ",
    LC_ALL: "C.UTF-8",
  });

  const START: Record<Shell, string[]> = {
    bash: ["bash", "--norc", "--noprofile", "-i"],
    zsh: ["zsh", "-f", "-i"],
    fish: ["fish", "--no-config", "-i"],
  };
  const LOAD: Record<Shell, string> = {
    bash: "source <(cdktr completion bash)",
    zsh: "source <(cdktr completion zsh)",
    fish: "function fish_prompt; echo 'ready> '; end; cdktr completion fish | source",
  };

  for (const shell of SHELLS) {
    test.skipIf(skipWithout(missing[shell]))(`${shell}: Tab completes`, async () => {
      using terminal = new Terminal(START[shell], environment(), join(directory, "work"));
      await terminal.type(`${LOAD[shell]}; echo sour''ced\r`, "sourced");
      const line = (typed: string, completed: string) => terminal.type(`\x15${typed}\t`, completed);
      await line("cdktr workf", "cdktr workflow ");
      await terminal.type("sh\t", "show ");
      await terminal.type("et\t", "etl.daily");
      // A part of an id with a dot in it, which begins another one too.
      await line("cdktr run etl.daily-", "etl.daily-late.eu ");
      await line("cdktr runs show ", run);
      await line("cdktr logs query --run ", run);
      await line("cdktr runs list --workflow=etl.daily-", "late.eu ");
      await line("cdktr runs list --status=FA", "FAILED ");
      await line("cdktr logs tail --level W", "WARN ");
      await line("cdktr agents drain no", "node-7 ");
      await line("cdktr keys revoke wor", "worker-1 ");
      await line("cdktr keys add x --role ag", "agent ");
      await line("cdktr join-token revoke ", token);
      await line("cdktr docs wire", "wire-protocol ");
      await line("cdktr service install pr", "principal ");
      await line("cdktr workflow validate pi", "pipelines/");
      await line("cdktr start principal --workflow-dir=pi", "pipelines/");
      await line("cdktr start principal --db-path pipelines/hi", "pipelines/history.db ");
      // Where nobody answers, nothing happens, and what is typed afterwards is the line.
      await line("cdktr --principal 127.0.0.1:1 run etl", "run etl");
      await terminal.type("X\x15echo un''harmed\r", "unharmed");
      if (shell === "bash") return;
      // With what they are about; bash knows no descriptions.
      await terminal.type("cdktr workflow show etl.\t\t", "Late in Europe");
    });
  }

  test.skipIf(skipWithout(missing.fish))("fish: what is offered, in its own words", async () => {
    const shown = async (line: string) => {
      const script = `cdktr completion fish | source; complete -C '${line}'`;
      const shell = Bun.spawn(["fish", "--no-config", "-c", script], {
        env: environment(),
        cwd: join(directory, "work"),
        stdout: "pipe",
        stderr: "pipe",
      });
      return await new Response(shell.stdout).text();
    };
    expect(await shown("cdktr workf")).toContain("workflow\tLook at workflow definitions");
    expect(await shown("cdktr workflow show ")).toBe("etl.daily\tDaily\netl.daily-late.eu\tLate in Europe\n");
    expect(await shown("cdktr runs show ")).toStartWith(`${run}\tetl.daily PENDING`);
    expect(await shown("cdktr workflow validate pi")).toContain("pipelines/");
    expect(await shown("cdktr runs list --status=fa")).toContain("--status=FAILED");
    expect(await shown("cdktr start principal --workflow-dir=pi")).toContain("--workflow-dir=pipelines/");
  });

  test("a principal that accepts but does not reply costs a moment, a missing one costs nothing", async () => {
    using mute = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    const took = async (port: number) => {
      const began = performance.now();
      const { code, stdout, stderr } = await cluster.cdktr(
        ["completion", "bash", "--", "--principal", `127.0.0.1:${port}`, "run", ""],
        { env: { CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "600000" } },
      );
      expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: ":words\n", stderr: "" });
      return performance.now() - began;
    };
    // It waits a second for the one, and not for the ten minutes of the setting, which this test does not have.
    expect(await took(mute.port)).toBeGreaterThan(900);
    // Not at all for the other: on a busy machine not every start shows it.
    await until("it is there in less than that", async () => (await took(1)) < 900);
  });

  test("without a principal there are no ids and no complaint", async () => {
    for (const shell of SHELLS) {
      const { code, stdout, stderr } = await cluster.cdktr(
        ["completion", shell, "--", "--principal", "127.0.0.1:1", "run", ""],
        { env: { CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "50" } },
      );
      expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: ":words\n", stderr: "" });
    }
  });

  test("an unknown shell is a usage error", async () => {
    const { code, stderr } = await cluster.cdktr(["completion", "bsh"]);
    expect(code).toBe(2);
    expect(stderr).toContain("Did you mean 'bash'?");
  });
});
