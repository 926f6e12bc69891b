import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../../src/clock.ts";
import { type FileStore, SharedKeys, type StoredFile } from "../../../src/principal/cluster/shared-keys.ts";
import { KeyStore } from "../../../src/protocol/doors/key-store.ts";
import type { Content } from "../../../src/protocol/doors/merge-key-files.ts";
import { SharedKeyFiles } from "../../../src/protocol/doors/shared-key-files.ts";
import { curveKeyPair } from "../../../src/zmq/index.ts";
import { LONG } from "../../support/long.ts";
import { randomNumbers } from "../../workflow/support.ts";
import { LogBook, temporaryDirectory } from "../support.ts";

setDefaultTimeout(60_000);

const SEEDS = LONG ? 100 : 4;

/** The store's side of the contract, in memory. */
class Store implements FileStore {
  number = 0;
  readonly files = new Map<string, { content: Content; number: number }>();
  /** Thrown by the next calls, if any. */
  failure: Error | undefined;

  async changesAfter(after: number) {
    if (this.failure !== undefined) throw this.failure;
    const files = [...this.files].flatMap(([path, { content, number }]) =>
      number > after ? [{ path, content }] : [],
    );
    return { number: this.number, files };
  }

  async change(number: number, files: readonly StoredFile[]): Promise<number | undefined> {
    if (this.failure !== undefined) throw this.failure;
    if (number !== this.number) return undefined;
    this.number++;
    for (const { path, content } of files) this.files.set(path, { content, number: this.number });
    return this.number;
  }
}

/** A host with a data directory. */
class Host implements AsyncDisposable {
  readonly #directory = temporaryDirectory();
  readonly data = this.#directory.path;
  readonly keys = new KeyStore(this.data);
  readonly book = new LogBook();
  readonly shared: SharedKeys;

  constructor(store: FileStore) {
    this.shared = this.sharing(store);
  }

  sharing(store: FileStore): SharedKeys {
    return new SharedKeys({
      files: new SharedKeyFiles(this.data),
      store,
      secretsKeyFile: join(this.data, "secrets.key"),
      clock: systemClock,
      log: this.book.log,
    });
  }

  path(path: string): string {
    return join(this.keys.directory, path);
  }

  text(path: string): string | null {
    return existsSync(this.path(path)) ? readFileSync(this.path(path), "utf8") : null;
  }

  /** Everything that members share, by path. */
  contents(): Record<string, string | null> {
    const names = ["", "clients", "tokens"].flatMap((directory) =>
      existsSync(this.path(directory))
        ? readdirSync(this.path(directory)).map((name) => join(directory, name))
        : [],
    );
    const shared = names.filter((name) => /^(principal\.key|(clients|tokens)\/[^.].*)$/.test(name)).sort();
    return Object.fromEntries(shared.map((name) => [name, this.text(name)]));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shared.stop();
    this.#directory[Symbol.dispose]();
  }
}

function secretsKey(host: Host, text: string): void {
  writeFileSync(join(host.data, "secrets.key"), text, { mode: 0o600 });
}

const revokedAt = (host: Host, name: string) =>
  JSON.parse(host.text(`clients/${name}.json`) ?? "{}").revoked_at_ms;

describe("members", () => {
  test("take the keys of the first one, and hear of what changes on the disk of any", async () => {
    const store = new Store();
    await using a = new Host(store);
    await using b = new Host(store);
    await using c = new Host(store);
    a.keys.init(1000);
    for (const { shared } of [a, b, c]) await shared.start();
    expect(b.contents()).toEqual(a.contents());
    expect(b.keys.serverKeys()).toEqual(a.keys.serverKeys());
    // Without it no command on that host could reach its member.
    expect(c.text("admin.key")).toBe(a.text("admin.key"));
    for (const path of ["principal.key", "admin.key", "clients/admin.json", "shared.json"])
      expect(statSync(b.path(path)).mode & 0o777).toBe(0o600);

    b.keys.add("worker", "agent", 2000);
    const { id } = b.keys.createToken({ role: "agent", ttlMs: 1e12, uses: 1, nowMs: 2000 });
    await c.shared.sync();
    expect(c.keys.clients(() => {}).map(({ name }) => name)).toEqual(["admin"]);
    await b.shared.sync();
    for (const { shared } of [a, c]) await shared.sync();
    c.keys.revoke("worker", 3000);
    c.keys.revokeToken(id, 3000);
    for (const { shared } of [c, a, b]) await shared.sync();
    expect(a.contents()).toEqual(c.contents());
    expect(b.contents()).toEqual(c.contents());
    expect(revokedAt(a, "worker")).toBe(3000);
    // The key itself is its holder's.
    expect(a.text("worker.key")).toBeNull();
  });

  test("hear of each other without being asked", async () => {
    const store = new Store();
    await using a = new Host(store);
    await using b = new Host(store);
    a.keys.init(1000);
    for (const { shared } of [a, b]) await shared.start();
    const isRevoked = Promise.withResolvers<void>();
    b.shared.signals.on("agreed", () => {
      if (revokedAt(b, "admin") === 2000) isRevoked.resolve();
    });
    a.keys.revoke("admin", 2000);
    await isRevoked.promise;
  });

  test("do not mix two installations", async () => {
    const store = new Store();
    await using a = new Host(store);
    await using b = new Host(store);
    a.keys.init(1000);
    b.keys.init(1000);
    const own = b.contents();
    await a.shared.start();
    await expect(b.shared.start()).rejects.toThrow(
      /keys holds the keys of another installation than the store does/,
    );
    await b.shared.stop();
    expect(b.contents()).toEqual(own);
    expect(store.number).toBe(1);
  });

  test("without keys share nothing and make no directory; keys that are made later need a restart", async () => {
    const store = new Store();
    await using a = new Host(store);
    await using b = new Host(store);
    for (const { shared } of [a, b]) await shared.start();
    expect(existsSync(a.keys.directory)).toBe(false);
    a.keys.init(1000);
    for (const { shared } of [a, b]) await shared.sync();
    expect(b.contents()).toEqual(a.contents());
    expect(b.book.count(/warn.*Restart this one/)).toBe(1);
  });

  test("that cannot reach the store keep what they have, say what waits, and send it later", async () => {
    const store = new Store();
    await using a = new Host(store);
    await using b = new Host(store);
    a.keys.init(1000);
    for (const { shared } of [a, b]) await shared.start();
    store.failure = new Error("no way to the store");
    a.keys.revoke("admin", 2000);
    await a.book.waitFor(
      /\(clients\/admin\.json\) has not reached the other members yet: no way to the store/,
    );
    await expect(a.shared.sync()).rejects.toThrow("no way to the store");
    store.failure = undefined;
    await a.shared.sync();
    await b.shared.sync();
    expect(revokedAt(b, "admin")).toBe(2000);
  });

  test("that lose their directory take everything again, and remove nothing from others", async () => {
    const store = new Store();
    await using a = new Host(store);
    await using b = new Host(store);
    a.keys.init(1000);
    for (const { shared } of [a, b]) await shared.start();
    const all = a.contents();
    rmSync(b.keys.directory, { recursive: true });
    for (const { shared } of [b, a]) await shared.sync();
    expect([a.contents(), b.contents()]).toEqual([all, all]);
  });

  test("mend a damaged file and one that others can read, and pass neither on", async () => {
    const store = new Store();
    await using a = new Host(store);
    a.keys.init(1000);
    a.keys.add("bob", "client", 1000);
    await a.shared.start();
    const all = a.contents();
    writeFileSync(a.path("clients/admin.json"), '{"name": "ad');
    chmodSync(a.path("clients/bob.json"), 0o644);
    await a.shared.sync();
    expect(a.contents()).toEqual(all);
    expect(statSync(a.path("clients/bob.json")).mode & 0o777).toBe(0o600);
    expect(store.number).toBe(1);
  });

  test("write nothing but key files, whatever the store says", async () => {
    const store = new Store();
    await using a = new Host(store);
    a.keys.init(1000);
    await a.shared.start();
    const paths = [
      "../state.db",
      "clients/../../evil.json",
      "/etc/passwd",
      "clients/.hidden.json",
      "extra.key",
    ];
    await store.change(store.number, [
      ...paths.map((path) => ({ path, content: "{}" })),
      { path: "clients/eve.json", content: '{"name": "eve"}' },
      { path: "clients/admin.json", content: "x".repeat(2_000_000) },
    ]);
    const all = a.contents();
    await a.shared.sync();
    expect(a.contents()).toEqual(all);
    expect(readdirSync(a.data)).toEqual(["keys"]);
    // Nor is what it does not understand, of a newer cdktr, replaced.
    expect(store.files.get("clients/eve.json")?.content).toBe('{"name": "eve"}');
  });

  test("let nobody in again: neither an old copy of a file nor a removal undoes a revocation", async () => {
    const store = new Store();
    await using a = new Host(store);
    await using b = new Host(store);
    a.keys.init(1000);
    for (const name of ["bob", "carol"]) a.keys.add(name, "client", 1000);
    const sharings = [a, b].map((host) => host.sharing(store));
    const all = async () => {
      for (let round = 0; round < 2; round++) for (const sharing of sharings) await sharing.sync();
    };
    await all();
    const old = b.text("clients/bob.json") ?? "";
    a.keys.revoke("bob", 2000);
    await all();
    writeFileSync(b.path("clients/bob.json"), old);
    await all();
    expect([revokedAt(a, "bob"), revokedAt(b, "bob")]).toEqual([2000, 2000]);

    // At once, and whoever is first.
    a.keys.revoke("carol", 3000);
    rmSync(b.path("clients/carol.json"));
    await sharings[1]?.sync();
    await all();
    expect([revokedAt(a, "carol"), revokedAt(b, "carol")]).toEqual([3000, 3000]);
    rmSync(b.path("clients/carol.json"));
    await all();
    expect(a.text("clients/carol.json")).toBeNull();
  });

  test("join again when the store was replaced by an older copy: nothing is let in again", async () => {
    const store = new Store();
    await using a = new Host(store);
    a.keys.init(1000);
    a.keys.add("bob", "client", 1000);
    await a.shared.start();
    const older = new Map(store.files);
    a.keys.add("carol", "client", 2000);
    a.keys.revoke("bob", 2000);
    await a.shared.sync();
    store.number = 1;
    store.files.clear();
    for (const [path, file] of older) store.files.set(path, file);
    await using b = new Host(store);
    await a.shared.sync();
    await b.shared.start();
    expect(revokedAt(b, "bob")).toBe(2000);
    expect(b.text("clients/carol.json")).not.toBeNull();
  });
});

describe("the key of the secrets", () => {
  test("does not leave its host: a member without it, or with another, does not join", async () => {
    const store = new Store();
    await using a = new Host(store);
    await using b = new Host(store);
    secretsKey(a, "b25l\n");
    await a.shared.start();
    for (const { content } of store.files.values()) expect(content).not.toContain("b25l");
    await expect(b.shared.start()).rejects.toThrow(
      `The installation has secrets, and this member lacks their key: there is no ${join(b.data, "secrets.key")}.`,
    );
    await b.shared.stop();
    secretsKey(b, "YW5vdGhlcg==\n");
    await expect(b.shared.start()).rejects.toThrow(
      /secrets\.key is not the key of the installation's secrets/,
    );
    await b.shared.stop();
    secretsKey(b, "b25l\n");
    await b.shared.start();
  });

  test("that is made while others run: they say that they lack it", async () => {
    const store = new Store();
    await using a = new Host(store);
    await using b = new Host(store);
    for (const { shared } of [a, b]) await shared.start();
    secretsKey(a, "b25l\n");
    await b.book.waitFor(/lacks their key.*Copy the file/);
    for (let looks = 0; looks < 2; looks++) await b.shared.signals.next("agreed");
    expect(b.book.count(/lacks their key/)).toBe(1);
    expect([a.shared.problem, b.shared.problem]).toEqual([null, expect.stringContaining("lacks their key")]);
  });
});

test("three hosts, whatever they do at once and wherever one dies: they agree in the end, and no revocation is lost", async () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const random = randomNumbers(seed);
    const pick = (most: number) => Math.floor(random() * most);
    const store = new Store();
    await using a = new Host(store);
    await using b = new Host(store);
    await using c = new Host(store);
    const hosts = [a, b, c];
    a.keys.init(1);
    // Each look is one of its own: the service would look by itself at times that the test does not choose.
    const sharings = hosts.map((host) => host.sharing(store));
    const revoked = new Set<string>();
    const old = new Map<string, string>();
    const one = (names: readonly string[]) => names[pick(names.length)] ?? "";
    for (let step = 1; step <= 50; step++) {
      const index = pick(3);
      const host = hosts[index] as Host;
      const sharing = sharings[index] as SharedKeys;
      const deeds: (() => unknown)[] = [
        () => {
          const name = `k${step}`;
          host.keys.add(name, "client", step);
          old.set(name, host.text(`clients/${name}.json`) ?? "");
        },
        () => revoked.add(host.keys.revoke(one([...old.keys()].slice(-3)), step).public_key),
        // From a backup of the directory. A revocation that only this host has known is lost with that.
        () => {
          const name = one([...old.keys()].slice(-3));
          const stored = store.files.get(`clients/${name}.json`)?.content ?? "";
          if (host.text(`clients/${name}.json`) !== null && /"revoked_at_ms": \d/.test(stored))
            writeFileSync(host.path(`clients/${name}.json`), old.get(name) ?? "");
        },
        () => host.keys.createToken({ role: "agent", ttlMs: 1e12, uses: 3, nowMs: step }),
        () => {
          const [token] = host.keys.tokens(step, () => {});
          if (token !== undefined) host.keys.join(token.public_key, curveKeyPair().publicKey, "host", step);
        },
        () => {
          const [token] = host.keys.tokens(step, () => {});
          if (token !== undefined) host.keys.revokeToken(token.id, step);
        },
        () => rmSync(host.path("shared.json"), { force: true }),
      ];
      try {
        deeds[pick(deeds.length)]?.();
      } catch {
        // There is no such key, it is revoked already, or there are no keys yet.
      }
      // It dies before the store has it, or after.
      const dies = pick(5);
      if (dies === 0) store.failure = new Error("cut off");
      const change = store.change.bind(store);
      if (dies === 1)
        store.change = async (number, files) => {
          await change(number, files);
          throw new Error("died");
        };
      // Another one is faster.
      if (dies === 2)
        store.change = async (number, files) => {
          store.change = change;
          await sharings[(index + 1) % 3]?.sync();
          return change(number, files);
        };
      if (pick(3) > 0) await sharing.sync().catch(() => {});
      store.failure = undefined;
      store.change = change;
    }
    for (let round = 0; round < 2; round++) for (const sharing of sharings) await sharing.sync();
    const [first, ...others] = hosts.map((host) => host.contents());
    for (const other of others) expect(other).toEqual(first as typeof other);
    const letIn = a.keys.clients(() => {}).filter(({ revoked_at_ms }) => revoked_at_ms === null);
    expect(
      letIn.filter(({ public_key }) => revoked.has(public_key)).map(({ name }) => `seed ${seed}: ${name}`),
    ).toEqual([]);
  }
});
