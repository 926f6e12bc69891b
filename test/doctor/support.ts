/** Runs the doctor and searches its report. */
import { expect } from "bun:test";
import type { Finding } from "../../src/doctor/finding.ts";
import { type CommandOptions, cdktr } from "../support/cdktr.ts";

/** The report of the doctor and its exit status. */
export interface Examination {
  readonly ok: boolean;
  readonly findings: readonly Finding[];
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `cdktr doctor`, with `--json` unless that is false. */
export async function examined(options: CommandOptions & { readonly json?: boolean }): Promise<Examination> {
  const { json = true } = options;
  const result = await cdktr(["doctor", ...(json ? ["--json"] : [])], options);
  if (result.stdout === "") throw new Error(`the doctor said nothing (${result.code}):\n${result.stderr}`);
  if (json) expect(result.stderr).toBe("");
  const report = json
    ? (JSON.parse(result.stdout) as Pick<Examination, "ok" | "findings">)
    : { ok: false, findings: [] };
  for (const { check, severity, message, why, remedy } of report.findings) {
    // Of everything that is wrong: what, why, and what to do.
    expect([check, severity, message]).toEqual([check, severity, expect.stringMatching(/\S/)]);
    if (severity === "ok") expect([why, remedy]).toEqual([null, null]);
    else expect([why, remedy]).toEqual([expect.stringMatching(/\S/), expect.stringMatching(/\S/)]);
  }
  if (json) expect(report.ok).toBe(result.code === 0);
  return { ...result, ...report };
}

/** The finding of a check with a severity. */
export function findingOf(
  report: Pick<Examination, "findings">,
  check: string,
  severity: Finding["severity"],
): Finding {
  const found = report.findings.find((finding) => finding.check === check && finding.severity === severity);
  if (found === undefined)
    throw new Error(`no ${severity} of ${check}: ${JSON.stringify(report.findings, null, 1)}`);
  return found;
}

/** What is wrong. */
export function errorsOf(report: Pick<Examination, "findings">): string[] {
  return report.findings.filter(({ severity }) => severity === "error").map(({ message }) => message);
}
