/** Other users of the host, on a principal without keys. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, chownSync, mkdirSync } from "node:fs";
import { type Cluster, startCluster } from "../support/cdktr.ts";
import { COMPILED, shellWorkflow, TemporaryDirectory } from "./support/fixtures.ts";

const NOBODY = 65534;
const AS_NOBODY = ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups", "--"];

/** Connects like a ZeroMQ peer without keys and prints what it receives, until the other side closes the connection or is ready. */
const GREET = `const [port, type] = process.argv.slice(-2);
const { Buffer } = require("node:buffer");
const socket = require("node:net").connect(Number(port), "127.0.0.1");
const length = Buffer.alloc(4);
length.writeUInt32BE(type.length);
const property = Buffer.concat([Buffer.from("\x05READY\x0bSocket-Type"), length, Buffer.from(type)]);
const mechanism = Buffer.alloc(52);
mechanism.write("NULL");
socket.write(Buffer.concat([Buffer.from("ff00000000000000007f0300", "hex"), mechanism]));
socket.write(Buffer.concat([Buffer.from([4, property.length]), property]));
let data = Buffer.alloc(0);
const end = (what) => { console.log(what); process.exit(); };
socket.on("data", (more) => { data = Buffer.concat([data, more]); if (data.includes("READY")) end("admitted"); });
socket.on("error", () => end("refused"));
socket.on("close", () => end("refused"));`;

describe.skipIf(process.getuid?.() !== 0 || !COMPILED)("without keys", () => {
  const directory = new TemporaryDirectory();
  const home = directory.path("home");
  let cluster: Cluster;
  const asNobody = { prefix: AS_NOBODY, cwd: "/", env: { CDKTR_CACHE_DIRECTORY: home, HOME: home } };
  const greet = async (prefix: readonly string[], port: number, type: string) => {
    const child = Bun.spawn([...prefix, process.execPath, "-e", GREET, `${port}`, type], {
      stdout: "pipe",
      cwd: "/",
    });
    return (await new Response(child.stdout).text()).trim();
  };

  beforeAll(async () => {
    mkdirSync(home);
    chownSync(home, NOBODY, NOBODY);
    chmodSync(directory.path("."), 0o755);
    cluster = await startCluster({ workflows: { "hello.yml": shellWorkflow({ a: { sh: "id -u" } }) } });
  });
  afterAll(async () => {
    await cluster.stop();
    directory[Symbol.dispose]();
  });

  test("another user is told why the principal does not serve it, and gets into none of its ports", async () => {
    const refused = await cluster.cdktr(["run", "hello"], asNobody);
    expect(refused.code).toBe(4);
    expect(refused.stderr).toContain(
      `serves only processes of the user root; this one belongs to user id ${NOBODY}`,
    );
    expect(refused.stderr).toContain("--insecure");
    expect(await cluster.client.listRuns({ limit: 10 })).toEqual([]);
    const { listening, publishing } = cluster.ports;
    expect(await greet(AS_NOBODY, listening, "PUSH")).toBe("refused");
    expect(await greet(AS_NOBODY, publishing, "SUB")).toBe("refused");
    expect(await greet([], listening, "PUSH")).toBe("admitted");
    expect(await greet([], publishing, "SUB")).toBe("admitted");
    await cluster.principal?.waitFor(/Refused a process of user id 65534 \(logs-publishing\)/);
  });

  test("--insecure serves every user of the host", async () => {
    await cluster.principal?.stop();
    await cluster.startPrincipal(["--insecure"]);
    const served = await cluster.cdktr(["run", "hello"], asNobody);
    expect(served.code).toBe(0);
  });

  test("a principal of an ordinary user serves root", async () => {
    await cluster.principal?.stop();
    const data = directory.path("data");
    mkdirSync(data);
    chownSync(data, NOBODY, NOBODY);
    chmodSync(cluster.directory, 0o755);
    await cluster.startPrincipal(["--data-dir", data, "--db-path", `${data}/app.db`], asNobody);
    expect((await cluster.cdktr(["run", "hello"])).code).toBe(0);
    expect((await cluster.cdktr(["run", "hello"], asNobody)).code).toBe(0);
  });
});
