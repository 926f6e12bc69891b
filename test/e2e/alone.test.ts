import { expect, test } from "bun:test";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { freePorts } from "../support/cdktr.ts";
import { BINARY, COMPILED, TemporaryDirectory, until } from "./support/fixtures.ts";

/** The shared libraries that the host must have: libc with its loader and its parts, and the C++ runtime. */
const LIBRARIES = /^(?:ld-linux|libc|libm|libdl|libpthread|librt|libresolv|libstdc\+\+|libgcc_s)[-.]/;

const chroot = Bun.which("chroot", { PATH: `${process.env.PATH}:/usr/sbin:/sbin` }) ?? "chroot";

/** Mounts /proc and /dev in the root given as $1 and runs the rest of the arguments as a command there. */
const ENTER = `mount --rbind /proc "$1/proc" && mount --rbind /dev "$1/dev" && exec env -i HOME=/data PATH=/ $SETTINGS ${chroot} "$@"`;

const canEnter =
  Bun.spawnSync(["unshare", "--mount", "sh", "-c", `mount -t tmpfs tmpfs /mnt && ${chroot} / /bin/true`], {
    stdout: "ignore",
    stderr: "ignore",
  }).exitCode === 0;

/** Copies what `LIBRARIES` names from this host to the same places below `root`. */
function copyLibraries(root: string): string[] {
  const copied: string[] = [];
  const cache = Bun.spawnSync(["/sbin/ldconfig", "-p"]).stdout.toString();
  const loader = Bun.spawnSync(["ldd", BINARY]).stdout.toString();
  const paths = new Set(
    [...`${cache}\n${loader}`.matchAll(/(\/[^\s]+\.so[^\s]*)/g)].map((match) => match[1] ?? ""),
  );
  for (const path of paths) {
    const name = path.slice(path.lastIndexOf("/") + 1);
    if (!LIBRARIES.test(name) || /i386|lib32|x32/.test(path)) continue;
    mkdirSync(join(root, dirname(path)), { recursive: true });
    copyFileSync(path, join(root, path));
    copied.push(path);
  }
  return copied;
}

// Needs root: without it no directory can become the root of a process, and nothing can be mounted there.
test.if(COMPILED && canEnter)(
  "copied alone into a root with only libc and libstdc++, it runs principal, agent and a workflow",
  async () => {
    using directory = new TemporaryDirectory();
    const root = directory.root;
    expect(copyLibraries(root).some((path) => path.includes("libstdc++"))).toBe(true);
    copyFileSync(BINARY, join(root, "cdktr"));
    for (const name of ["proc", "dev", "tmp", "data", "workflows"]) mkdirSync(join(root, name));
    // There is no other program in that root: the task is cdktr itself.
    writeFileSync(
      join(root, "workflows", "self.yml"),
      'name: Self\ntasks:\n  version:\n    name: Version\n    config: !Subprocess\n      cmd: /cdktr\n      args: ["version"]\n',
    );
    const [api, listening, publishing] = await freePorts(3);
    const settings = [
      `CDKTR_PRINCIPAL_PORT=${api}`,
      `CDKTR_LOGS_LISTENING_PORT=${listening}`,
      `CDKTR_LOGS_PUBLISHING_PORT=${publishing}`,
    ];
    const inside = (...args: string[]) =>
      Bun.spawn(["unshare", "--mount", "sh", "-c", ENTER, "sh", root, "/cdktr", ...args], {
        env: { PATH: process.env.PATH, SETTINGS: settings.join(" ") },
        stdout: "pipe",
        stderr: "pipe",
      });
    const ask = async (...args: string[]) => {
      const child = inside(...args);
      const [stdout, stderr] = await Promise.all([
        new Response(child.stdout).text(),
        new Response(child.stderr).text(),
      ]);
      return { code: await child.exited, stdout, stderr };
    };

    expect(await ask("--version")).toMatchObject({ code: 0, stderr: "" });
    expect(await ask("workflow", "validate", "/workflows")).toMatchObject({ code: 0 });

    const principal = inside("start", "principal", "--with-agent");
    const spoken = new Response(principal.stderr).text();
    try {
      await until("the agent is there", async () => {
        if (principal.exitCode !== null) throw new Error(`the principal ended:\n${await spoken}`);
        return (await ask("agents", "list", "--json")).stdout.includes('"UP"');
      });
      const run = await ask("task", "run", "self", "--follow");
      expect(run).toMatchObject({ code: 0 });
      const logged = await ask("logs", "query", "--workflow", "self", "--json");
      expect(logged.stdout).toContain((await ask("--version")).stdout.trim());
      const counted = await ask(
        "db",
        "query",
        "SELECT count(*) AS runs FROM workflow_runs WHERE status = 'COMPLETED'",
        "--json",
      );
      expect(counted).toMatchObject({ code: 0 });
      expect(JSON.parse(counted.stdout)).toEqual([{ runs: 1 }]);
    } finally {
      principal.kill("SIGTERM");
      await principal.exited;
    }
    expect(principal.exitCode).toBe(0);
  },
  120_000,
);
