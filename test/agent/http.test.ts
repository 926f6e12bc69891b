import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Performed } from "../../src/agent/executors/executor.ts";
import { http } from "../../src/agent/executors/http.ts";
import { readRegularFile } from "../../src/host/regular-file.ts";
import type { HttpConfig } from "../../src/workflow/kinds/http.ts";

interface Seen {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

const json = (value: unknown, init: ResponseInit = {}) =>
  new Response(JSON.stringify(value), {
    ...init,
    headers: { "Content-Type": "application/json", ...init.headers },
  });

/** The requests that the servers have got, by path. */
const seen = new Map<string, Seen>();

async function answer(request: Request): Promise<Response> {
  const url = new URL(request.url);
  const path = url.pathname + url.search;
  seen.set(path, {
    method: request.method,
    path,
    headers: Object.fromEntries(request.headers),
    body: await request.text(),
  });
  switch (url.pathname) {
    case "/json":
      return json({ state: "ready", rows: [1, 2], big: 0 }, { headers: { "X-Request-Id": "r1" } });
    case "/big-number":
      return new Response('{"id": 12345678901234567890, "small": 5}', {
        headers: { "Content-Type": "application/problem+json; charset=utf-8" },
      });
    case "/not-json":
      return new Response("{", { headers: { "Content-Type": "application/json" } });
    case "/latin1":
      return new Response(Uint8Array.of(0x63, 0x61, 0x66, 0xe9), {
        headers: { "Content-Type": "text/plain; charset=iso-8859-1" },
      });
    case "/binary":
      return new Response(Uint8Array.of(0xff, 0xfe, 0x00), { headers: { "Content-Type": "image/png" } });
    case "/unavailable":
      return new Response("come back\n later", { status: 503 });
    case "/page":
      return new Response("<html>no</html>", { status: 404 });
    case "/large":
      return new Response("x".repeat(1024 * 1024));
    case "/large-json":
      return json({ text: "é".repeat(80 * 1024) });
    case "/redirect":
      return new Response(null, {
        status: Number(url.searchParams.get("status") ?? 302),
        headers: { Location: url.searchParams.get("to") ?? "/json" },
      });
    case "/loop":
      return new Response(null, { status: 302, headers: { Location: "/loop" } });
    case "/slow":
      await new Promise(() => {});
      return new Response();
    case "/dribble":
      return new Response(
        new ReadableStream({
          start(controller) {
            controller.enqueue(new TextEncoder().encode("begun"));
          },
        }),
      );
    case "/empty":
      return new Response(null, { status: 204 });
    default:
      return new Response(`hello ${request.method}`);
  }
}

const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: answer });
const other = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: answer });
const hangsUp = Bun.listen({
  hostname: "127.0.0.1",
  port: 0,
  socket: {
    data(socket) {
      socket.end();
    },
  },
});
const directory = mkdtempSync(join(tmpdir(), "cdktr-http-"));
afterAll(() => {
  server.stop(true);
  other.stop(true);
  hangsUp.stop(true);
  rmSync(directory, { recursive: true, force: true });
});

const at = (path: string) => `http://127.0.0.1:${server.port}${path}`;

/** Performs a request. */
async function perform(
  config: Partial<HttpConfig> & { readonly url: string },
  context: { readonly signal?: AbortSignal; readonly secrets?: Readonly<Record<string, string>> } = {},
): Promise<Performed & { readonly log: readonly string[] }> {
  const log: string[] = [];
  const performed = await http.perform(
    {
      type: "Http",
      timeout_ms: 10_000,
      follow_redirects: false,
      expect: { status: [[200, 299]] },
      ...config,
    },
    {
      directory,
      environment: { HOME: directory },
      secrets: context.secrets ?? {},
      signal: context.signal ?? new AbortController().signal,
      say: (level, text) => void log.push(`${level} ${text}`),
      read: async (path, most) => readRegularFile(path, most),
      evaluate: () => {
        throw new Error("there is no expression");
      },
    },
  );
  return { ...performed, log };
}

describe("a request", () => {
  test("publishes status, headers, body and JSON, and is one line in the log", async () => {
    const { error, outputs, log } = await perform({ url: at("/json?a=b") });
    expect(error).toBeNull();
    expect(outputs).toMatchObject({
      status: 200,
      headers: { "content-type": "application/json", "x-request-id": "r1" },
      body: '{"state":"ready","rows":[1,2],"big":0}',
      json: { state: "ready", rows: [1, 2], big: 0 },
    });
    expect(log).toEqual([
      expect.stringMatching(/^INFO GET http:\/\/127\.0\.0\.1:\d+\/json\?a=b 200 in \d+ ms, 38 bytes$/),
    ]);
  });

  test("is a POST if it has a body, whose type is that of JSON if it is some", async () => {
    await perform({ url: at("/post?1"), body: '{"a": "é"}' });
    expect(seen.get("/post?1")).toMatchObject({
      method: "POST",
      body: '{"a": "é"}',
      headers: { "content-type": "application/json" },
    });
    await perform({ url: at("/post?2"), body: "17", method: "PUT" });
    expect(seen.get("/post?2")).toMatchObject({
      method: "PUT",
      headers: { "content-type": "text/plain; charset=utf-8" },
    });
    await perform({ url: at("/post?3"), body: "{}", headers: { "content-TYPE": "x/y" } });
    expect(seen.get("/post?3")?.headers["content-type"]).toBe("x/y");
  });

  test.each(["DELETE", "PATCH", "OPTIONS", "HEAD"] as const)("can be a %s", async (method) => {
    const { error, outputs } = await perform({ url: at(`/method?${method}`), method });
    expect(error).toBeNull();
    expect(seen.get(`/method?${method}`)?.method).toBe(method);
    expect(outputs?.body).toBe(method === "HEAD" ? "" : `hello ${method}`);
  });

  test("has headers, some of which are secrets", async () => {
    const headers = {
      "X-Plain": "a b",
      Authorization: { secret: "TOKEN", prefix: "Bearer " },
      "X-Key": { secret: "KEY" },
    };
    await perform({ url: at("/headers"), headers }, { secrets: { TOKEN: "hunter2", KEY: "k e y" } });
    expect(seen.get("/headers")?.headers).toMatchObject({
      "x-plain": "a b",
      "user-agent": expect.stringMatching(/^cdktr\/\d/),
      authorization: "Bearer hunter2",
      "x-key": "k e y",
    });
    const broken = perform(
      { url: at("/headers"), headers },
      { secrets: { TOKEN: "a\r\nX-Evil: b", KEY: "k" } },
    );
    expect(broken).rejects.toThrow(
      "Cannot start: the secret TOKEN has characters that no header can hold, such as a line break.",
    );
  });

  test("sends Unicode and a MiB as they are", async () => {
    const body = "漢🎉\n\u0000".repeat(150_000);
    await perform({ url: at("/unicode"), body });
    expect(seen.get("/unicode")?.body === body).toBe(true);
  });
});

describe("a response", () => {
  test("of another charset is text, one that is not text is none, and JSON that is none is just text", async () => {
    expect((await perform({ url: at("/latin1") })).outputs?.body).toBe("café");
    expect((await perform({ url: at("/binary") })).outputs).not.toHaveProperty("body");
    const broken = (await perform({ url: at("/not-json") })).outputs;
    expect(broken).toMatchObject({ body: "{" });
    expect(broken).not.toHaveProperty("json");
    expect((await perform({ url: at("/empty") })).outputs).toMatchObject({ status: 204, body: "" });
  });

  test("keeps whole numbers that JavaScript cannot hold, as text", async () => {
    expect((await perform({ url: at("/big-number") })).outputs?.json).toEqual({
      id: "12345678901234567890",
      small: 5,
    });
  });

  test("that is too large is not published, and said to be cut", async () => {
    const { outputs, log } = await perform({ url: at("/large") });
    expect(outputs).toMatchObject({ status: 200, truncated: true });
    expect(outputs).not.toHaveProperty("body");
    expect(log[0]).toEndWith(", more than 200 KiB");
    // As JSON and as text, it would be twice as much.
    const twice = (await perform({ url: at("/large-json") })).outputs;
    expect(twice).toMatchObject({ truncated: true, json: { text: "é".repeat(80 * 1024) } });
    expect(twice).not.toHaveProperty("body");
  });

  test("with another status than expected fails the task, and its text says why", async () => {
    expect(await perform({ url: at("/unavailable") })).toMatchObject({
      error: "status 503 is not among 200-299: come back later",
      outputs: null,
    });
    expect((await perform({ url: at("/page") })).error).toBe("status 404 is not among 200-299");
    const status: HttpConfig["expect"]["status"] = [
      [200, 200],
      [500, 599],
    ];
    expect((await perform({ url: at("/unavailable"), expect: { status } })).outputs).toMatchObject({
      status: 503,
    });
    expect((await perform({ url: at("/page"), expect: { status } })).error).toBe(
      "status 404 is not among 200, 500-599",
    );
  });
});

describe("redirects", () => {
  test("are not followed unless that is asked for, and say where to", async () => {
    expect((await perform({ url: at("/redirect?to=/json") })).error).toBe(
      "status 302 is not among 200-299; it redirects to /json",
    );
    const { outputs, log } = await perform({ url: at("/redirect?to=/json"), follow_redirects: true });
    expect(outputs).toMatchObject({ status: 200, json: { state: "ready" } });
    expect(log[0]).toMatch(/GET http:\S+\/json 200/);
  });

  test("become a GET without a body as they do in browsers", async () => {
    for (const [status, method] of [
      [301, "GET"],
      [303, "GET"],
      [307, "POST"],
      [308, "POST"],
    ] as const) {
      const to = `/target?${status}`;
      await perform({ url: at(`/redirect?status=${status}&to=${to}`), body: "{}", follow_redirects: true });
      const { headers, ...got } = seen.get(to) ?? { headers: {} as Seen["headers"] };
      expect(got).toMatchObject({ method, body: method === "GET" ? "" : "{}" });
      expect(headers["content-type"]).toBe(method === "GET" ? undefined : "application/json");
    }
  });

  test("to another server do not take confidential headers there, whatever their names", async () => {
    const headers = { Authorization: "Basic x", Cookie: "c", "X-Key": { secret: "KEY" }, "X-Plain": "p" };
    const secrets = { KEY: "hunter2" };
    const elsewhere = encodeURIComponent(`http://127.0.0.1:${other.port}/elsewhere`);
    await perform({ url: at(`/redirect?to=${elsewhere}`), headers, follow_redirects: true }, { secrets });
    const away = seen.get("/elsewhere")?.headers ?? {};
    expect(away["x-plain"]).toBe("p");
    expect([away.authorization, away.cookie, away["x-key"]]).toEqual([undefined, undefined, undefined]);
    await perform({ url: at("/redirect?to=/here"), headers, follow_redirects: true }, { secrets });
    expect(seen.get("/here")?.headers).toMatchObject({
      authorization: "Basic x",
      cookie: "c",
      "x-key": "hunter2",
    });
  });

  test("end after 10, and lead to the web only", async () => {
    expect((await perform({ url: at("/loop"), follow_redirects: true })).error).toBe(
      "there were more than 10 redirects",
    );
    for (const to of ["file:///etc/passwd", "s3://bucket/key", "data:text/plain,x"])
      expect(
        (await perform({ url: at(`/redirect?to=${encodeURIComponent(to)}`), follow_redirects: true })).error,
      ).toBe(`it was redirected to something that is not a URL of the web: ${to}`);
  });
});

describe("a request fails", () => {
  test("if nobody listens, the host does not exist, or it hangs up", async () => {
    expect(await perform({ url: "http://127.0.0.1:1/x" })).toMatchObject({
      error: "cannot connect to 127.0.0.1:1: connection refused",
      log: ["ERROR GET http://127.0.0.1:1/x: cannot connect to 127.0.0.1:1: connection refused."],
    });
    expect((await perform({ url: "http://no-such-host.invalid/" })).error).toMatch(
      /^cannot connect to no-such-host\.invalid: (there is no host of this name|the name cannot be looked up at the moment)$/,
    );
    expect((await perform({ url: `http://127.0.0.1:${hangsUp.port}/` })).error).toBe(
      `127.0.0.1:${hangsUp.port} closed the connection without a response`,
    );
  });

  test.each(["/slow", "/dribble"])(
    "when its time is over, also in the middle of a response: %s",
    async (path) => {
      expect((await perform({ url: at(path), timeout_ms: 100 })).error).toBe("timed out after 100ms");
    },
  );

  test("when the task is stopped", async () => {
    const stopping = new AbortController();
    const performing = perform({ url: at("/slow") }, { signal: stopping.signal });
    stopping.abort();
    expect(await performing).toMatchObject({ error: "it was stopped", outputs: null });
  });

  test("and its password is not in the log", async () => {
    const { log } = await perform({ url: "http://ada:hunter2@127.0.0.1:1/x" });
    expect(log).toEqual([
      "ERROR GET http://127.0.0.1:1/x: cannot connect to 127.0.0.1:1: connection refused.",
    ]);
  });
});

describe("TLS", () => {
  const openssl = (args: readonly string[]) =>
    Bun.spawnSync(["openssl", ...args], { cwd: directory, stderr: "pipe" });
  const made = openssl([
    ...[
      "req",
      "-x509",
      "-newkey",
      "rsa:2048",
      "-nodes",
      "-keyout",
      "key.pem",
      "-out",
      "ca.pem",
      "-days",
      "2",
    ],
    ...["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
  ]);

  test.skipIf(made.exitCode !== 0)(
    "trusts the certificates in ca_file, and says what is wrong with others",
    async () => {
      const tls = { key: Bun.file(join(directory, "key.pem")), cert: Bun.file(join(directory, "ca.pem")) };
      const secure = Bun.serve({ port: 0, hostname: "127.0.0.1", tls, fetch: answer });
      try {
        const url = `https://localhost:${secure.port}/json`;
        expect(await perform({ url })).toMatchObject({
          error: "the certificate of localhost is not trusted: it is signed by itself",
          log: [
            expect.stringContaining("is not trusted"),
            "ERROR If that is meant to be so, name the certificate of its authority in ca_file.",
          ],
        });
        for (const ca_file of [join(directory, "ca.pem"), "~/ca.pem"])
          expect((await perform({ url, ca_file })).outputs).toMatchObject({ status: 200 });
        expect((await perform({ url: `https://127.0.0.1:${secure.port}/`, ca_file: "~/ca.pem" })).error).toBe(
          "the certificate of 127.0.0.1 is not trusted: it is for another host",
        );
        expect((await perform({ url: `https://localhost:${server.port}/`, ca_file: "~/ca.pem" })).error).toBe(
          `localhost:${server.port} does not speak TLS`,
        );
      } finally {
        secure.stop(true);
      }
    },
  );

  test("needs a ca_file that is one", async () => {
    writeFileSync(join(directory, "empty.pem"), "hello\n");
    for (const [ca_file, reason] of [
      [join(directory, "none.pem"), "there is no such file"],
      [directory, "it is a directory"],
      [join(directory, "empty.pem"), "it has no certificate"],
    ])
      expect(perform({ url: "https://localhost/", ca_file: ca_file ?? "" })).rejects.toThrow(
        `Cannot start: ca_file ${ca_file}: ${reason}.`,
      );
  });
});
