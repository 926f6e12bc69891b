import { expect, test } from "bun:test";
import { join } from "node:path";
import { loadConfig } from "../../src/config.ts";
import { makePrivateDirectory, writePrivate } from "../../src/host/private-files.ts";
import { addressesText, connect } from "../../src/protocol/connect.ts";
import { keysDirectory } from "../../src/protocol/key-file.ts";
import { curveKeyPair } from "../../src/zmq/index.ts";
import { TestDirectory } from "../history/database-support.ts";

function configIn(root: string) {
  const { values } = loadConfig({ CDKTR_APP_DATA_DIRECTORY: root, CDKTR_PRINCIPAL_HOST: "10.0.0.5" }, {});
  return { ...values, CDKTR_KEY_FILE: "" };
}

test("host, port and timeout are those of the settings, except what the caller says", () => {
  using directory = new TestDirectory();
  const config = configIn(directory.at("data"));
  const plain = connect(config, "client");
  expect(plain.address).toBe(`10.0.0.5:${config.CDKTR_PRINCIPAL_PORT}`);
  expect(plain.curve).toBeUndefined();
  expect(connect(config, "client", { host: "::1", port: 7 }).address).toBe("[::1]:7");
});

test("a list of principals wins over host and port, which complete it", () => {
  using directory = new TestDirectory();
  const config = { ...configIn(directory.at("data")), CDKTR_PRINCIPALS: "a:7, b ,:8,[::1]:9,0.0.0.0:10" };
  const all = ["a:7", "b:5561", "10.0.0.5:8", "[::1]:9", "127.0.0.1:10"];
  expect(connect(config, "client").places.map(({ address }) => address)).toEqual(all);
  expect(addressesText(config)).toBe(all.join(", "));
  // The address that a caller knows is the only one.
  expect(connect(config, "client", { port: 11 }).addresses).toBe("10.0.0.5:11");
});

test("a principal that listens on all addresses is reached at this machine's own", () => {
  using directory = new TestDirectory();
  const config = configIn(directory.at("data"));
  for (const [bound, reached] of [
    ["*", "127.0.0.1"],
    ["0.0.0.0", "127.0.0.1"],
    ["[::]", "::1"],
  ] as const) {
    expect(connect({ ...config, CDKTR_PRINCIPAL_HOST: bound }, "agent").host).toBe(reached);
  }
});

test("agents and users connect with their own keys, and explicitly given keys take precedence", () => {
  using directory = new TestDirectory();
  const config = configIn(directory.at("data"));
  const keys = keysDirectory(config.CDKTR_APP_DATA_DIRECTORY);
  makePrivateDirectory(keys);
  const server = curveKeyPair();
  for (const name of ["agent", "client"] as const) {
    const { publicKey, secretKey } = curveKeyPair();
    const file = {
      name,
      role: name === "agent" ? "agent" : "admin",
      public_key: publicKey,
      secret_key: secretKey,
      server_key: server.publicKey,
    };
    writePrivate(join(keys, `${name}.key`), JSON.stringify(file));
  }
  expect(connect(config, "agent").curve?.name).toBe("agent");
  expect(connect(config, "client").curve?.name).toBe("client");
  const own = { serverKey: server.publicKey, ...curveKeyPair() };
  expect(connect(config, { keys: own }).curve).toEqual(own);
  expect(connect(config, { keys: undefined }).curve).toBeUndefined();
});
