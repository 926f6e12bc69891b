/** The list of parts for programs: CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/). */
import packageJson from "../../package.json" with { type: "json" };
import type { BuildFacts } from "../../src/build-facts.ts";
import type { Part } from "./parts.ts";

/** Identifiers of SPDX that occur here by themselves; other licenses are expressions of them, or words. */
const SPDX = new Set([
  "Apache-2.0",
  "BSD-2-Clause",
  "BSD-3-Clause",
  "BSL-1.0",
  "ISC",
  "LGPL-2.0-only",
  "MIT",
  "MPL-2.0",
  "PostgreSQL",
  "Unicode-3.0",
  "Zlib",
  "curl",
]);

/** The document, the same for everybody who builds the same commit. */
export function sbom(parts: readonly Part[], facts: BuildFacts): string {
  const components = parts.map((part) => component(part, ""));
  const self = {
    type: "application",
    "bom-ref": "cdktr",
    name: "cdktr",
    version: packageJson.version,
    description: packageJson.description,
    licenses: [{ license: { id: packageJson.license } }],
    purl: `pkg:generic/cdktr@${packageJson.version}?arch=${facts.target}`,
    properties: [
      { name: "cdktr:target", value: facts.target },
      ...(facts.commit === null ? [] : [{ name: "cdktr:commit", value: facts.commit }]),
    ],
  };
  const refs = components.map((each) => each["bom-ref"]);
  const document = {
    $schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    serialNumber: `urn:uuid:${uuidOf(JSON.stringify([self, components]))}`,
    version: 1,
    metadata: {
      ...(facts.commit_time === null ? {} : { timestamp: facts.commit_time }),
      component: self,
    },
    components,
    dependencies: [{ ref: "cdktr", dependsOn: refs }, ...refs.map((ref) => ({ ref }))],
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

interface Component {
  readonly "bom-ref": string;
  readonly [field: string]: unknown;
}

function component({ name, version, license, purl, integrity, parts }: Part, within: string): Component {
  const ref = purl ?? `${within}${name}`;
  return {
    type: name === "Bun" ? "platform" : "library",
    "bom-ref": ref,
    name,
    ...(version === undefined ? {} : { version }),
    ...(integrity === undefined ? {} : { hashes: [{ alg: "SHA-512", content: hexOf(integrity) }] }),
    licenses: [licenseOf(license)],
    ...(purl === undefined ? {} : { purl }),
    ...(parts === undefined ? {} : { components: parts.map((part) => component(part, `${name}/`)) }),
  };
}

function licenseOf(license: string): Record<string, unknown> {
  if (SPDX.has(license)) return { license: { id: license } };
  const identifiers = license.replace(/[()]/g, "").split(/ AND | OR /);
  if (identifiers.every((id) => SPDX.has(id))) return { expression: license };
  return { license: { name: license } };
}

function hexOf(integrity: string): string {
  return Buffer.from(integrity.replace(/^sha512-/, ""), "base64").toString("hex");
}

/** A UUID that follows from a text (RFC 9562, version 8). */
function uuidOf(text: string): string {
  const hex = new Bun.CryptoHasher("sha256").update(text).digest("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
