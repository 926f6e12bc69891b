import { EDITORS, KINDS } from "../project/answers.ts";
import { command, keyValues, repeated } from "./support/command.ts";
import { jsonArg, principalArg } from "./support/globals.ts";

export default command({
  meta: { name: "init", description: "Set up a project: settings, workflows, keys, a service" },
  args: {
    dir: { type: "positional", required: false, description: "Directory of the project; created if missing" },
    yes: {
      type: "boolean",
      alias: "y",
      description: "Ask no questions: use defaults for everything without a flag",
    },
    kind: {
      type: "enum",
      options: [...KINDS],
      valueHint: "KIND",
      description:
        "try: a single machine; principal: for agents on other hosts; agent: for a principal on another host",
    },
    "workflow-dir": {
      type: "string",
      valueHint: "DIR",
      description: "Directory of the workflow files, inside the project (workflows)",
    },
    host: {
      type: "string",
      valueHint: "ADDRESS",
      description: "principal: address to listen on (127.0.0.1)",
    },
    port: {
      type: "string",
      alias: "p",
      valueHint: "N",
      description: "Port of the API (default: the first three free ports from 5561)",
    },
    "logs-listening-port": {
      type: "string",
      valueHint: "N",
      description: "Port for the agents' log lines (default: the next one; an agent asks its principal)",
    },
    "logs-publishing-port": {
      type: "string",
      valueHint: "N",
      description: "Port of the live log (default: the one after that)",
    },
    keys: {
      type: "boolean",
      description:
        "Create keys: connections are encrypted and only known keys are accepted (default unless it listens on loopback; --no-keys)",
    },
    "join-token": {
      type: "boolean",
      description: "principal: print a join token for an agent on another host",
    },
    agent: {
      type: "boolean",
      description: "principal: run an agent next to it (default; --no-agent)",
    },
    example: {
      type: "boolean",
      description: "Write an example workflow (default if there are no workflows yet; --no-example)",
    },
    editor: {
      type: "enum",
      options: [...EDITORS, "none"],
      valueHint: "EDITOR",
      description: "Set up an editor for workflow files: vscode extends .vscode/settings.json",
    },
    "import-crontab": {
      type: "string",
      valueHint: "FILE",
      description:
        "Import the jobs of a crontab as workflows: a file, - for stdin, own for this user's crontab",
    },
    "crontab-format": {
      type: "enum",
      options: ["auto", "user", "system"],
      valueHint: "FORMAT",
      description: "Whether it has a user column (auto: judged by its path and content)",
    },
    "crontab-user": {
      type: "string",
      valueHint: "USER",
      description: "The user whose jobs to import (default: this user)",
    },
    service: {
      type: "boolean",
      description: "Install a systemd service, started now and at each boot",
    },
    user: { type: "boolean", description: "With --service: a user service, without root" },
    "run-as": {
      type: "string",
      valueHint: "USER",
      description: "With --service: the user it runs as (default: cdktr, or the user of imported jobs)",
    },
    join: {
      type: "string",
      valueHint: "TOKEN",
      description: "agent: get a key with a token from 'cdktr join-token create'; - reads it from stdin",
    },
    "max-concurrent-workflows": {
      type: "string",
      valueHint: "N",
      description: "agent: maximum number of concurrent runs (5)",
    },
    label: { type: "string", valueHint: "K=V", description: "agent: a label that describes it" },
    force: { type: "boolean", description: "Overwrite files that differ; without this, --yes keeps them" },
    "dry-run": { type: "boolean", description: "Show what would be written, but write nothing" },
    ...principalArg,
    ...jsonArg,
  },
  extras: {
    repeatable: ["label"],
    completes: { dir: "directory", "workflow-dir": "directory", "import-crontab": "file" },
    details: `On a terminal it asks what no flag has said, shows what it will write, and writes when you agree: everything at once, or, when it
      is interrupted at whatever moment, nothing. A file that is there is never overwritten without asking. A crontab is only read.

      Elsewhere (scripts, --json) there is nobody to ask: then --yes is needed.`,
    topic: "getting-started",
    examples: [
      { command: "cdktr init", does: "ask questions, then create a project" },
      { command: "cdktr init demo --yes", does: "a project to try cdktr, without questions" },
      { command: "cdktr init /srv/cdktr --yes --import-crontab own", does: "your crontab as workflows" },
      { command: "cdktr init . --yes --editor vscode", does: "a project with completion in VS Code" },
      {
        command: "cdktr init /srv/cdktr --yes --host 10.0.0.5 --service",
        does: "a principal for agents on other hosts, with keys, as a service",
      },
      {
        command: "cdktr init . --yes --join - < token.txt",
        does: "an agent for that principal, on another host",
      },
    ],
  },
  async run({ args, rawArgs }) {
    const labels = keyValues(repeated(rawArgs, "label"), "--label");
    const { refuseAutomatic } = await import("../agent/labels.ts");
    refuseAutomatic(labels);
    const { runInit } = await import("./init/run.ts");
    return runInit(args, labels);
  },
});
