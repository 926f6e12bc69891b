import { KINDS } from "../project/answers.ts";
import { command, keyValues, repeated } from "./support/command.ts";
import { jsonArg, principalArg } from "./support/globals.ts";

export default command({
  meta: { name: "init", description: "Set up a project: settings, workflows, keys, a service" },
  args: {
    dir: { type: "positional", required: false, description: "Directory of the project; made when missing" },
    yes: { type: "boolean", alias: "y", description: "Ask nothing: what no flag says is the default" },
    kind: {
      type: "enum",
      options: [...KINDS],
      valueHint: "KIND",
      description: "try: one machine; principal: for agents of other hosts; agent: for a principal elsewhere",
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
      description: "Port of the API (the first three that are free, from 5561)",
    },
    "logs-listening-port": {
      type: "string",
      valueHint: "N",
      description: "Port for the agents' log lines (the next one; an agent asks its principal)",
    },
    "logs-publishing-port": {
      type: "string",
      valueHint: "N",
      description: "Port of the live log (the one after that)",
    },
    keys: {
      type: "boolean",
      description:
        "Make keys: everything is encrypted, and only who has one gets in (off loopback by default; --no-keys)",
    },
    "join-token": {
      type: "boolean",
      description: "principal: print a join token for an agent on another host",
    },
    agent: {
      type: "boolean",
      description: "principal: run an agent beside it (by default; --no-agent)",
    },
    example: {
      type: "boolean",
      description: "Write an example workflow (by default where there are none yet; --no-example)",
    },
    "import-crontab": {
      type: "string",
      valueHint: "FILE",
      description: "Make workflows of the jobs of a crontab: a file, - for stdin, own for that of this user",
    },
    "crontab-format": {
      type: "enum",
      options: ["auto", "user", "system"],
      valueHint: "FORMAT",
      description: "Whether it has a column for the user (auto: by its place and content)",
    },
    "crontab-user": {
      type: "string",
      valueHint: "USER",
      description: "Whose jobs are imported (else this user's)",
    },
    service: {
      type: "boolean",
      description: "Make it a service of systemd, started now and at each boot",
    },
    user: { type: "boolean", description: "With --service: one of this user, without root" },
    "run-as": {
      type: "string",
      valueHint: "USER",
      description: "With --service: whom it runs as (cdktr; with imported jobs, their user)",
    },
    join: {
      type: "string",
      valueHint: "TOKEN",
      description: "agent: get a key with a token of 'cdktr join-token create'; - reads it from stdin",
    },
    "max-concurrent-workflows": { type: "string", valueHint: "N", description: "agent: runs at once (5)" },
    label: { type: "string", valueHint: "K=V", description: "agent: what it is or has, as others see it" },
    force: { type: "boolean", description: "Overwrite files that differ; without it --yes keeps them" },
    "dry-run": { type: "boolean", description: "Show what would be written, and write nothing" },
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
      { command: "cdktr init", does: "asks, then makes a project" },
      { command: "cdktr init demo --yes", does: "a project to try cdktr with, without questions" },
      { command: "cdktr init /srv/cdktr --yes --import-crontab own", does: "your crontab as workflows" },
      {
        command: "cdktr init /srv/cdktr --yes --host 10.0.0.5 --service",
        does: "a principal for agents of other hosts, with keys, as a service",
      },
      {
        command: "cdktr init . --yes --join - < token.txt",
        does: "an agent for it, on another host",
      },
    ],
  },
  async run({ args, rawArgs }) {
    const { runInit } = await import("./init/run.ts");
    return runInit(args, keyValues(repeated(rawArgs, "label"), "--label"));
  },
});
