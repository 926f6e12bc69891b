/** Unit files on disk: detects manual edits, and compares versions. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";

/** The operator's choices for a unit, which are kept when it is rewritten. */
export const Choices = z.object({
  args: z.array(z.string()).readonly(),
  directory: z.string(),
  runAs: z.string(),
});
export type Choices = z.infer<typeof Choices>;

const CHOICES = /^# Made with: (.*)$/m;
const CHECKSUM = /^# Checksum: ([0-9a-f]{16})\n/m;

/** Adds a checksum to the first comment of a unit, so that edits can be detected later. */
export function sealed(text: string): string {
  return text.replace("\n\n", () => `\n# Checksum: ${checksum(text)}\n\n`);
}

/** The line of a unit that {@link choicesOf} reads. */
export function choicesLine({ args, directory, runAs }: Choices): string {
  return `# Made with: ${JSON.stringify({ args, directory, runAs })}`;
}

/** The choices recorded in a unit; undefined when it has none. */
export function choicesOf(unit: string): Choices | undefined {
  try {
    return Choices.safeParse(JSON.parse(CHOICES.exec(unit)?.[1] ?? "")).data;
  } catch {
    return undefined;
  }
}

/** Whether a unit differs from what {@link sealed} wrote. */
export function isEdited(text: string): boolean {
  return CHECKSUM.exec(text)?.[1] !== checksum(text.replace(CHECKSUM, ""));
}

/** The settings that a new text removes (`-`) and adds (`+`), ignoring comments. */
export function differences(before: string, after: string): string[] {
  const settings = (text: string) => text.split("\n").filter((line) => /^[A-Z]\w+=/.test(line));
  const [old, now] = [settings(before), settings(after)];
  return [
    ...old.filter((line) => !now.includes(line)).map((line) => `- ${line}`),
    ...now.filter((line) => !old.includes(line)).map((line) => `+ ${line}`),
  ];
}

/** The installed unit; undefined when there is none. */
export function readUnit(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, "utf8") : undefined;
}

/** The drop-ins of a unit: what was added with `systemctl edit`. */
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
