/** What a member is made of: its view of the others, the clock that all share, the digest of its workflow files. */
import { describe, expect, test } from "bun:test";
import { rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PROTOCOL } from "../../../src/contract/version.ts";
import { DirectoryDigest } from "../../../src/principal/cluster/directory-digest.ts";
import { Latencies } from "../../../src/principal/cluster/latencies.ts";
import { MemberLife } from "../../../src/principal/cluster/member-state.ts";
import { type MemberNews, MembersView } from "../../../src/principal/cluster/members-view.ts";
import { historyPlace, refuseOther } from "../../../src/principal/cluster/refusals.ts";
import { ServerClock } from "../../../src/principal/cluster/server-clock.ts";
import type { ClusterSight, MemberRow } from "../../../src/storage/postgres/leadership.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { TestPrincipal, temporaryDirectory } from "../support.ts";

function row(name: string, news: Partial<MemberNews> = {}, more: Partial<MemberRow> = {}): MemberRow {
  const data: MemberNews = {
    state: "FOLLOWING",
    since_ms: 1,
    protocol: PROTOCOL,
    lag: { commits: 0, ms: 0 },
    store: null,
    problem: null,
    blobs: "s3://bucket",
    history: "memory",
    ...news,
  };
  return {
    member_id: `id of ${name}`,
    name,
    host: name,
    api_port: 5561,
    logs_listening_port: 5562,
    logs_publishing_port: 5563,
    version: "1.0.0",
    protocol: PROTOCOL.version,
    started_at_ms: 1,
    silent_ms: 0,
    applied_seq: 1,
    workflows_digest: "same",
    is_stopping: false,
    data: { ...data },
    ...more,
  };
}

function sight(members: readonly MemberRow[], leader: string | null, epoch = 1): ClusterSight {
  return {
    leader: leader === null ? null : { member_id: `id of ${leader}`, epoch, since_ms: 1, left_ms: 1000 },
    isFree: leader === null,
    epoch,
    commit_seq: 1,
    schema_version: 1,
    members,
    clockOffsetMs: 0,
    clockErrorMs: 0,
  };
}

describe("the view of the others", () => {
  const own = row("b");
  const view = () => new MembersView(own);

  test("tells a change of the leader, of its term and of its place, and nothing else", () => {
    const seen = view();
    const told: (string | null)[] = [];
    seen.signals.on("leader", () => told.push(seen.leader()?.name ?? null));
    for (const leader of ["a", "a", null, null, "b"]) seen.saw(sight([row("a"), own], leader));
    expect(told).toEqual(["a", null, "b"]);
    seen.saw(sight([row("a"), own], "b", 2));
    seen.saw(sight([row("a"), { ...own, api_port: 1 }], "b", 2));
    expect(told).toHaveLength(5);
  });

  test("lists all by name, with what they are", () => {
    const seen = view();
    seen.saw(
      sight(
        [
          row("d", { state: "JOINING", problem: "why" }),
          row("c", {}, { silent_ms: 60_000 }),
          row("a", { state: "LEADING" }, { workflows_digest: "other" }),
        ],
        "a",
        7,
      ),
    );
    const listed = seen.summaries(own);
    expect(listed.map(({ name, role, epoch, is_self }) => [name, role, epoch, is_self])).toEqual([
      ["a", "leader", 7, false],
      ["b", "follower", null, true],
      ["c", "silent", null, false],
      ["d", "joining", null, false],
    ]);
    expect(listed.map(({ same_workflows }) => same_workflows)).toEqual([true, false, false, false]);
    expect(listed[3]?.problem).toBe("why");
  });

  test("sends nobody to members that stop, or were not heard of", () => {
    const seen = view();
    const stopping = row("c", {}, { is_stopping: true });
    seen.saw(sight([row("a"), own, stopping, row("d", {}, { silent_ms: 60_000 })], "a"));
    expect(seen.alive().map(({ name }) => name)).toEqual(["a", "b"]);
  });
});

test("a late claim of a term does nothing once the member stops", () => {
  const life = new MemberLife();
  expect(["FOLLOWING", "STOPPED", "TAKING_OVER"].map((state) => life.enter(state as never))).toEqual([
    true,
    true,
    false,
  ]);
});

test("the clock of the server goes on when that of the host is changed, and is not moved by what may be inexact", () => {
  const host = new ManualClock();
  const clock = new ServerClock(host);
  const before = host.now();
  clock.compare(5000, 10);
  expect(clock.now()).toBe(before + 5000);
  clock.compare(5009, 10);
  expect(clock.now()).toBe(before + 5000);
  clock.compare(6000, 10);
  expect(clock.now()).toBe(before + 6000);
});

test("the digest of a directory changes with each file, and back", async () => {
  using directory = temporaryDirectory();
  const file = join(directory.path, "a.yml");
  writeFileSync(file, "name: a");
  const digest = new DirectoryDigest(directory.path);
  const first = await digest.take();
  expect(await digest.take()).toBe(first);
  writeFileSync(join(directory.path, "notes.txt"), "not a workflow");
  expect(await digest.take()).toBe(first);
  writeFileSync(join(directory.path, "b.yml"), "name: b");
  const second = await digest.take();
  expect(second).not.toBe(first);
  // Another digest of the same files.
  expect(await new DirectoryDigest(directory.path).take()).toBe(second);
  utimesSync(file, 1, 1);
  expect(await digest.take()).toBe(second);
  rmSync(join(directory.path, "b.yml"));
  expect(await digest.take()).toBe(first);
  expect(await new DirectoryDigest(join(directory.path, "missing")).take()).toBeNull();
});

test("the median and the 99th percentile of the latest", () => {
  const latencies = new Latencies();
  expect(latencies.summary).toBeNull();
  for (let ms = 1; ms <= 1000; ms++) latencies.add(ms);
  expect(latencies.summary).toEqual({ p50_ms: 750, p99_ms: 995 });
});

describe("a principal that does not fit to the others", () => {
  const { config } = new TestPrincipal();
  const of = (blobs: string, directory = config.CDKTR_APP_DATA_DIRECTORY) => ({
    ...config,
    CDKTR_BLOB_URL: blobs,
    CDKTR_DB_PATH: ":memory:",
    CDKTR_APP_DATA_DIRECTORY: directory,
  });

  test("because it has other files of runs", () => {
    const others = sight([row("a"), row("b")], "a");
    expect(() => refuseOther(others, of("/var/lib/blobs"), "id of b")).toThrow(
      "The principal a keeps the files of runs in s3://bucket, this one in /var/lib/blobs: whoever leads needs all of them.",
    );
    expect(() => refuseOther(others, of("s3://bucket"), "id of b")).not.toThrow();
    const gone = sight([row("a", {}, { silent_ms: 60_000 })], null);
    expect(() => refuseOther(gone, of("/var/lib/blobs"), "id of b")).not.toThrow();
  });

  test("because it has another history", () => {
    const lake = {
      ...of("s3://bucket"),
      CDKTR_HISTORY_URL: "ducklake:postgres://me:s3cret@db/cdktr",
      CDKTR_HISTORY_DATA: "/srv/lake",
    };
    expect(() => refuseOther(sight([row("a")], "a"), lake, "id of b")).toThrow(
      "The principal a keeps the history in memory, this one in the lake of ducklake:postgres://me:…@db/cdktr in /srv/lake: when another one leads, runs and logs of before would be missing.",
    );
    const same = sight([row("a", { history: historyPlace(lake) })], "a");
    expect(() => refuseOther(same, lake, "id of b")).not.toThrow();
    const file = { ...lake, CDKTR_HISTORY_URL: "", CDKTR_DB_PATH: "/var/lib/cdktr/app.db" };
    expect(() => refuseOther(same, file, "id of b")).toThrow(
      "this one in a file on its host, /var/lib/cdktr/app.db",
    );
  });

  test("because it has a state of its own, and the store has none", () => {
    using directory = temporaryDirectory();
    writeFileSync(join(directory.path, "state.db"), "");
    const own = of("s3://bucket", directory.path);
    expect(() => refuseOther({ ...sight([], null), schema_version: 0 }, own, "b")).toThrow(
      `${directory.path} has the state of a single principal, and the database of CDKTR_STORE_URL has none: its runs would be missing.`,
    );
    expect(() => refuseOther(sight([], null), own, "b")).not.toThrow();
  });

  test("because the state was moved away", () => {
    const moved = {
      ...sight([], null),
      leader: { member_id: "moved to db1:/srv", epoch: 1, since_ms: 1, left_ms: 1 },
    };
    expect(() => refuseOther(moved, of("s3://bucket"), "b")).toThrow(
      "The state is not in PostgreSQL any more: it was moved to one principal, db1:/srv.",
    );
  });
});
