/** Members of an installation in this process, over a real PostgreSQL: who leads, and what happens at the end of a term. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Config } from "../../../src/config.ts";
import { historyHere } from "../../../src/history/in-process.ts";
import { Member } from "../../../src/principal/cluster/member.ts";
import type { MemberState } from "../../../src/principal/cluster/member-state.ts";
import { PrincipalClient } from "../../../src/protocol/client.ts";
import { KeyStore } from "../../../src/protocol/doors/key-store.ts";
import { parseStoreUrl } from "../../../src/storage/postgres/url.ts";
import { TcpProxy } from "../../chaos/proxy.ts";
import { PostgresServer } from "../../support/postgres.ts";
import { until } from "../../support/until.ts";
import {
  failure,
  LogBook,
  lastingPorts,
  TestPrincipal,
  temporaryDirectory,
  workflowText,
} from "../support.ts";

let postgres: PostgresServer;

beforeAll(async () => {
  postgres = await PostgresServer.start();
});

afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

/** A member in a directory of its own. */
class TestMember implements AsyncDisposable {
  readonly book = new LogBook();
  readonly member: Member;
  readonly client: PrincipalClient;
  readonly #directory;

  constructor(
    config: Config,
    directory: ReturnType<typeof temporaryDirectory>,
    url: string,
    listeners: boolean,
  ) {
    this.#directory = directory;
    this.member = new Member({
      config,
      history: () => historyHere(),
      store: parseStoreUrl(url),
      log: this.book.log,
      scheduler: false,
      listeners,
      storeAnswersMs: 100,
    });
    this.client = new PrincipalClient({
      host: "127.0.0.1",
      port: config.CDKTR_PRINCIPAL_PORT,
      timeoutMs: 60_000,
    });
  }

  /** @param prepare what is in its data directory before */
  static async start(
    name: string,
    url: string,
    settings: Partial<Config> = {},
    listeners = false,
    prepare: (data: string) => void = () => {},
  ): Promise<TestMember> {
    const directory = temporaryDirectory();
    const base = new TestPrincipal();
    const config = {
      ...base.config,
      ...(await lastingPorts()),
      CDKTR_PRINCIPAL_NAME: name,
      CDKTR_APP_DATA_DIRECTORY: join(directory.path, "data"),
      CDKTR_DB_PATH: ":memory:",
      CDKTR_BLOB_URL: join(postgres.url(), "blobs"),
      CDKTR_LEADER_LEASE_MS: 60_000,
      ...settings,
    };
    prepare(config.CDKTR_APP_DATA_DIRECTORY);
    const started = new TestMember(config, directory, url, listeners);
    await started.member.start();
    return started;
  }

  /** Resolves when it is in a state. */
  in(state: MemberState): Promise<void> {
    return this.member.signals.until("state", () => this.member.state === state);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.close();
    await this.member.stop();
    this.#directory[Symbol.dispose]();
  }
}

/** A database of its own, and what changes who leads behind the back of its members. */
async function installation() {
  const database = await postgres.database();
  const url = postgres.url({ database });
  const sql = (text: string) => postgres.sql(text, [], database);
  return { url, sql };
}

test("one leads, another follows it and has its state; when the leader leaves, the other one leads", async () => {
  const { url } = await installation();
  await using second = await (async () => {
    await using first = await TestMember.start("a", url);
    await first.in("LEADING");
    const other = await TestMember.start("b", url);
    await other.in("FOLLOWING");
    const { workflow_instance_id: id } = await other.client.runTask("hello", { dedupe_key: "first" });
    expect((await first.client.getRun(id)).status).toBe("PENDING");
    const listed = await other.client.call("LSPRINCIPALS", {});
    expect(listed.map(({ name, role, is_self }) => [name, role, is_self])).toEqual([
      ["a", "leader", false],
      ["b", "follower", true],
    ]);
    // The leader looks around once a second.
    const info = await until("the leader knows both", async () => {
      const said = await other.client.info();
      return said.members?.length === 2 && said;
    });
    expect([info.member, info.members?.map(({ name }) => name)]).toEqual(["b", ["a", "b"]]);
    return other;
  })();
  await second.in("LEADING");
  const [run] = await second.client.call("LSRUNS", {});
  expect(run?.status).toBe("PENDING");
});

test("the next leader goes on with on: workflow where the one before was", async () => {
  const { url } = await installation();
  using directory = temporaryDirectory();
  writeFileSync(join(directory.path, "first.yml"), workflowText());
  writeFileSync(
    join(directory.path, "second.yml"),
    workflowText({ top: "on:\n  workflow:\n    id: first\n    status: [CANCELLED]" }),
  );
  const settings = { CDKTR_WORKFLOW_DIR: directory.path };
  const endOne = async ({ client }: TestMember, key: string, runs: number) => {
    const { workflow_instance_id: id } = await client.runTask("first", { dedupe_key: key });
    await client.cancelRun(id);
    await until(`${runs} runs that follow`, async () => {
      const followers = await client.listRuns({ limit: 100, workflow_id: "second" });
      return followers.length === runs;
    });
  };
  await using second = await (async () => {
    await using first = await TestMember.start("a", url, settings, true);
    await first.in("LEADING");
    const other = await TestMember.start("b", url, settings, true);
    await other.in("FOLLOWING");
    await endOne(first, "1", 1);
    return other;
  })();
  await second.in("LEADING");
  await endOne(second, "2", 2);
  const [position] = await postgres.sql<{ file: string }>(
    "SELECT file FROM cdktr.settings WHERE kind = 'cursor'",
    [],
    new URL(url).pathname.slice(1),
  );
  expect(position?.file).toMatch(/:\d+$/);
});

test("a leader whose place was taken answers nothing more, and follows", async () => {
  const { url, sql } = await installation();
  await using only = await TestMember.start("a", url);
  await only.in("LEADING");
  await only.client.runTask("hello", { dedupe_key: "first" });
  await sql(
    "UPDATE cdktr.cluster_leadership SET epoch = epoch + 1, member_id = 'somebody else', until = clock_timestamp() + interval '1 hour', renewed_at = clock_timestamp(), backend_pid = NULL",
  );
  // It does not know yet: the commit tells it, and the request waits for somebody who leads.
  const triggered = only.client.runTask("hello", { dedupe_key: "second" });
  await only.in("FOLLOWING");
  await sql("UPDATE cdktr.cluster_leadership SET until = clock_timestamp() - interval '1 second'");
  await triggered;
  await only.in("LEADING");
  expect(only.member.leader?.epoch).toBe(3);
  expect(await only.client.call("LSRUNS", {})).toHaveLength(2);
  expect(only.book.lines.join("\n")).toContain("does not lead any more (epoch 1): another member leads");
});

describe("a principal that does not become a member", () => {
  test("because PostgreSQL refuses it", async () => {
    const { url } = await installation();
    const wrong = url.replace(/:[^:@]*@/, ":wrong@");
    expect((await failure(TestMember.start("a", wrong))).message).toContain("password authentication failed");
  });

  test("because it has other files of runs", async () => {
    const { url } = await installation();
    await using first = await TestMember.start("a", url);
    await first.in("LEADING");
    const error = await failure(TestMember.start("b", url, { CDKTR_BLOB_URL: "/elsewhere" }));
    expect(error.message).toContain("The principal a keeps the files of runs in");
    expect(await first.client.call("LSPRINCIPALS", {})).toHaveLength(1);
  });

  test("because it has a state of its own, which is found out when PostgreSQL answers, long after its start", async () => {
    const { url } = await installation();
    const proxy = await TcpProxy.to(postgres.port);
    try {
      proxy.cut();
      const there = url.replace(`:${postgres.port}/`, `:${proxy.port}/`);
      await using only = await TestMember.start("a", there, {}, false, (data) => {
        new KeyStore(data).init(0);
        writeFileSync(join(data, "state.db"), "");
      });
      proxy.heal();
      await until("it says so", () => {
        const said = only.book.lines.join("\n");
        return (
          said.includes("This principal is no member: ") &&
          said.includes("has the state of a single principal")
        );
      });
      expect(only.member.state).toBe("JOINING");
    } finally {
      proxy.close();
    }
  });
});

test("members with other workflow files than the leader's are named", async () => {
  const { url } = await installation();
  using directory = temporaryDirectory();
  writeFileSync(join(directory.path, "other.yml"), "name: other");
  await using first = await TestMember.start("a", url);
  await first.in("LEADING");
  await using second = await TestMember.start("b", url, { CDKTR_WORKFLOW_DIR: directory.path });
  await second.in("FOLLOWING");
  await until("the leader names it", async () => {
    const listed = await first.client.call("LSPRINCIPALS", {});
    return listed.find(({ name }) => name === "b")?.same_workflows === false;
  });
});
