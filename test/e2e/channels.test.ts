/** Channels as an operator has them: `cdktr alerts test`, from the executable to a real mail server, and what it says when that fails. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Cluster, startCluster } from "../support/cdktr.ts";
import { SmtpServer } from "../support/smtp-server.ts";
import { until } from "./support/fixtures.ts";

let cluster: Cluster;
let server: SmtpServer;

beforeAll(async () => {
  cluster = await startCluster();
  const at = (name: string) => join(cluster.directory, name);
  const made = Bun.spawnSync(
    [
      ...["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"],
      ...["-keyout", "mail.key", "-out", "mail.pem", "-days", "2", "-subj", "/CN=localhost"],
      ...["-addext", "subjectAltName=DNS:localhost"],
    ],
    { cwd: cluster.directory, stderr: "pipe" },
  );
  expect(made.exitCode, made.stderr.toString()).toBe(0);
  server = await SmtpServer.start({
    tls: "starttls",
    certificate: at("mail.pem"),
    key: at("mail.key"),
    login: ["cdktr", "correct horse"],
  });
  const smtp = `host: localhost, port: ${server.port}, tls: starttls, user: cdktr`;
  cluster.writeWorkflow(
    "_cdktr.yml",
    `channels:
  ops: {mail: {to: ops@example.org, smtp: {${smtp}, password: {store: smtp}, ca_file: ${at("mail.pem")}}}}
  stranger: {mail: {to: ops@example.org, smtp: {${smtp}, password: {store: smtp}}}}
  page: {command: [sh, -c, 'echo "no carrier" >&2; exit 3']}
`,
  );
}, 120_000);
afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
  await cluster?.stop();
});

const tried = (...args: string[]) => cluster.cdktr(["alerts", "test", ...args]);

test("a mail arrives over TLS, with a password of the principal's store", async () => {
  await until(
    "the channels are known",
    async () => !(await tried("ops")).stderr.includes("There is no channel"),
  );
  expect(await tried("ops")).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('the principal has no secret "smtp"'),
  });
  const set = await cluster.cdktr(["secrets", "set", "smtp"], { stdin: "correct horse\n" });
  expect(set.code).toBe(0);
  expect(await tried("ops")).toMatchObject({
    code: 0,
    stderr: expect.stringMatching(/^Channel ops \(mail\) took the message in \S+\.$/m),
  });
  expect(await server.received(1)).toMatchObject([
    {
      recipients: ["ops@example.org"],
      tls: true,
      login: "cdktr",
      text: expect.stringContaining("test of channel ops: if you read this, alerts arrive"),
    },
  ]);
});

test("what fails says why, and what to do", async () => {
  const stranger = await tried("stranger");
  expect(stranger.code).toBe(1);
  expect(stranger.stderr).toContain("The certificate of localhost is not trusted: it is signed by itself.");
  expect(stranger.stderr).toContain("name the certificate of its authority in ca_file");
  expect(await tried("page")).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('The command "sh" ended with status 3: no carrier.'),
  });
  const { code, stdout } = await tried("page", "--json");
  expect([code, JSON.parse(stdout)]).toMatchObject([
    1,
    { channel: "page", kind: "command", state: "FAILED", permanent: false },
  ]);
  expect(await tried("opps")).toMatchObject({
    code: 4,
    stderr: expect.stringContaining('Did you mean "ops"?'),
  });
});

test("a file with mistakes is refused with their places, and the last valid channels stay in use", async () => {
  const file = join(cluster.directory, "_cdktr.yml");
  writeFileSync(file, "channels:\n  ops: {mail: ops@}\n  chat: {}\n");
  const { code, stdout, stderr } = await cluster.cdktr(["workflow", "validate", file]);
  expect(code).toBe(4);
  const said = stdout + stderr;
  expect(said).toContain(
    '_cdktr.yml:2:15: error[E115]: "mail" in ops of channels must be an address, not "ops@"',
  );
  expect(said).toContain('error[E115]: channel "chat" must say where it sends');
  cluster.writeWorkflow("_cdktr.yml", "channels:\n  ops: {mail: ops@}\n");
  await until("the principal has seen it", async () => {
    const { invalid_workflow_files: invalid } = await cluster.client.info();
    return invalid.length === 1;
  });
  expect(await tried("page")).toMatchObject({ code: 1 });
});
