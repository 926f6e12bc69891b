import { ALERT_EXAMPLES } from "../docs/alert-examples.ts";
import { WORKFLOW_EXAMPLES } from "../docs/examples.ts";
import { findPage, PAGES } from "../docs/index.ts";
import { NotFoundError, UsageError } from "../errors.ts";
import { nearest } from "../terminal/did-you-mean.ts";
import { command } from "./support/command.ts";
import { jsonArg } from "./support/globals.ts";
import { renderMarkdown } from "./support/markdown.ts";
import { printJson, printLine, writeStdout } from "./support/stdout.ts";
import { styleFor, terminalWidth } from "./support/style.ts";
import { renderTable } from "./support/table.ts";

/** Maximum line length for readability. */
const WIDEST = 100;

export default command({
  meta: { name: "docs", description: "Read the manual" },
  args: {
    topic: {
      type: "positional",
      required: false,
      description: "The page to read; without it, list the topics",
    },
    example: {
      type: "positional",
      required: false,
      description: "After examples: the workflow or the alert file to print",
    },
    ...jsonArg,
  },
  extras: {
    see: ["--help"],
    exit: { 4: "There is no such page or example" },
    completes: { topic: "topic" },
    examples: [
      { command: "cdktr docs", does: "list the pages" },
      { command: "cdktr docs getting-started", does: "read a page" },
      { command: "cdktr docs workflows | less", does: "in a pager" },
      { command: "cdktr docs examples", does: "list workflows to start from" },
      {
        command: "cdktr docs examples etl-tables > workflows/etl.yml",
        does: "begin with one of them",
      },
    ],
  },
  async run({ args }) {
    if (args.topic === undefined) return listTopics(args.json ?? false);
    const page = findPage(args.topic);
    if (page === undefined) {
      const topics = PAGES.map(({ topic }) => topic);
      const near = nearest(args.topic, topics);
      throw new NotFoundError(`The manual has no page '${args.topic}'.`, {
        hint: near === undefined ? `Topics: ${topics.join(", ")}.` : `Did you mean '${near}'?`,
      });
    }
    if (args.example !== undefined) return printExample(page.topic, args.example, args.json ?? false);
    if (args.json) return printJson({ topic: page.topic, title: page.title, markdown: page.text });
    const colors = styleFor("stdout").enabled;
    await writeStdout(renderMarkdown(page.text, { width: Math.min(WIDEST, terminalWidth()), colors }));
  },
});

/** Prints a workflow as it is, for a file. */
async function printExample(topic: string, name: string, json: boolean): Promise<void> {
  if (topic !== "examples")
    throw new UsageError(`The page '${topic}' has no examples to print.`, {
      hint: "Such as: cdktr docs examples hello",
    });
  const wanted = name.toLowerCase().replace(/\.ya?ml$/, "");
  const examples = [...WORKFLOW_EXAMPLES, ...ALERT_EXAMPLES];
  const example = examples.find((each) => each.name === wanted);
  if (example === undefined) {
    const near = nearest(
      wanted,
      examples.map((each) => each.name),
    );
    throw new NotFoundError(`There is no example '${name}'.`, {
      hint: near === undefined ? "cdktr docs examples lists them." : `Did you mean '${near}'?`,
    });
  }
  if (json) return printJson(example);
  await writeStdout(example.text);
}

async function listTopics(json: boolean): Promise<void> {
  const topics = PAGES.map(({ topic, title, about }) => ({ topic, title, about }));
  if (json) return printJson(topics);
  const style = styleFor("stdout");
  const table = renderTable<(typeof topics)[number]>(
    [
      { title: "TOPIC", value: ({ topic }) => topic, paint: () => style.cyan },
      { title: "ABOUT", value: ({ about }) => about, flexible: true },
    ],
    topics,
  );
  for (const line of table) await printLine(line);
  await printLine("\nRead one with: cdktr docs TOPIC");
}
