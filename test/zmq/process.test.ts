import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { nativeLibraryPath } from "../../src/native/libraries.ts";
import { Pull, Push } from "../../src/zmq/index.ts";
import { start, startProgram } from "./program.ts";
import { ANY_PORT, text, ZMQ_INDEX } from "./support.ts";

setDefaultTimeout(60_000);

/** Exits with status 9 if the program is still running long after it should have ended; does not keep it alive. */
const NOT_FOREVER = "setTimeout(() => process.exit(9), 20_000).unref();";
/** Makes a program wait long enough on a socket that a Worker is started. */
const START_WORKER = `
  { const waits = new zmq.Pull({ receiveTimeout: 100 }); await waits.receive().catch(() => {}); waits.close(); }
`;

describe("the life of a process", () => {
  test("importing the room loads no library; the first socket does", async () => {
    using program = startProgram(`
      import { readFileSync } from "node:fs";
      const mapped = () => readFileSync("/proc/self/maps", "utf8").includes(${JSON.stringify(nativeLibraryPath("libzmq"))});
      console.log(mapped());
      new zmq.Push().close();
      console.log(mapped());
    `);
    expect([await program.line(), await program.line()]).toEqual(["false", "true"]);
    expect((await program.end()).status).toBe(0);
  });

  test("it ends by itself once its sockets are closed, the Worker running", async () => {
    using program = startProgram(`
      ${NOT_FOREVER} ${START_WORKER}
      const reply = new zmq.Reply(), request = new zmq.Request();
      await reply.bind("tcp://127.0.0.1:*");
      request.connect(reply.lastEndpoint);
      const serving = (async () => { for await (const message of reply) await reply.send(message); })();
      await request.send("a");
      await request.receive();
      request.close();
      reply.close();
      await serving;
      console.log("done");
    `);
    expect(await program.line()).toBe("done");
    expect(await program.end()).toEqual({ status: 0, stderr: "" });
  });

  test("it ends by itself with open sockets on which nobody waits", async () => {
    using program = startProgram(`
      ${NOT_FOREVER} ${START_WORKER}
      const publisher = new zmq.Publisher();
      await publisher.bind("tcp://127.0.0.1:*");
      publisher.events.on("accepted", () => {});
    `);
    expect(await program.end()).toEqual({ status: 0, stderr: "" });
  });

  for (const [what, wait] of [
    ["a receive", "await pull.receive()"],
    ["an iterator", "for await (const _ of pull) break"],
    ["an iterator of events", 'for await (const { type } of pull.events) if (type === "accepted") break'],
  ]) {
    test(`${what} that waits keeps it alive, and it ends when that is over`, async () => {
      using program = startProgram(`
        ${NOT_FOREVER} ${START_WORKER}
        const pull = new zmq.Pull();
        await pull.bind("tcp://127.0.0.1:*");
        // Seen only when something else keeps the process alive.
        setTimeout(() => console.log("alive"), 150).unref();
        console.log(pull.lastEndpoint);
        // A module that waits at its top level would stay alive anyway.
        void (async () => { ${wait}; pull.close(); })();
      `);
      using push = new Push();
      const endpoint = await program.line();
      expect(await program.line()).toBe("alive");
      push.connect(endpoint);
      await push.send("end");
      expect(await program.end()).toEqual({ status: 0, stderr: "" });
    });
  }

  test("a send that waits keeps it alive", async () => {
    using program = startProgram(`
      ${NOT_FOREVER} ${START_WORKER}
      const push = new zmq.Push({ immediate: true });
      setTimeout(() => { console.log("alive"); }, 150).unref();
      await push.bind("tcp://127.0.0.1:*");
      console.log(push.lastEndpoint);
      void push.send("at last").then(() => push.close());
    `);
    using pull = new Pull();
    const endpoint = await program.line();
    expect(await program.line()).toBe("alive");
    pull.connect(endpoint);
    expect(text(await pull.receive())).toEqual(["at last"]);
    expect(await program.end()).toEqual({ status: 0, stderr: "" });
  });

  for (const [how, end] of [
    ["closes the socket", "push.close();"],
    ["leaves it open", ""],
    ["calls process.exit", "process.exit(0);"],
    ["dies of an error", 'throw new Error("on purpose");'],
  ]) {
    test(`what was sent still goes out when it ${how} and ends`, async () => {
      using pull = new Pull();
      await pull.bind(ANY_PORT);
      using program = startProgram(`
        const push = new zmq.Push({ sendHighWaterMark: 0 });
        push.connect(${JSON.stringify(pull.lastEndpoint)});
        for (let i = 0; i < 2_000; i++) push.trySend([String(i), Buffer.alloc(1_000)]);
        ${end}
      `);
      for (let i = 0; i < 2_000; i++) expect(String((await pull.receive())[0])).toBe(String(i));
      const { status, stderr } = await program.end();
      expect(status).toBe(how === "dies of an error" ? 1 : 0);
      expect(stderr.includes("on purpose")).toBe(how === "dies of an error");
    });
  }

  test("it exits although messages to a missing peer are unsent", async () => {
    using program = startProgram(`
      ${NOT_FOREVER}
      const push = new zmq.Push({ linger: 20 });
      push.connect("tcp://127.0.0.1:1");
      await push.send("nobody will read this");
    `);
    expect(await program.end()).toEqual({ status: 0, stderr: "" });
  });

  test("a closed socket ends the loop of a server, and with it the process", async () => {
    using program = startProgram(`
      ${NOT_FOREVER} ${START_WORKER}
      const router = new zmq.Router();
      await router.bind("tcp://127.0.0.1:*");
      process.on("SIGTERM", () => router.close());
      console.log("serving");
      for await (const message of router) await router.send(message);
      console.log("served");
    `);
    expect(await program.line()).toBe("serving");
    program.process.kill("SIGTERM");
    expect(await program.line()).toBe("served");
    expect(await program.end()).toEqual({ status: 0, stderr: "" });
  });
});

describe("limits of the host", () => {
  test("running out of descriptors is an error with a name, and over when sockets are closed", async () => {
    const directory = mkdtempSync(join(tmpdir(), "cdktr-zmq-limit-"));
    const file = join(directory, "program.ts");
    writeFileSync(
      file,
      `
      import * as zmq from ${JSON.stringify(ZMQ_INDEX)};
      const router = new zmq.Router();
      await router.bind("tcp://127.0.0.1:*");
      const dealers = [];
      try {
        for (;;) {
          const dealer = new zmq.Dealer({ linger: 0 });
          dealers.push(dealer);
          dealer.connect(router.lastEndpoint);
        }
      } catch (error) { console.log(error.code); }
      for (const dealer of dealers) dealer.close();
      for (let answered = false; !answered; ) {
        try {
          using dealer = new zmq.Dealer({ linger: 0, receiveTimeout: 100 });
          dealer.connect(router.lastEndpoint);
          await dealer.send("once more");
          await router.send(await router.receive());
          console.log(String(await dealer.receive()));
          answered = true;
        } catch (error) {
          if (error.code !== "EMFILE" && error.code !== "EAGAIN") throw error;
          // libzmq gives descriptors back in its own time, and tells nobody.
          await Bun.sleep(5);
        }
      }
      router.close();
      `,
    );
    using program = start(["sh", "-c", 'ulimit -n 100; exec "$0" "$1"', process.execPath, file]);
    expect(await program.line()).toBe("EMFILE");
    expect(await program.line()).toBe("once more");
    expect(await program.end()).toEqual({ status: 0, stderr: "" });
    rmSync(directory, { recursive: true, force: true });
  });
});

describe("children of the process", () => {
  test("no descriptor of a socket, the library, or the reactor is inheritable", async () => {
    using program = startProgram(`
      import { readdirSync, readFileSync, readlinkSync } from "node:fs";
      const CLOEXEC = 0o2000000;
      const descriptors = () => readdirSync("/proc/self/fd").flatMap((fd) => {
        try {
          const flags = /^flags:\\s*(\\d+)$/m.exec(readFileSync("/proc/self/fdinfo/" + fd, "utf8"))[1];
          const inherited = (Number.parseInt(flags, 8) & CLOEXEC) === 0;
          return [fd + " " + readlinkSync("/proc/self/fd/" + fd) + (inherited ? " inherited" : "")];
        } catch { return []; }
      });
      const before = new Set(descriptors());
      ${START_WORKER}
      const router = new zmq.Router(), publisher = new zmq.Publisher();
      await router.bind("tcp://127.0.0.1:*");
      await publisher.bind("ipc:///tmp/cdktr-zmq-inherit-" + process.pid + ".sock");
      const dealers = Array.from({ length: 10 }, () => new zmq.Dealer({ linger: 0 }));
      for (const dealer of dealers) {
        dealer.connect(router.lastEndpoint);
        dealer.events.on("connected", () => {});
        await dealer.send("hello");
        await router.receive();
        dealer.receive().catch(() => {});
      }
      const made = descriptors().filter((one) => !before.has(one));
      const child = Bun.spawnSync(["ls", "-l", "/proc/self/fd"]).stdout.toString();
      console.log(JSON.stringify({ made, child }));
      process.exit(0);
    `);
    const { made, child }: { made: string[]; child: string } = JSON.parse(await program.line());
    expect(made.filter((one) => one.includes("eventpoll")).length).toBeGreaterThanOrEqual(1);
    expect(made.filter((one) => one.includes("socket:")).length).toBeGreaterThan(20);
    expect(made.filter((one) => one.endsWith("inherited"))).toEqual([]);
    expect(child).not.toMatch(/eventpoll|eventfd/);
  });

  test("a port is free as soon as its socket is closed, although a child of that time still runs", async () => {
    const first = new Pull();
    await first.bind(ANY_PORT);
    const child = Bun.spawn(["cat"], { stdin: "pipe", stdout: "ignore" });
    first.close();
    using second = new Pull();
    await second.bind(first.lastEndpoint);
    child.kill();
    await child.exited;
  });
});

describe("a compiled executable", () => {
  test("has the Worker inside: alone in an empty directory it waits for messages and ends", async () => {
    const directory = mkdtempSync(join(tmpdir(), "cdktr-zmq-compiled-"));
    const source = mkdtempSync(join(tmpdir(), "cdktr-zmq-source-"));
    try {
      const file = join(source, "program.ts");
      writeFileSync(
        file,
        `
        import * as zmq from ${JSON.stringify(ZMQ_INDEX)};
        import { reactor } from ${JSON.stringify(join(ZMQ_INDEX, "../reactor.ts"))};
        ${NOT_FOREVER}
        const pull = new zmq.Pull();
        await pull.bind("tcp://127.0.0.1:*");
        console.log(pull.lastEndpoint);
        for await (const [part] of pull) {
          console.log(String(part), reactor().workerReady);
          if (String(part) === "end") break;
        }
        pull.close();
        `,
      );
      const library = nativeLibraryPath("libzmq");
      const outfile = join(directory, "program");
      await Bun.build({
        entrypoints: [file],
        compile: { outfile },
        plugins: [
          {
            name: "library outside of the executable",
            setup(build) {
              build.onLoad({ filter: /src\/native\/libraries\.ts$/ }, () => ({
                contents: `export const nativeLibraryPath = () => ${JSON.stringify(library)};`,
                loader: "ts",
              }));
            },
          },
        ],
      });
      chmodSync(outfile, 0o755);
      rmSync(source, { recursive: true });
      using program = start([outfile], { cwd: directory, env: {} });
      using push = new Push();
      const endpoint = await program.line();
      push.connect(endpoint);
      let answer = "";
      // The first answers may come before the Worker is there.
      await push.send("message");
      for (answer = await program.line(); answer === "message false"; answer = await program.line()) {
        await push.send("message");
      }
      expect(answer).toBe("message true");
      await push.send("end");
      expect(await program.line()).toBe("end true");
      expect(await program.end()).toEqual({ status: 0, stderr: "" });
    } finally {
      rmSync(directory, { recursive: true, force: true });
      rmSync(source, { recursive: true, force: true });
    }
  });
});
