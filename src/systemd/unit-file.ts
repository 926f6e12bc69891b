/** Unit files on disk: whether somebody has edited one since cdktr wrote it, and what a new one changes. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";

/** What an operator chose for a unit, and is kept when it is written anew. */
export const Choices = z.object({
  args: z.array(z.string()).readonly(),
  directory: z.string(),
  runAs: z.string(),
});
export type Choices = z.infer<typeof Choices>;

const CHOICES = /^# Made with: (.*)$/m;
const CHECKSUM = /^# Checksum: ([0-9a-f]{16})\n/m;

/** Writes into the first comment of a unit what it was made of, so that a later look tells whether it was edited. */
export function sealed(text: string): string {
  return text.replace("\n\n", () => `\n# Checksum: ${checksum(text)}\n\n`);
}

/** The line of a unit in which {@link choicesOf} finds them. */
export function choicesLine({ args, directory, runAs }: Choices): string {
  return `# Made with: ${JSON.stringify({ args, directory, runAs })}`;
}

/** What was chosen for a unit; undefined when it does not say. */
export function choicesOf(unit: string): Choices | undefined {
  try {
    return Choices.safeParse(JSON.parse(CHOICES.exec(unit)?.[1] ?? "")).data;
  } catch {
    return undefined;
  }
}

/** Whether a unit is other than {@link sealed} made it. */
export function isEdited(text: string): boolean {
  return CHECKSUM.exec(text)?.[1] !== checksum(text.replace(CHECKSUM, ""));
}

/** The lines of the settings that a new text takes away (`-`) and brings (`+`); comments do not count. */
export function differences(before: string, after: string): string[] {
  const settings = (text: string) => text.split("\n").filter((line) => /^[A-Z]\w+=/.test(line));
  const [old, now] = [settings(before), settings(after)];
  return [
    ...old.filter((line) => !now.includes(line)).map((line) => `- ${line}`),
    ...now.filter((line) => !old.includes(line)).map((line) => `+ ${line}`),
  ];
}

/** The unit that stands there; undefined when none does. */
export function readUnit(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, "utf8") : undefined;
}

/** The drop-ins of a unit: what somebody added to it with `systemctl edit`. */
export function dropIns(unitFile: string): string[] {
  const directory = `${unitFile}.d`;
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .filter((name) => name.endsWith(".conf"))
    .sort()
    .map((name) => join(directory, name));
}

function checksum(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}
