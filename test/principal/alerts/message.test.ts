/** What messages say. */
import { describe, expect, test } from "bun:test";
import type { LogTail } from "../../../src/principal/alerts/log-tail.ts";
import { compose } from "../../../src/principal/alerts/message.ts";
import type { AlertForMessage } from "../../../src/principal/alerts/senders/sender.ts";
import { BACK, FAILED, messageOf } from "./support.ts";

const LOG: LogTail = { task: "load[orders]", lines: ["connecting", "no such table"], problem: null };

const written = (alerts: readonly AlertForMessage[], more = 0, log: LogTail | null = null, zone = "UTC") =>
  compose(
    messageOf(alerts, more),
    alerts.map((alert) => ({ alert, log })),
    zone,
  );

describe("a message", () => {
  test("about a failed run has the run, the task, the end of its log, and what to type", () => {
    const { subject, text } = written([FAILED], 0, LOG, "Europe/Berlin");
    expect(subject).toBe("[cdktr] etl.daily failed, 2 times in a row");
    expect(text).toBe(`etl.daily failed, 2 times in a row

  workflow           etl.daily (Daily load)
  run                8c1f2c3a-8e0b-4d6e-9d52-1f9d7a3e5c44
  at                 2026-11-27 03:02:03 Europe/Berlin
  trigger            cron
  attempt            1
  agent              host-1
  started            2026-11-27 03:00:00 Europe/Berlin
  took               2m3s
  failures in a row  2

Failed task:
  load[orders] (exit status 3): no such table

Last 2 lines of the log of task load[orders]:
  | connecting
  | no such table

To look further:
  cdktr runs show 8c1f2c3a-8e0b-4d6e-9d52-1f9d7a3e5c44
  cdktr logs query --run 8c1f2c3a-8e0b-4d6e-9d52-1f9d7a3e5c44
`);
  });

  test("about what is over says how long it lasted", () => {
    const { subject, text } = written([BACK]);
    expect(subject).toBe("[cdktr] over: agent host-2 is lost");
    expect(text).toContain("  lasted  4m\n");
    expect(text).toContain("cdktr agents list");
  });

  test("about several counts them in its subject, lists them, and says how many more there are", () => {
    const { subject, text } = written([FAILED, FAILED, BACK], 7);
    expect(subject).toBe("[cdktr] 10 alerts: 2 failed, 1 over, 7 more");
    expect(text).toStartWith(`10 alerts: 2 failed, 1 over, 7 more

  - etl.daily failed, 2 times in a row
  - etl.daily failed, 2 times in a row
  - over: agent host-2 is lost
`);
    expect(text).toEndWith("… and 7 more: cdktr alerts list --all\n");
  });

  test("says why there is no log", () => {
    const away: LogTail = { task: "load", lines: [], problem: "the history is not available" };
    expect(written([FAILED], 0, away).text).toContain(
      "Log of task load: not available (the history is not available)",
    );
    expect(written([FAILED], 0, { task: null, lines: [], problem: null }).text).not.toContain("log of");
    expect(written([FAILED], 0, { task: null, lines: ["x"], problem: "late" }).text).toContain(
      "Last line of the log of the run (late):\n  | x",
    );
  });

  test("is safe, whatever its facts hold", () => {
    const evil = "x\r\nBcc: all@example.org\x1b[2J<script>alert(1)</script>";
    const alert: AlertForMessage = {
      ...FAILED,
      workflow_id: evil,
      workflow_instance_id: "run; rm -rf /",
      subject: evil,
      facts: { error: evil, more: { deep: [evil] }, failed_tasks: [{ task_id: evil, error: evil }, 7, null] },
    };
    const { subject, text, html } = written([alert], 0, { task: evil, lines: [evil], problem: evil });
    expect(subject).not.toMatch(/[\r\n\x1b]/);
    expect(subject).toBe("[cdktr] x Bcc: all@example.org<script>alert(1)</script>");
    expect(text).not.toMatch(/[\r\x1b]|^Bcc/m);
    expect(html).not.toMatch(/<script|\x1b/);
    expect(html).toContain("&lt;script&gt;");
    // What cannot be pasted safely is no command.
    expect(text).not.toContain("cdktr runs show");
  });

  test("about a question says how to answer it, and about the row of a query has its columns", () => {
    const question: AlertForMessage = {
      ...FAILED,
      kind: "waiting",
      workflow_instance_id: "r-1",
      subject: "deploy waits for an approval: ok",
      facts: {
        task_id: "ok",
        message: "Ship it?\nReally?",
        due_ms: Date.UTC(2026, 10, 27, 9),
        on_timeout: "reject",
      },
      resolved_at_ms: null,
    };
    const { text } = written([question]);
    expect(text).toContain("  message            Ship it? Really?\n");
    expect(text).toContain("  due                2026-11-27 09:00:00 UTC\n");
    expect(text).toContain("  without an answer  reject\n");
    expect(text).toContain("  cdktr approvals approve r-1 ok\n  cdktr approvals reject r-1 ok\n");
    expect(written([{ ...question, facts: { task_id: "--all" } }]).text).toContain("approve r-1\n");

    const row = Object.fromEntries(Array.from({ length: 25 }, (_, n) => [`c${n}`, n]));
    const query = written([
      {
        ...FAILED,
        kind: "query",
        workflow_id: null,
        workflow_instance_id: null,
        facts: { row: { median_ms: 4000, ...row } },
      },
    ]);
    expect(query.text).toContain("  median_ms  4s\n  c0         0\n");
    expect(query.text).toContain("  …          6 more\n");
    expect(query.text).toContain(`cdktr alerts show ${FAILED.alert_id}`);
  });

  test("cuts what is very long", () => {
    const long = "y".repeat(5000);
    const { subject, text } = written([{ ...FAILED, subject: long, facts: { error: long } }], 0, {
      ...LOG,
      lines: [long],
    });
    expect(subject).toHaveLength(150);
    expect(text.length).toBeLessThan(8000);
  });

  test("has lists of words in words", () => {
    const given_up = { channel: "hook", alerts: ["etl failed", "etl failed, 2 times in a row"], count: 2 };
    const { text } = written([{ ...FAILED, kind: "dead_letter", facts: given_up }]);
    expect(text).toContain("etl failed; etl failed, 2 times in a row\n");
  });

  test("has the same as HTML, and for programs", () => {
    const { html, json } = written([FAILED], 3, LOG);
    expect(html).toContain("<pre");
    expect(html).toContain("connecting\nno such table</pre>");
    expect(json).toMatchObject({
      version: 1,
      message_id: "m-1",
      channel: "ops",
      more: 3,
      alerts: [
        {
          kind: "failed",
          about: "raised",
          workflow_id: "etl.daily",
          log: LOG,
          facts: { failures: 2 },
          commands: [expect.stringContaining("cdktr runs show"), expect.stringContaining("cdktr logs query")],
        },
      ],
    });
  });
});
