/** A principal with keys, and the errors that refused clients get. */
import { join } from "node:path";
import type { ClientRole } from "../../src/contract/roles.ts";
import { type CurveClientKeys, PrincipalClient } from "../../src/protocol/client.ts";
import { KeyStore } from "../../src/protocol/doors/key-store.ts";
import { curveKeysOf, readKeyFile } from "../../src/protocol/key-file.ts";
import { FakeAgent, TestPrincipal } from "./support.ts";

/** A principal with keys, and clients that have them. */
export class Secured implements AsyncDisposable {
  readonly test: TestPrincipal;
  readonly store: KeyStore;
  readonly #clients: PrincipalClient[] = [];

  constructor(test: TestPrincipal) {
    this.test = test;
    this.store = new KeyStore(test.config.CDKTR_APP_DATA_DIRECTORY);
  }

  static async start(): Promise<Secured> {
    const secured = new Secured(new TestPrincipal());
    secured.store.init(Date.now());
    await secured.test.start();
    return secured;
  }

  keys(name: string): CurveClientKeys {
    return curveKeysOf(readKeyFile(join(this.store.directory, `${name}.key`)));
  }

  /** Makes a key; resolves when the principal knows it. */
  async add(name: string, role: ClientRole): Promise<CurveClientKeys> {
    this.store.add(name, role, Date.now());
    await this.test.book.waitFor(new RegExp(`key ${name} \\(${role}\\) is now known`));
    return this.keys(name);
  }

  async revoke(name: string): Promise<void> {
    this.store.revoke(name, Date.now());
    await this.test.book.waitFor(new RegExp(`Revoked: ${name}`));
  }

  /** An agent that has registered. */
  async agent(curve: CurveClientKeys, id: string): Promise<FakeAgent> {
    const agent = new FakeAgent(this.client(curve), id);
    await agent.register();
    return agent;
  }

  async restart(): Promise<void> {
    for (const client of this.#clients.splice(0)) await client.close();
    await this.test.stop();
    await this.test.start();
  }

  client(curve: CurveClientKeys | undefined, timeoutMs = 10_000): PrincipalClient {
    const { api: port } = this.test.ports;
    const client = new PrincipalClient({
      host: "127.0.0.1",
      port,
      timeoutMs,
      ...(curve === undefined ? {} : { curve }),
    });
    this.#clients.push(client);
    return client;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) await client.close();
    await this.test[Symbol.asyncDispose]();
  }
}

/** The message of what a promise is rejected with. */
export async function refusal(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "it was not refused",
    (error) => error.message,
  );
}
