import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../../src/clock.ts";
import { seal, unseal } from "../../../src/principal/secrets/seal.ts";
import { SecretStore } from "../../../src/principal/secrets/secret-store.ts";
import { silent, TestStores } from "../../storage/operational-support.ts";

const KEY = new Uint8Array(32).fill(7);

describe("a seal", () => {
  test("opens with its key and for its name only", () => {
    for (const secret of ["pass", "çødé 漢字 🎉", "x".repeat(64 * 1024)]) {
      const sealed = seal(KEY, "name", secret);
      expect(unseal(KEY, "name", sealed)).toBe(secret);
      expect(unseal(KEY, "other", sealed)).toBeNull();
      expect(unseal(new Uint8Array(32), "name", sealed)).toBeNull();
      expect(Buffer.from(sealed).includes(secret)).toBe(false);
      // The same secret looks different each time.
      expect(seal(KEY, "name", secret)).not.toEqual(sealed);
    }
  });

  test("of which any byte was changed or lost opens no more", () => {
    const sealed = seal(KEY, "name", "hunter2");
    for (let at = 0; at < sealed.length; at++) {
      const changed = Uint8Array.from(sealed);
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(unseal(KEY, "name", changed)).toBeNull();
      expect(unseal(KEY, "name", sealed.subarray(0, at))).toBeNull();
    }
  });
});

/** A store of secrets in a directory of its own. */
async function secretStore(stores: TestStores, isOpen = false) {
  const store = await stores.open();
  const keyFile = join(stores.directory, "secrets.key");
  const make = () => new SecretStore({ store, keyFile, isOpen, clock: systemClock, log: silent });
  const given = (secrets: SecretStore, ...names: string[]) => store.read((tx) => secrets.given(tx, names));
  return { store, keyFile, make, given, secrets: make() };
}

describe("the principal's store", () => {
  test("gives what was set, lists names only, and has neither secret nor key in its state", async () => {
    await using stores = new TestStores();
    const { secrets, keyFile, make, given } = await secretStore(stores);
    expect(existsSync(keyFile)).toBe(false);
    await secrets.set("db", "hunter2-one", "ada");
    await secrets.set("api", "hunter2-two", null);
    await secrets.set("db", "hunter2-three", "bob");
    expect(statSync(keyFile).mode & 0o777).toBe(0o600);
    expect(await secrets.list()).toMatchObject([
      { name: "api", actor: null },
      { name: "db", actor: "bob" },
    ]);
    expect(JSON.stringify(await secrets.list())).not.toContain("hunter2");
    // Also after a restart.
    for (const each of [secrets, make()])
      expect(await given(each, "db", "api", "none")).toEqual({
        db: { value: "hunter2-three" },
        api: { value: "hunter2-two" },
      });
    const key = readFileSync(keyFile, "utf8").trim();
    for (const file of readdirSync(join(stores.directory, "data"))) {
      const bytes = readFileSync(join(stores.directory, "data", file));
      for (const secret of ["hunter2", key, Buffer.from(key, "base64")])
        expect({ file, found: bytes.includes(secret) }).toEqual({ file, found: false });
    }
    await secrets.remove("db", "ada");
    await secrets.remove("db", "ada");
    expect(await given(secrets, "db")).toEqual({});
  });

  test("without its key says so, and makes no other one as long as there is something that only the lost one opens", async () => {
    await using stores = new TestStores();
    const { secrets, keyFile, make, given } = await secretStore(stores);
    await secrets.set("db", "hunter2", null);
    renameSync(keyFile, `${keyFile}.away`);
    const restarted = make();
    expect(await given(restarted, "db")).toEqual({
      db: {
        error: `The key of the secrets, ${keyFile}, is missing`,
        hint: expect.stringContaining("Put it back"),
      },
    });
    expect(restarted.set("api", "hunter3", null)).rejects.toThrow("is missing");
    // Put back, without another restart.
    renameSync(`${keyFile}.away`, keyFile);
    expect(await given(restarted, "db")).toEqual({ db: { value: "hunter2" } });

    writeFileSync(keyFile, `${Buffer.from(KEY).toString("base64")}\n`);
    expect(await given(make(), "db")).toEqual({
      db: {
        error: `it was sealed with another key than that in ${keyFile}`,
        hint: expect.stringContaining("cdktr secrets set db"),
      },
    });
    writeFileSync(keyFile, "short\n");
    expect(await given(make(), "db")).toMatchObject({
      db: { error: `${keyFile} does not hold a key of secrets` },
    });
    chmodSync(keyFile, 0o644);
    expect(await given(make(), "db")).toMatchObject({
      db: {
        error: `${keyFile} holds secrets, but others than its owner have access to it (0644)`,
        hint: `Run: chmod 600 ${keyFile}`,
      },
    });
  });

  test("whose only secret is replaced makes a new key, if the old one is lost", async () => {
    await using stores = new TestStores();
    const { secrets, keyFile, make, given } = await secretStore(stores);
    await secrets.set("db", "hunter2", null);
    renameSync(keyFile, `${keyFile}.away`);
    const restarted = make();
    await restarted.set("db", "hunter3", null);
    expect(await given(restarted, "db")).toEqual({ db: { value: "hunter3" } });
  });

  test("of a principal that serves everyone takes nothing and gives nothing", async () => {
    await using stores = new TestStores();
    const { secrets, store, keyFile, given } = await secretStore(stores);
    await secrets.set("db", "hunter2", null);
    const open = new SecretStore({ store, keyFile, isOpen: true, clock: systemClock, log: silent });
    expect(await given(open, "db")).toEqual({});
    expect(open.set("api", "hunter3", null)).rejects.toThrow(
      "This principal serves everyone without keys (--insecure), so it takes no secrets.",
    );
  });
});
