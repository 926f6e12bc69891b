/** An installation with several principals over a PostgreSQL of its own, operated like a user's. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { PrincipalSummary } from "../../src/contract/messages.ts";
import { PrincipalClient } from "../../src/protocol/client.ts";
import { CdktrProcess, type CommandOptions, cdktr, type Finished, freePorts } from "./cdktr.ts";
import { type PostgresOptions, PostgresServer } from "./postgres.ts";
import { until } from "./until.ts";

/** What an installation starts with. */
export interface InstallationOptions {
  /** Files of the workflow directory: relative path to text. All members have the same directory. */
  readonly workflows?: Readonly<Record<string, string>>;
  /** Whether the history is in a lake, which all principals share. Default: it is; without, there can be only one principal. */
  readonly lake?: boolean;
  /** Further settings of all principals, agents and commands. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly postgres?: PostgresOptions;
}

/** A principal of the installation. */
export interface TestMember {
  readonly name: string;
  readonly port: number;
  readonly directory: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly client: PrincipalClient;
  process: CdktrProcess;
}

/** Its principals, agents and database; all temporary. */
export class Installation implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), "cdktr-members-"));
  readonly postgres: PostgresServer;
  readonly members: TestMember[] = [];
  readonly agents: CdktrProcess[] = [];
  readonly #options: InstallationOptions;

  private constructor(postgres: PostgresServer, options: InstallationOptions) {
    this.postgres = postgres;
    this.#options = options;
    mkdirSync(join(this.directory, "workflows"));
    for (const [path, text] of Object.entries(options.workflows ?? {})) this.writeWorkflow(path, text);
  }

  /** Starts PostgreSQL, and so many principals. */
  static async start(count: number, options: InstallationOptions = {}): Promise<Installation> {
    const installation = new Installation(await PostgresServer.start(options.postgres), options);
    try {
      for (let n = 0; n < count; n++) await installation.startMember();
      return installation;
    } catch (error) {
      await installation[Symbol.asyncDispose]();
      throw error;
    }
  }

  writeWorkflow(path: string, text: string): void {
    const file = join(this.directory, "workflows", path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }

  /** The settings of a principal with free ports, in a directory of its own. */
  async settings(name: string): Promise<Record<string, string>> {
    const [api, listening, publishing, webhooks] = await freePorts(4);
    return {
      CDKTR_PRINCIPAL_HOST: "127.0.0.1",
      CDKTR_PRINCIPAL_PORT: String(api),
      CDKTR_LOGS_LISTENING_PORT: String(listening),
      CDKTR_LOGS_PUBLISHING_PORT: String(publishing),
      CDKTR_WEBHOOK_PORT: String(webhooks),
      CDKTR_PRINCIPAL_NAME: name,
      CDKTR_APP_DATA_DIRECTORY: join(this.directory, name, "data"),
      CDKTR_WORKFLOW_DIR: join(this.directory, "workflows"),
      CDKTR_METRICS_PORT: "0",
      CDKTR_BLOB_URL: join(this.directory, "blobs"),
      CDKTR_STORE_URL: this.postgres.url(),
      ...(this.#options.lake !== false && {
        CDKTR_HISTORY_URL: `ducklake:${this.postgres.url()}`,
        CDKTR_HISTORY_DATA: join(this.directory, "history"),
      }),
      // A busy machine does not change the leader.
      CDKTR_LEADER_LEASE_MS: "30000",
      CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "20000",
      ...this.#options.env,
    };
  }

  /** Starts another principal, and waits until it says that it is ready. */
  async startMember(): Promise<TestMember> {
    const name = `member-${this.members.length + 1}`;
    const directory = join(this.directory, name);
    mkdirSync(directory, { recursive: true });
    const env = await this.settings(name);
    const port = Number(env.CDKTR_PRINCIPAL_PORT);
    const client = new PrincipalClient({ host: "127.0.0.1", port, timeoutMs: 30_000 });
    const process = this.#spawn(env, directory);
    const member: TestMember = { name, port, directory, env, client, process };
    this.members.push(member);
    await process.waitFor(/ready at/);
    return member;
  }

  /** Starts a member again that has ended. */
  async startAgain(member: TestMember): Promise<void> {
    member.process = this.#spawn(member.env, member.directory);
    await member.process.waitFor(/ready at/);
  }

  #spawn(env: TestMember["env"], cwd: string): CdktrProcess {
    return new CdktrProcess(["start", "principal"], { env, cwd });
  }

  /** Runs a command that asks one of the members. */
  cdktr(member: TestMember, args: readonly string[], options: CommandOptions = {}): Promise<Finished> {
    return cdktr(args, { cwd: member.directory, ...options, env: { ...member.env, ...options.env } });
  }

  /** What a member says of all. */
  principals(member: TestMember): Promise<PrincipalSummary[]> {
    return member.client.call("LSPRINCIPALS", {});
  }

  /** The member that leads, once one does, in the eyes of one that runs. */
  async leader(): Promise<TestMember> {
    let leader: TestMember | undefined;
    await until("somebody leads", async () => {
      const witness = this.members.find(({ process }) => !process.ended);
      if (witness === undefined) throw new Error("no principal runs");
      const all = await this.principals(witness);
      const name = all.find(({ role }) => role === "leader")?.name;
      leader = this.members.find((member) => member.name === name && !member.process.ended);
      return leader !== undefined;
    });
    if (leader === undefined) throw new Error("nobody leads");
    return leader;
  }

  /** Those that run and do not lead. */
  async followers(): Promise<TestMember[]> {
    const leader = await this.leader();
    return this.members.filter((member) => member !== leader && !member.process.ended);
  }

  /** Starts an agent that knows these members, and waits until it is registered. */
  async startAgent(members: readonly TestMember[] = this.members): Promise<CdktrProcess> {
    const [first] = members;
    if (first === undefined) throw new Error("an agent needs a member");
    const suffix = `agent-${this.agents.length + 1}`;
    const data = join(this.directory, suffix);
    const agent = new CdktrProcess(["start", "agent", "--suffix", suffix], {
      cwd: this.directory,
      env: {
        ...first.env,
        CDKTR_STORE_URL: undefined,
        CDKTR_PRINCIPALS: members.map(({ port }) => `127.0.0.1:${port}`).join(","),
        CDKTR_APP_DATA_DIRECTORY: data,
        CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "3000",
      },
    });
    this.agents.push(agent);
    await until("the agent is registered", async () => {
      const agents = await first.client.registeredAgents();
      return agents.some(({ agent_id, status }) => agent_id.endsWith(suffix) && status === "UP");
    });
    return agent;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.agents.map((agent) => agent.stop()));
    await Promise.all(this.members.map(({ client }) => client.close()));
    for (const { process } of this.members) process.kill("SIGKILL");
    await Promise.all(this.members.map(({ process }) => process.finished));
    await this.postgres[Symbol.asyncDispose]();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
