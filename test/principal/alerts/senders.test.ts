/** What sends messages: against a real mail server, web servers and programs. Each failure says what happened, and what to do. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { checkSignature } from "../../../src/events/declared/webhook-signature.ts";
import { FileHelper } from "../../../src/host/file-helper/file-helper.ts";
import { ChannelSecrets } from "../../../src/principal/alerts/channel-secrets.ts";
import { ChannelSenders } from "../../../src/principal/alerts/channel-senders.ts";
import { compose } from "../../../src/principal/alerts/message.ts";
import { commandTransport } from "../../../src/principal/alerts/senders/command.ts";
import { type OutgoingMessage, SendError } from "../../../src/principal/alerts/senders/sender.ts";
import type { ChannelSettings } from "../../../src/workflow/channels.ts";
import { parseSettings } from "../../../src/workflow/settings-file.ts";
import { codeBlocks } from "../../support/code-blocks.ts";
import { SmtpServer } from "../../support/smtp-server.ts";
import { until } from "../../support/until.ts";
import { LogBook, temporaryDirectory } from "../support.ts";
import { BACK, FAILED, messageOf } from "./support.ts";

const directory = temporaryDirectory();
const book = new LogBook();
const files = new FileHelper();
const env: Record<string, string | undefined> = {
  PATH: process.env.PATH,
  HOOK_KEY: "key of the hook",
  SMTP_PASSWORD: "hunter2 and more",
  CDKTR_PRINCIPAL_KEY: "own",
};
const at = (name: string) => join(directory.path, name);
const NOW = Date.UTC(2026, 10, 27, 2, 3);

/** The channel of a settings file, as a principal makes it. */
function channel(settings: string) {
  const result = parseSettings(`channels: {c: ${settings}}\n`, "_cdktr.yml", true);
  if (!result.ok) throw new Error(result.diagnostics.map(({ message }) => message).join("\n"));
  const channels = new Map<string, ChannelSettings>(Object.entries(result.settings.channels ?? {}));
  const senders = new ChannelSenders({
    channels: () => channels,
    secrets: new ChannelSecrets({
      store: { read: async (work) => work(undefined as never) },
      secrets: {
        given: async (_tx, names) =>
          Object.fromEntries(
            names.flatMap((name) => (name === "stored" ? [[name, { value: "from the store" }]] : [])),
          ),
      },
      files,
      env,
    }),
    logTail: async () => ({ task: "load[orders]", lines: ["no such table"], problem: null }),
    zone: "UTC",
    installation: () => "inst",
    now: () => NOW,
    log: book.log,
  });
  const found = senders.get("c");
  if (found === undefined) throw new Error("no channel");
  return found;
}

const send = (settings: string, message: OutgoingMessage = messageOf()) =>
  channel(settings).sender.send(message, new AbortController().signal);

/** Why a message could not be sent: whether for good, the reason, and what to do. */
async function failure(settings: string, message?: OutgoingMessage): Promise<string> {
  try {
    await send(settings, message);
    return "sent";
  } catch (error) {
    if (!(error instanceof SendError)) throw error;
    const { isPermanent, message: why, hint = "-" } = error;
    const ports = (text: string) => text.replace(/(localhost|127\.0\.0\.1|\[::1\]):\d+/g, "$1:PORT");
    return `${isPermanent ? "for good" : "for now"}: ${ports(why)} → ${ports(hint)}`;
  }
}

afterAll(() => {
  files.close();
  directory[Symbol.dispose]();
});

function certificate(name: string, alternative: string): void {
  const made = Bun.spawnSync(
    [
      ...["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"],
      ...["-keyout", `${name}.key`, "-out", `${name}.pem`, "-days", "2", "-subj", `/CN=${name}`],
      ...["-addext", `subjectAltName=${alternative}`],
    ],
    { cwd: directory.path, stderr: "pipe" },
  );
  if (made.exitCode !== 0) throw new Error(made.stderr.toString());
}

describe("mail", () => {
  const servers: Record<string, SmtpServer> = {};
  const port = (name: string) => servers[name]?.port ?? 0;
  const LOGIN = "user: ops, password: {env: SMTP_PASSWORD}";

  beforeAll(async () => {
    certificate("own", "DNS:localhost,IP:127.0.0.1");
    certificate("other", "DNS:other.test");
    const tls = { certificate: at("own.pem"), key: at("own.key") };
    const login = ["ops", "hunter2 and more"] as const;
    const all = {
      plain: {
        recipients: {
          "gone@example.org": "550 5.1.1 no such user",
          "full@example.org": "452 4.2.2 mailbox full",
        },
      },
      greylisting: { refusals: ["450 4.2.0 greylisted, come back"] },
      starttls: { tls: "starttls", ...tls, login },
      implicit: { tls: "implicit", ...tls, login },
      other: { tls: "starttls", certificate: at("other.pem"), key: at("other.key") },
    } as const;
    await Promise.all(
      Object.entries(all).map(async ([name, settings]) => {
        servers[name] = await SmtpServer.start(settings);
      }),
    );
  }, 120_000);
  afterAll(() => Promise.all(Object.values(servers).map((server) => server[Symbol.asyncDispose]())));

  const mail = (name: string, smtp = "", more = "") =>
    `{mail: {to: [ops@example.org, root]${more}, smtp: {host: localhost, port: ${port(name)}${smtp}}}}`;

  test("has the text, the same as HTML, and the id of the message, so that a second one can be told", async () => {
    await send(mail("plain", "", ", from: 'cdktr <cdktr@example.org>'"));
    const [received] = (await servers.plain?.received(1)) ?? [];
    const headers = Object.fromEntries(received?.headers ?? []);
    expect(received).toMatchObject({
      mail_from: "cdktr@example.org",
      recipients: ["ops@example.org", "root"],
      tls: false,
      login: null,
    });
    expect(headers).toMatchObject({
      From: "cdktr <cdktr@example.org>",
      To: "ops@example.org, root",
      Subject: "[cdktr] etl.daily failed, 2 times in a row",
      "Message-ID": "<m-1@example.org>",
      "Auto-Submitted": "auto-generated",
      Date: "Fri, 27 Nov 2026 02:02:04 +0000",
    });
    expect(received?.text).toContain("  | no such table");
    expect(received?.html).toContain("no such table</pre>");
  });

  test.each([
    ["starttls", `, tls: starttls, ${LOGIN}`],
    ["implicit", `, tls: implicit, ${LOGIN}`],
  ])("over TLS, logged in: %s", async (name, smtp) => {
    await send(mail(name, `${smtp}, ca_file: ${at("own.pem")}`));
    expect(await servers[name]?.received(1)).toMatchObject([{ tls: true, login: "ops" }]);
  });

  test("is told to come back when the server is greylisting, and then arrives", async () => {
    const settings = mail("greylisting");
    expect(await failure(settings)).toBe(
      "for now: The mail server localhost:PORT does not take the mail now: 450 4.2.0 greylisted, come back. → -",
    );
    await send(settings);
    expect(await servers.greylisting?.received(1)).toHaveLength(1);
  });

  test("reaches those recipients that the server takes", async () => {
    await send(`{mail: {to: [gone@example.org, ops@example.org], smtp: {port: ${port("plain")}}}}`);
    expect(book.lines.join("\n")).toContain("did not take gone@example.org; the others get the mail.");
  });

  const CA = () => `, ca_file: ${at("own.pem")}`;
  test.each([
    [
      "no recipient is taken",
      () => `{mail: {to: gone@example.org, smtp: {port: ${port("plain")}}}}`,
      "for good: The mail server localhost:PORT refuses the mail: 550 5.1.1 no such user. → Check to and from of the channel, and whether the server takes mail of this host.",
    ],
    [
      "a mailbox is full",
      () => `{mail: {to: full@example.org, smtp: {port: ${port("plain")}}}}`,
      "for now: The mail server localhost:PORT does not take the mail now: 452 4.2.2 mailbox full. → -",
    ],
    [
      "the password is wrong",
      () => mail("starttls", `, tls: starttls, user: ops, password: {store: stored}${CA()}`),
      "for now: The mail server localhost:PORT refuses the login: 535 5.7.8 Authentication credentials invalid. → Check user and password of smtp.",
    ],
    [
      "nobody logs in",
      () => mail("implicit", `, tls: implicit${CA()}`),
      "for now: The mail server localhost:PORT refuses the login: 530 5.7.0 Authentication required. → Check user and password of smtp.",
    ],
    [
      "the server has no TLS",
      () => mail("plain", ", tls: starttls"),
      "for now: The mail server localhost:PORT does not start TLS: 454 TLS not available. → If it speaks TLS from the beginning, write tls: implicit; if it never does, tls: none.",
    ],
    [
      "the server starts TLS later",
      () => mail("plain", ", tls: implicit"),
      "for now: The mail server localhost:PORT does not speak TLS from the beginning. → If it offers STARTTLS, write tls: starttls; if it has no TLS at all, tls: none.",
    ],
    [
      "the certificate is signed by itself",
      () => mail("starttls", ", tls: starttls"),
      "for now: The certificate of localhost is not trusted: it is signed by itself. → If that is meant to be so, name the certificate of its authority in ca_file.",
    ],
    [
      "the certificate of an implicit connection is signed by itself",
      () => mail("implicit", ", tls: implicit"),
      "for now: The certificate of localhost is not trusted: it is signed by itself. → If that is meant to be so, name the certificate of its authority in ca_file.",
    ],
    [
      "the certificate is for another host",
      () => mail("other", `, tls: starttls, ca_file: ${at("other.pem")}`),
      "for now: The certificate of localhost is not trusted: it is for another host. → -",
    ],
    [
      "nobody listens",
      () => "{mail: {to: a@example.org, smtp: {host: 127.0.0.1, port: 1}}}",
      "for now: Cannot connect to 127.0.0.1:PORT: connection refused. → -",
    ],
    [
      "the password cannot be read",
      () => `{mail: {to: a@example.org, smtp: {port: 1, user: ops, password: {file: ${at("absent")}}}}}`,
      `for now: The password of the mail server cannot be read from ${at("absent")}: there is no such file. → -`,
    ],
    [
      "the certificates cannot be read",
      () => `{mail: {to: a@example.org, smtp: {port: 1, ca_file: ${at("own.key")}}}}`,
      `for now: ca_file ${at("own.key")} has no certificate. → It must be a PEM file, with lines -----BEGIN CERTIFICATE-----.`,
    ],
  ])("fails when %s", async (_, settings, wanted) => {
    expect(await failure(settings())).toBe(wanted);
  });

  test.each([
    [
      "HTTP/1.1 400 Bad Request\r\n\r\n",
      "for now: 127.0.0.1:PORT does not speak SMTP: it says HTTP/1.1 400 Bad Request. → Check host and port.",
    ],
    [
      "421 4.3.2 too busy\r\n",
      "for now: The mail server 127.0.0.1:PORT serves nobody now: 421 4.3.2 too busy. → -",
    ],
    [
      "554 5.7.1 not from here\r\n",
      "for now: The mail server 127.0.0.1:PORT serves nobody now: 554 5.7.1 not from here. → -",
    ],
    [null, "for now: 127.0.0.1:PORT closed the connection without a response. → -"],
  ])("fails when a server begins with %p", async (greeting, wanted) => {
    const server = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        open: (socket) => {
          if (greeting !== null) socket.write(greeting);
          else socket.end();
        },
        data: () => {},
      },
    });
    try {
      expect(
        await failure(`{mail: {to: a@example.org, smtp: {host: 127.0.0.1, port: ${server.port}}}}`),
      ).toBe(wanted);
    } finally {
      server.stop(true);
    }
  });

  test("ends when it is told to", async () => {
    const opened = Promise.withResolvers<void>();
    const silent = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: { open: () => opened.resolve(), data: () => {} },
    });
    try {
      const stop = new AbortController();
      const { sender } = channel(
        `{mail: {to: a@example.org, smtp: {host: 127.0.0.1, port: ${silent.port}}}}`,
      );
      const sending = sender.send(messageOf(), stop.signal);
      await opened.promise;
      stop.abort();
      expect(sending).rejects.toThrow("was stopped");
      await sending.catch(() => {});
    } finally {
      silent.stop(true);
    }
  });
});

describe("web servers", () => {
  interface Got {
    readonly path: string;
    readonly headers: Headers;
    readonly body: string;
  }
  const got: Got[] = [];
  const answers: Record<string, () => Response> = {
    "/ok": () => new Response("ok"),
    "/gone": () => new Response("no_service", { status: 404 }),
    "/secret": () => new Response("bad key of the hook, sorry.", { status: 403 }),
    "/long": () => new Response(`${"x".repeat(295)}key of the hook`, { status: 403 }),
    "/busy": () => new Response("slow down", { status: 429, headers: { "Retry-After": "120" } }),
    "/broken": () => new Response("<html>oh no</html>", { status: 502 }),
    "/moved": () => new Response("", { status: 302, headers: { Location: "https://elsewhere.example/x" } }),
  };
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      const { pathname } = new URL(request.url);
      got.push({ path: pathname, headers: request.headers, body: await request.text() });
      return answers[pathname]?.() ?? new Response("?", { status: 500 });
    },
  });
  const url = (path: string) => `http://127.0.0.1:${server.port}${path}`;
  const bodies = () => got.splice(0).map(({ body }) => JSON.parse(body));
  afterAll(() => server.stop(true));

  test("a webhook gets JSON with headers, signed as webhook listeners of cdktr check it", async () => {
    got.splice(0);
    await send(
      `{webhook: {url: '${url("/ok")}', secret: {env: HOOK_KEY}, headers: {Authorization: {store: stored}, X-Team: ops}}}`,
    );
    const [request] = got.splice(0);
    if (request === undefined) throw new Error("nothing came");
    const { headers, body } = request;
    expect(headers.get("authorization")).toBe("from the store");
    expect(headers.get("x-team")).toBe("ops");
    expect(headers.get("content-type")).toBe("application/json");
    const time = { nowMs: NOW, toleranceMs: 1000 };
    expect(checkSignature(headers, Buffer.from(body), "key of the hook", time)).toMatchObject({
      ok: true,
      deliveryId: "m-1",
      scheme: "generic",
    });
    expect(checkSignature(headers, Buffer.from(`${body} `), "key of the hook", time)).toMatchObject({
      ok: false,
    });
    expect(JSON.parse(body)).toMatchObject({
      message_id: "m-1",
      alerts: [{ kind: "failed", log: { lines: ["no such table"] } }],
    });
  });

  test("a webhook's signature is what the Python of the manual checks", async () => {
    got.splice(0);
    await send(`{webhook: {url: '${url("/ok")}', secret: {env: HOOK_KEY}}}`);
    const [request] = got.splice(0);
    const page = readFileSync(join(import.meta.dir, "../../../src/docs/channels.md"), "utf8");
    const block = codeBlocks(page).find(({ language }) => language === "python");
    const headers = Object.fromEntries(
      ["X-Cdktr-Timestamp", "X-Cdktr-Delivery", "X-Cdktr-Signature"].map((name) => [
        name,
        request?.headers.get(name),
      ]),
    );
    const input = JSON.stringify({ headers, body: request?.body, now: NOW / 1000 });
    const program = `${block?.text}
import json, sys
given = json.load(sys.stdin)
time.time = lambda: given["now"]
body = given["body"].encode()
print(is_genuine(given["headers"], body, b"key of the hook"), is_genuine(given["headers"], body + b" ", b"key of the hook"), is_genuine(given["headers"], body, b"another"))`;
    const python = Bun.spawn(["python3", "-c", program], {
      stdin: Buffer.from(input),
      stdout: "pipe",
      stderr: "inherit",
    });
    expect((await new Response(python.stdout).text()).trim()).toBe("True False False");
  });

  test("Slack gets blocks, in which nothing is a link or a mention", async () => {
    got.splice(0);
    const alert = { ...FAILED, subject: "<!channel> & ```x", facts: { error: "z".repeat(990) } };
    await send(
      `{slack: {url: '${url("/ok")}', channel: '#ops'}}`,
      messageOf([alert, ...Array(40).fill(FAILED)]),
    );
    const [body] = bodies();
    expect(body.channel).toBe("#ops");
    expect(body.text).toBe("41 alerts: 41 failed");
    expect(body.blocks.length).toBeLessThanOrEqual(12);
    for (const { text } of body.blocks) expect(text.text.length).toBeLessThanOrEqual(3000);
    const all = JSON.stringify(body.blocks);
    expect(all).toContain("&lt;!channel&gt; &amp; '''x");
    expect(all).not.toContain("<!channel>");
  });

  describe("PagerDuty", () => {
    const pager = (severity = "") =>
      `{pagerduty: {routing_key: {env: HOOK_KEY}, url: '${url("/ok")}'${severity}}}`;

    test("opens one incident for each alert, and closes it when it is over", async () => {
      got.splice(0);
      await send(pager(), messageOf([FAILED, BACK], 2));
      expect(bodies()).toMatchObject([
        {
          routing_key: "key of the hook",
          event_action: "trigger",
          dedup_key: "inst:failed etl.daily",
          payload: {
            summary: FAILED.subject,
            severity: "error",
            component: "etl.daily",
            timestamp: "2026-11-27T02:02:03.000Z",
            custom_details: { failures: 2, log: "no such table" },
          },
        },
        { event_action: "resolve", dedup_key: "inst:agent_lost host-2" },
        {
          event_action: "trigger",
          dedup_key: "inst:more m-1",
          payload: { summary: "2 more alerts: cdktr alerts list" },
        },
      ]);
    });

    test("a workflow that recovers closes the incident of its failures", async () => {
      got.splice(0);
      await send(pager(), messageOf([{ ...FAILED, kind: "recovered", key: "recovered etl.daily r2" }]));
      expect(bodies()).toMatchObject([{ event_action: "resolve", dedup_key: "inst:failed etl.daily" }]);
    });

    test("severities are those of the channel, then those of the alert; long keys are hashed", async () => {
      got.splice(0);
      const query = {
        ...FAILED,
        kind: "query",
        key: `query ${"k".repeat(300)}`,
        facts: { severity: "critical" },
      };
      await send(pager(", severity: {failed: critical}"), messageOf([FAILED, query]));
      await send(pager(", severity: info"), messageOf([query]));
      const events = bodies();
      expect(events.map(({ payload }) => payload.severity)).toEqual(["critical", "critical", "info"]);
      for (const { dedup_key } of events) expect(dedup_key.length).toBeLessThanOrEqual(255);
    });
  });

  test.each([
    [
      "/gone",
      "for good: 127.0.0.1:PORT answered with status 404: no_service. → Check the URL of the channel.",
    ],
    [
      "/secret",
      "for good: 127.0.0.1:PORT answered with status 403: bad ***, sorry. → Check the URL and the secrets of the channel.",
    ],
    [
      "/long",
      `for good: 127.0.0.1:PORT answered with status 403: ${"x".repeat(295)}***. → Check the URL and the secrets of the channel.`,
    ],
    ["/busy", "for now: 127.0.0.1:PORT answered with status 429: slow down. → -"],
    ["/broken", "for now: 127.0.0.1:PORT answered with status 502. → -"],
    [
      "/moved",
      "for now: 127.0.0.1:PORT redirects to elsewhere.example (status 302), which is not followed. → Write the URL to which it leads into the channel.",
    ],
  ])("%s", async (path, wanted) => {
    expect(await failure(`{webhook: {url: '${url(path)}', secret: {env: HOOK_KEY}}}`)).toBe(wanted);
  });

  test("one that asks for a pause gets it", async () => {
    const error = await send(`{webhook: '${url("/busy")}'}`).catch((thrown) => thrown);
    expect(error.retryAfterMs).toBe(120_000);
  });

  test("one that is not there, or is not trusted", async () => {
    expect(await failure("{webhook: 'http://127.0.0.1:1/x'}")).toBe(
      "for now: Cannot connect to 127.0.0.1:PORT: connection refused. → -",
    );
    certificate("web", "DNS:localhost");
    const tls = { key: Bun.file(at("web.key")), cert: Bun.file(at("web.pem")) };
    const secure = Bun.serve({ port: 0, hostname: "127.0.0.1", tls, fetch: () => new Response("ok") });
    try {
      const there = `url: 'https://localhost:${secure.port}/x'`;
      expect(await failure(`{webhook: {${there}}}`)).toBe(
        "for now: The certificate of localhost is not trusted: it is signed by itself. → If that is meant to be so, name the certificate of its authority in ca_file.",
      );
      expect(await failure(`{webhook: {${there}, ca_file: ${at("web.pem")}}}`)).toBe("sent");
      expect(await failure(`{slack: {url: 'https://localhost:${server.port}/ok'}}`)).toStartWith(
        "for now: Localhost:",
      );
    } finally {
      secure.stop(true);
    }
  });

  test("one that does not answer is left when it is told to", async () => {
    const asked = Promise.withResolvers<void>();
    const never = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      idleTimeout: 0,
      fetch: () => {
        asked.resolve();
        return new Promise<Response>(() => {});
      },
    });
    try {
      const stop = new AbortController();
      const sending = channel(`{webhook: 'http://127.0.0.1:${never.port}/'}`).sender.send(
        messageOf(),
        stop.signal,
      );
      sending.catch(() => {});
      await asked.promise;
      stop.abort();
      expect(await sending.catch((error) => error.message)).toContain("was stopped");
    } finally {
      never.stop(true);
    }
  });
});

describe("a command", () => {
  const script = (name: string, text: string) => {
    writeFileSync(at(name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    return at(name);
  };

  test("gets the message as JSON, and facts as variables; neither settings of cdktr nor secrets of channels", async () => {
    const page = script("page", `cat > "$1/in.json"; env > "$1/env"`);
    await send(`{command: [${page}, ${directory.path}]}`);
    expect(JSON.parse(readFileSync(at("in.json"), "utf8"))).toMatchObject({ message_id: "m-1" });
    const variables = readFileSync(at("env"), "utf8");
    expect(variables).toContain("CDKTR_ALERT_KIND=failed\n");
    expect(variables).toContain("CDKTR_ALERT_WORKFLOW=etl.daily\n");
    expect(variables).toContain(`CDKTR_ALERT_RUN=${FAILED.workflow_instance_id}\n`);
    expect(variables).not.toContain("CDKTR_PRINCIPAL_KEY");
  });

  test("need not read anything", async () => {
    const alerts = Array.from({ length: 100 }, () => ({ ...FAILED, facts: { error: "x".repeat(3000) } }));
    await send(`{command: [${script("deaf", "exec <&-; exit 0")}]}`, messageOf(alerts));
  });

  test.each([
    ["ends badly", "echo 'modem: no carrier' >&2; exit 3", "ended with status 3: modem: no carrier. → -"],
    ["is killed", "kill -9 $$", "was ended by SIGKILL. → -"],
    [
      "floods its standard error",
      "head -c 3000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo last >&2; exit 1",
      "x / last. → -",
    ],
  ])("that %s", async (name, text, wanted) => {
    expect(await failure(`{command: [${script(name.replaceAll(" ", "-"), text)}]}`)).toEndWith(wanted);
  });

  test("that is not there, or cannot be executed", async () => {
    expect(await failure(`{command: [${at("absent")}]}`)).toBe(
      `for now: The command "${at("absent")}" was not found. → Neither the file nor the interpreter in its first line may be missing on the principal's host.`,
    );
    expect(await failure("{command: [absent-program-of-nobody]}")).toBe(
      'for now: The command "absent-program-of-nobody" was not found. → Write its whole path; it is started without a shell.',
    );
    writeFileSync(at("plain.txt"), "hello");
    expect(await failure(`{command: [${at("plain.txt")}]}`)).toBe(
      `for now: The command "${at("plain.txt")}" is not executable. → As the principal's user: chmod +x ${at("plain.txt")}`,
    );
  });

  const begin = (argv: readonly string[], signal: AbortSignal, limitMs?: number) => {
    const environment = () => ({ PATH: env.PATH ?? "" });
    const transport = commandTransport(argv, {
      environment,
      graceMs: 50,
      ...(limitMs === undefined ? {} : { limitMs }),
    });
    const sending = transport.send(
      compose(messageOf(), [{ alert: FAILED, log: null }], "UTC"),
      messageOf(),
      signal,
    );
    return sending.then(
      () => "sent",
      (error) => error.message,
    );
  };

  test("that takes too long is ended", async () => {
    const hang = script("hang", "exec sleep 3600");
    expect(await begin([hang], new AbortController().signal, 50)).toBe(
      `The command "${hang}" has not ended after 50ms.`,
    );
  });

  test("is ended with all that it has started, also what ignores TERM", async () => {
    const stop = new AbortController();
    const hang = script(
      "stubborn",
      `trap '' TERM; sleep 3600 & echo "$$ $!" > "$1.new"; mv "$1.new" "$1"; wait; wait`,
    );
    const ending = begin([hang, at("pids")], stop.signal);
    await until("it has begun", () => existsSync(at("pids")));
    stop.abort();
    expect(await ending).toBe(`The command "${hang}" was stopped.`);
    const pids = readFileSync(at("pids"), "utf8").trim().split(" ");
    expect(pids).toHaveLength(2);
    const isAlive = (pid: string) => {
      try {
        return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
      } catch {
        return false;
      }
    };
    for (const pid of pids) await until(`process ${pid} is gone`, () => !isAlive(pid));
  });

  test("that leaves something running keeps nobody waiting", async () => {
    await send(`{command: [${script("leaves", "sleep 5 & exit 0")}]}`);
  });
});

describe("secrets", () => {
  const hook = (source: string) => `{webhook: {url: 'http://127.0.0.1:1/', secret: ${source}}}`;

  test.each([
    [
      "{env: ABSENT}",
      "The secret of the webhook cannot be read: the principal has no environment variable ABSENT. → Set it (Environment= or EnvironmentFile= of its service), and restart the principal.",
    ],
    [
      "{store: absent}",
      "The secret of the webhook cannot be read: the principal has no secret \"absent\". → Set it with 'cdktr secrets set absent'; 'cdktr secrets list' shows those that there are.",
    ],
    [
      "{command: [sh, -c, 'echo TOPSECRET >&2; exit 2']}",
      'The secret of the webhook: its command "sh" ended with status 2. → Run it as the principal\'s user to see why.',
    ],
    [
      "{command: [sh, -c, 'yes']}",
      'The secret of the webhook: its command "sh" prints more than 64 KiB. → Run it as the principal\'s user to see why.',
    ],
    ["{command: ['true']}", 'The secret of the webhook is empty. → The command "true" prints it.'],
    [
      "{command: [printf, 'a\\nb']}",
      'The secret of the webhook has more than one line, or a NUL character. → The command "printf" prints it.',
    ],
    [
      "{command: [no-such-program-here]}",
      'The secret of the webhook: its command "no-such-program-here" cannot be started',
    ],
    ["{file: /}", "The secret of the webhook cannot be read from /: it is a directory. → -"],
  ])("%s", async (source, wanted) => {
    expect(await failure(hook(source))).toStartWith(`for now: ${wanted}`);
  });

  test("are read anew for each message", async () => {
    writeFileSync(at("key"), "first\n");
    const seen: string[] = [];
    const server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: (request) => {
        seen.push(request.headers.get("x-key") ?? "");
        return new Response("");
      },
    });
    try {
      const { sender } = channel(
        `{webhook: {url: 'http://127.0.0.1:${server.port}/', headers: {X-Key: {file: ${at("key")}}}}}`,
      );
      await sender.send(messageOf(), new AbortController().signal);
      writeFileSync(at("key"), "second\n");
      await sender.send(messageOf(), new AbortController().signal);
      expect(seen).toEqual(["first", "second"]);
    } finally {
      server.stop(true);
    }
  });
});
