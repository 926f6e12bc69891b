import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { pythonWith } from "../support/python.ts";
import { BINARY, COMPILED, ROOT, TemporaryDirectory } from "./support/fixtures.ts";

/** The official CycloneDX validator for Python, with its built-in schema; it prints all problems. */
const VALIDATE = `
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
print(JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read()) or "valid")
`;

interface Component {
  readonly name: string;
  readonly version?: string;
  readonly purl?: string;
  readonly licenses: readonly unknown[];
  readonly hashes?: readonly { alg: string; content: string }[];
  readonly components?: readonly Component[];
}

function said(...words: string[]): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync([BINARY, ...words]);
  expect(`${exitCode} ${stderr}`).toBe("0 ");
  return stdout.toString();
}

test.if(COMPILED)("the executable carries the licenses of what is inside, and nothing that is not", () => {
  const list = said("version", "--licenses");
  const parts = [
    "Bun",
    "libzmq",
    "libsodium",
    "DuckDB",
    "duckdb-extension-ducklake",
    "duckdb-extension-httpfs",
    "duckdb-extension-postgres-scanner",
    "zeromq",
    "@duckdb/node-api",
    "citty",
    "terminal-kit",
    "zod",
    "yaml",
  ];
  for (const name of parts)
    expect(list).toMatch(new RegExp(`^${name.replace("/", "\\/")}( \\d[\\w.-]*)? +\\S`, "m"));
  // The texts that must go with them.
  for (const text of [
    "Mozilla Public License Version 2.0",
    "GNU LIBRARY GENERAL PUBLIC LICENSE",
    "GNU LESSER GENERAL PUBLIC LICENSE",
    "Apache License",
    "Stichting DuckDB Foundation",
    "Frank Denis",
    "Daniel Stenberg",
    "PostgreSQL Global Development Group",
    "https://github.com/zeromq/libzmq/releases/tag/v4.3.5",
  ])
    expect(`${text}: ${list.includes(text)}`).toBe(`${text}: true`);
  // Packages that only come along with others and are left out of the bundle, or serve the build alone.
  expect(list).not.toMatch(/^(jpeg-js|cmake-ts|typescript|@biomejs\/biome) /m);
  // Every package that the source imports itself.
  const { dependencies } = JSON.parse(readFileSync(`${ROOT}/package.json`, "utf8"));
  for (const [name, version] of Object.entries(dependencies)) expect(list).toContain(`\n${name} ${version} `);
});

test.if(COMPILED)(
  "its bill of materials is CycloneDX, as its schema wants it, and says what package-lock.json says",
  async () => {
    const text = said("version", "--sbom");
    const python = await pythonWith(["cyclonedx-python-lib[json-validation]==11.6.0"]);
    const validator = Bun.spawn([python, "-c", VALIDATE], {
      stdin: Buffer.from(text),
      stdout: "pipe",
      stderr: "inherit",
    });
    expect((await new Response(validator.stdout).text()).trim()).toBe("valid");

    const document = JSON.parse(text) as { metadata: { component: Component }; components: Component[] };
    expect(document.metadata.component).toMatchObject({ name: "cdktr", version: said("version").trim() });
    const lock = JSON.parse(readFileSync(`${ROOT}/package-lock.json`, "utf8")).packages;
    const packages = document.components.filter(({ purl }) => purl?.startsWith("pkg:npm/"));
    expect(packages.length).toBeGreaterThan(15);
    for (const { name, version, hashes, purl } of packages) {
      const { version: locked, integrity } = lock[`node_modules/${name}`];
      expect({ name, version, purl }).toEqual({
        name,
        version: locked,
        purl: `pkg:npm/${name.replace("@", "%40")}@${locked}`,
      });
      const digest = Buffer.from(hashes?.[0]?.content ?? "", "hex").toString("base64");
      expect(`sha512-${digest}`).toBe(integrity);
    }
    const bun = document.components.find(({ name }) => name === "Bun");
    expect(bun?.version).toBe(Bun.version);
    expect(bun?.components?.map(({ name }) => name)).toContain("boringssl");
    for (const { name, licenses } of document.components)
      expect(`${name} ${licenses.length}`).toBe(`${name} 1`);
  },
);

test.if(COMPILED)(
  "a release: an executable that knows what it was built from, its lists, checksums that are right",
  async () => {
    using directory = new TemporaryDirectory();
    const outdir = directory.path("release");
    const target = `linux-${process.arch}`;
    const release = Bun.spawn(
      [process.execPath, "scripts/release.ts", "--outdir", outdir, "--target", target],
      {
        cwd: ROOT,
        stdout: "pipe",
        stderr: "pipe",
      },
    );
    const [status, out, err] = await Promise.all([
      release.exited,
      new Response(release.stdout).text(),
      new Response(release.stderr).text(),
    ]);
    expect(`${status} ${out} ${err}`).toStartWith("0 ");
    const name = /cdktr-\S+/.exec(readFileSync(`${outdir}/SHA256SUMS`, "utf8"))?.[0] ?? "";
    const check = Bun.spawnSync(["sha256sum", "--check", "--strict", "SHA256SUMS"], { cwd: outdir });
    expect(check.stdout.toString()).toBe(
      [`${name}: OK`, `${name}.licenses.txt: OK`, `${name}.cdx.json: OK`, ""].join("\n"),
    );
    const run = (...words: string[]) => Bun.spawnSync([`${outdir}/${name}`, ...words]).stdout.toString();
    expect(readFileSync(`${outdir}/${name}.licenses.txt`, "utf8")).toBe(run("version", "--licenses"));
    expect(readFileSync(`${outdir}/${name}.cdx.json`, "utf8")).toBe(run("version", "--sbom"));
    const facts = JSON.parse(run("version", "--json"));
    expect(facts).toMatchObject({ target, compiled: true, platform: target, bun: Bun.version });
    expect(facts.libraries.zeromq).toMatch(/^\d+\.\d+/);
    const head = Bun.spawnSync(["git", "rev-parse", "HEAD"], { cwd: ROOT });
    if (head.exitCode === 0) expect(facts.commit).toBe(head.stdout.toString().trim());
  },
  300_000,
);
