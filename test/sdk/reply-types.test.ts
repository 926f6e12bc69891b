import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { z } from "zod";
import { withReplyTypes } from "../../scripts/sdk-types.ts";
import {
  BackfillPlan,
  PrincipalInfo,
  RunCreated,
  RunDetails,
  Subscribed,
} from "../../src/contract/messages.ts";
import { isVerb } from "../../src/contract/verbs.ts";
import { PYTHON_PACKAGE } from "../../src/sdk/python-package.ts";

test("the TypeScript client declares replies as their schemas say", () => {
  const text = readFileSync(join(import.meta.dir, "../../src/sdk/typescript/cdktr.d.ts"), "utf8");
  // `bun scripts/sdk-types.ts` writes them, and Biome breaks their lines.
  const squeezed = (types: string) => types.replace(/\s+/g, "").replace(/([:=(])\|/g, "$1");
  expect(squeezed(withReplyTypes(text))).toBe(squeezed(text));
  expect(text).toContain("readonly workflow_instance_id: string;");
});

test("the Python client knows the verbs it uses, and the fields of replies that it reads", () => {
  const source = Object.entries(PYTHON_PACKAGE)
    .filter(([path]) => path.endsWith(".py"))
    .map(([, text]) => text)
    .join("\n");
  const verbs = [...source.matchAll(/\[\s*"([A-Z]{4,})"[,\]]/g)].map(([, verb = ""]) => verb);
  expect(verbs).toContain("RUNTASK");
  expect(verbs.filter((verb) => !isVerb(verb))).toEqual([]);

  const read = source.matchAll(/(?:payload|info|loads\(reply\.payload\))(?:\.get\(|\[)"(\w+)"/g);
  const schemas: readonly z.ZodObject[] = [RunCreated, RunDetails, PrincipalInfo, Subscribed, BackfillPlan];
  const fields = [...new Set([...read].map(([, field = ""]) => field))];
  expect(fields.toSorted()).toEqual([
    "error",
    "firings",
    "logs_publishing_port",
    "member",
    "members",
    "next",
    "outputs",
    "outputs_left_out",
    "status",
    "subscribed",
    "tasks",
    "workflow_instance_id",
  ]);
  expect(fields.filter((field) => !schemas.some(({ shape }) => field in shape))).toEqual([]);
});
