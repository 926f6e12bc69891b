import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { ArgDef } from "citty";
import { withVerbTables } from "../../scripts/manual.ts";
import { readCommandLine, resolve, subCommandsOf } from "../../src/cli/support/argv.ts";
import type { Command, LazyCommand } from "../../src/cli/support/command.ts";
import { renderMarkdown } from "../../src/cli/support/markdown.ts";
import { renderUsage } from "../../src/cli/support/usage.ts";
import { SETTINGS } from "../../src/config.ts";
import type { VerbEntry } from "../../src/contract/verb-entry.ts";
import { VERBS } from "../../src/contract/verbs.ts";
import { findPage, PAGES } from "../../src/docs/index.ts";
import { root } from "../../src/main.ts";
import { parseAlert } from "../../src/workflow/alert-file.ts";
import type { AnyField } from "../../src/workflow/field.ts";
import { Workflow } from "../../src/workflow/model.ts";
import { parseWorkflow } from "../../src/workflow/parse.ts";
import { parseSettings } from "../../src/workflow/settings-file.ts";
import { codeBlocks } from "../support/code-blocks.ts";
import { simpleCommands } from "./shell-words.ts";

const README = join(import.meta.dir, "../../README.md");
const TEXTS = [
  ...PAGES.map(({ topic, text }) => ({ name: `${topic}.md`, text })),
  ...(existsSync(README) ? [{ name: "README.md", text: readFileSync(README, "utf8") }] : []),
];

/** Reads a command as the shell would pass it; throws what the command line would say. */
async function check(words: readonly string[]): Promise<void> {
  const [program, ...argv] = words;
  if (program === "cdktr") await readCommandLine(root, argv);
}

async function* commands(
  command: Command,
  path: string[],
): AsyncGenerator<{ path: string[]; command: Command }> {
  yield { path, command };
  const below: Record<string, Command | LazyCommand> = (await subCommandsOf(command)) ?? {};
  for (const [name, sub] of Object.entries(below)) {
    yield* commands(typeof sub === "function" ? await sub() : sub, [...path, name]);
  }
}

async function allCommands() {
  const all: { path: string[]; command: Command }[] = [];
  for await (const each of commands(root, ["cdktr"])) all.push(each);
  return all;
}

describe.each(TEXTS)("$name", ({ text }) => {
  test("every workflow and every alert file it shows is valid", () => {
    for (const block of codeBlocks(text)) {
      if (block.language === "yaml" && /^query:/m.test(block.text)) {
        expect(parseAlert(block.text, `line ${block.line}`)).toMatchObject({ ok: true, warnings: [] });
        continue;
      }
      if (block.language !== "yaml" || !/^(name|tasks):/m.test(block.text)) continue;
      const result = parseWorkflow(block.text, { id: "example", path: `line ${block.line}` });
      expect({ line: block.line, ...result, definition: undefined }).toEqual({
        line: block.line,
        ok: true,
        definition: undefined,
        warnings: [],
      });
    }
  });

  test("all settings of directories that it shows are valid", () => {
    for (const block of codeBlocks(text)) {
      if (block.language !== "yaml" || !/^(defaults|pools|calendars|channels|notify):/.test(block.text))
        continue;
      expect(parseSettings(block.text, `line ${block.line}`, true)).toMatchObject({ ok: true, warnings: [] });
    }
  });

  test("every command it shows exists, with its options", async () => {
    for (const block of codeBlocks(text)) {
      if (block.language !== "sh") continue;
      for (const words of simpleCommands(block.text)) {
        await check(words).catch((error) => {
          throw new Error(`line ${block.line}: ${words.join(" ")}: ${error.message}`);
        });
      }
    }
  });

  test("every command it mentions exists", async () => {
    const prose = text.replace(/^```[\s\S]*?^```$/gm, "");
    for (const [, code = ""] of prose.matchAll(/`(cdktr [^`]+)`/g)) {
      if (/COMMAND/.test(code)) continue;
      for (const words of simpleCommands(code)) {
        // A command may be named without its arguments.
        await check(words).catch((error) => {
          if (/ needs [A-Z-]+\.$/.test(error.message)) return;
          throw new Error(`${code}: ${error.message}`);
        });
      }
    }
  });

  test("fits a terminal when it is rendered", () => {
    const lines = renderMarkdown(text, { width: 80, colors: false }).split("\n");
    const prose = lines.filter((line) => !line.startsWith("    "));
    expect(prose.filter((line) => Bun.stringWidth(line) > 80)).toEqual([]);
  });

  test("its diagrams fit a terminal, indented as they are", () => {
    const diagrams = codeBlocks(text).filter(({ language }) => language === "text");
    const lines = diagrams.flatMap((block) => block.text.split("\n"));
    expect(lines.filter((line) => Bun.stringWidth(line) > 76)).toEqual([]);
  });
});

describe("the manual as a whole", () => {
  test("pages that are referred to exist", () => {
    for (const { text } of TEXTS) {
      for (const [, topic = ""] of text.matchAll(/`cdktr docs ([a-z-]+)`/g))
        expect(findPage(topic)?.topic).toBe(topic);
    }
  });

  test("every key of workflows and tasks is in its table, and every other key of the language is told", () => {
    const page = findPage("workflows")?.text ?? "";
    const all = PAGES.map(({ text }) => text).join("\n");
    const rowsOf = (heading: string) => {
      const [, section = ""] = page.split(`\n## ${heading}\n`);
      const cells = (section.split("\n## ")[0] ?? "").matchAll(/^\| (`[^|]*`) +\|/gm);
      return [...cells].flatMap(([, cell = ""]) => cell.split(", ").map((key) => key.replaceAll("`", "")));
    };
    const task = Workflow.child("tasks", undefined)?.child("any", undefined);
    expect(
      Object.keys(Workflow.keys(undefined)).filter((key) => !rowsOf("Keys of a workflow").includes(key)),
    ).toEqual([]);
    const ofTasks = Object.keys(task?.keys(undefined) ?? {});
    expect(ofTasks.length).toBeGreaterThan(10);
    const told = [...rowsOf("Keys of a task"), "key", "max_parallel", "fail_fast"];
    expect(ofTasks.filter((key) => !told.includes(key))).toEqual([]);

    const missing: string[] = [];
    const visit = (field: AnyField | undefined, path: string, levels: number): void => {
      if (field === undefined || levels === 0) return;
      const { keys = {}, kinds = {}, entry } = field.traits;
      for (const [key, inner] of Object.entries(keys)) {
        if (key === "!") continue;
        const isTold = new RegExp(`(\`|^|[\\s{(,])${key}(\`|:|\\b)`, "m").test(all);
        if (!isTold) missing.push(`${path}${key}`);
        visit(inner, `${path}${key}.`, levels - 1);
      }
      for (const [tag, inner] of Object.entries(kinds)) {
        if (!all.includes(`!${tag}`)) missing.push(`${path}!${tag}`);
        visit(inner, `${path}!${tag}.`, levels - 1);
      }
      if (entry !== field) visit(entry, path, levels - 1);
    };
    visit(Workflow, "", 8);
    expect(missing).toEqual([]);
  });

  test("every setting is described, with its default", () => {
    const text = findPage("configuration")?.text ?? "";
    for (const [name, { default: byDefault }] of Object.entries(SETTINGS)) {
      const row = text.split("\n").find((line) => line.startsWith(`| \`${name}\``)) ?? "";
      expect(row).toContain(name);
      if (typeof byDefault !== "function") expect(row).toContain(`\`${byDefault}\``);
    }
  });

  test("its tables of verbs are those of the table of verbs", () => {
    const text = findPage("wire-protocol")?.text ?? "";
    // `bun scripts/manual.ts` writes them.
    expect(text).toBe(withVerbTables(text));
  });

  test("every action of the audit log is told", () => {
    const text = findPage("audit")?.text ?? "";
    const missing = Object.values(VERBS).flatMap(({ audit }: VerbEntry) => {
      const action = typeof audit === "object" && typeof audit.action === "string" ? audit.action : undefined;
      return action === undefined || text.includes(`\`${action}\``) ? [] : action;
    });
    expect(missing).toEqual([]);
  });

  test("every command is listed", async () => {
    const text = findPage("cli")?.text ?? "";
    const names = (await allCommands())
      .filter(({ command, path }) => command.run !== undefined && path.join(" ") !== "cdktr run")
      .map(({ path }) => path.join(" "));
    expect(names.filter((name) => !text.includes(`\`${name}`))).toEqual([]);
    // And nothing that there is not, nor a line about it that the command does not agree with.
    const rows = [...text.matchAll(/^\| (`cdktr .*?`)\s*\|/gm)].flatMap(([, cell]) => [
      ...(cell ?? "").matchAll(/`([^`]+)`/g),
    ]);
    expect(rows.length).toBeGreaterThanOrEqual(names.length);
    for (const [, row] of rows) await readCommandLine(root, [...(row ?? "").split(" ").slice(1), "--help"]);
  });
});

describe("the help of every command", () => {
  test("is there, fits a terminal, and its examples are valid", async () => {
    for (const { path, command } of await allCommands()) {
      const name = path.join(" ");
      const group =
        path.length < 2
          ? undefined
          : (await allCommands()).find((each) => each.path.join() === path.slice(0, -1).join())?.command;
      const usage = await renderUsage(command, path, {
        width: 80,
        ...(group === undefined ? {} : { group }),
      });
      expect(usage).toContain("USAGE");
      if (command.run !== undefined) {
        // As a page of man has it; nothing is without a word about it.
        for (const section of ["OPTIONS", "EXAMPLES", "EXIT STATUS", "SEE ALSO"])
          expect(`${name}: ${usage.includes(`\n${section}\n`)} ${section}`).toBe(`${name}: true ${section}`);
        const also = usage
          .slice(usage.indexOf("\nSEE ALSO\n") + 10)
          .replace(/\s+/g, " ")
          .split(", ");
        expect(`${name}: ${also.join(", ")}`).toBe(`${name}: ${[...new Set(also)].join(", ")}`);
        for (const [key, arg] of Object.entries((await resolve(command.args)) ?? {}) as [string, ArgDef][]) {
          const about =
            "negativeDescription" in arg && arg.default === true ? arg.negativeDescription : arg.description;
          expect(`${name} ${key}: ${about ?? ""}`).toMatch(/: \S.{3,}/);
        }
        if (command.extras?.rest !== undefined) expect(command.extras.restDescription ?? "").not.toBe("");
        for (const other of command.extras?.see ?? [])
          await readCommandLine(root, [...other.split(" "), "--help"]);
      }
      // A setting that an option overrides is named with its default.
      for (const [text] of usage.replace(/\s+/g, " ").matchAll(/\(else CDKTR_[^)]*\)/g))
        expect(`${name}: ${text}`).toMatch(/, default \S+\)$/);
      const tooWide = usage
        .split("\n")
        .filter((line) => !line.startsWith("  cdktr") && Bun.stringWidth(line) > 80);
      expect({ name, tooWide }).toEqual({ name, tooWide: [] });
      const examples = command.extras?.examples ?? [];
      if (command.run !== undefined) expect(`${name}: ${examples.length > 0}`).toBe(`${name}: true`);
      for (const example of examples) {
        const found = simpleCommands(example.command);
        expect(found[0]?.[0]).toBe("cdktr");
        for (const words of found) {
          await check(words).catch((error) => {
            throw new Error(`${name}: ${example.command}: ${error.message}`);
          });
        }
      }
      const topic = command.extras?.topic;
      if (topic !== undefined) expect(findPage(topic)?.topic).toBe(topic);
    }
  });
});

test("every command that shows something takes --json", async () => {
  const showing = (await allCommands()).filter(({ path }) =>
    /^(list|show|status|query|tail|graph|schema|doctor|version|docs|validate)$/.test(path.at(-1) ?? ""),
  );
  expect(showing.length).toBeGreaterThan(15);
  const without: string[] = [];
  for (const { path, command } of showing) {
    const args = (await resolve(command.args)) ?? {};
    if (!Object.hasOwn(args, "json")) without.push(path.join(" "));
  }
  expect(without).toEqual([]);
});
