/** `channels:` of the workflow directory, as they are written, and what is wrong with them. */
import { describe, expect, test } from "bun:test";
import { kindOfChannel, paceOf, smtpOf, variablesOfChannel } from "../../src/workflow/channel-defaults.ts";
import type { ChannelSettings } from "../../src/workflow/channels.ts";
import { renderDiagnostics } from "../../src/workflow/diagnostic.ts";
import { parseSettings } from "../../src/workflow/settings-file.ts";

function read(channels: string) {
  return parseSettings(`channels: ${channels}\n`, "_cdktr.yml", true);
}

function channelOf(text: string): ChannelSettings | undefined {
  const result = read(`{c: ${text}}`);
  if (!result.ok) throw new Error(renderDiagnostics(result.diagnostics));
  return result.settings.channels?.c;
}

function problemsOf(channels: string): string[] {
  const result = read(channels);
  const all = result.ok ? result.warnings : result.diagnostics;
  return all.map(({ code, message, help }) =>
    [`${code} ${message}`, ...(help === null ? [] : [help])].join(" → "),
  );
}

const LOCAL = { host: "localhost" };

describe("a channel", () => {
  for (const [text, settings] of [
    ["{mail: ops@example.org}", { mail: { to: ["ops@example.org"], smtp: LOCAL } }],
    ["{mail: [a@example.org, root]}", { mail: { to: ["a@example.org", "root"], smtp: LOCAL } }],
    [
      "{mail: {to: Operations <ops@example.org>, from: cdktr@example.org, smtp: smtp.example.org}}",
      {
        mail: {
          to: ["Operations <ops@example.org>"],
          from: "cdktr@example.org",
          smtp: { host: "smtp.example.org" },
        },
      },
    ],
    [
      "{mail: {to: [a@b.c], smtp: {host: '[2001:db8::1]', port: 465, user: u, password: {store: smtp}, ca_file: ca.pem}}, group: 5m, limit: 10/h}",
      {
        mail: {
          to: ["a@b.c"],
          smtp: {
            host: "2001:db8::1",
            port: 465,
            user: "u",
            password: { store: "smtp" },
            ca_file: "ca.pem",
          },
        },
        group_ms: 300_000,
        limit: { messages: 10, per_ms: 3_600_000 },
      },
    ],
    ["{slack: 'https://hooks.example.org/x'}", { slack: { url: "https://hooks.example.org/x" } }],
    [
      "{slack: {url: {file: /run/secrets/slack}, channel: '#ops'}, group: 0s}",
      { slack: { url: { file: "/run/secrets/slack" }, channel: "#ops" }, group_ms: 0 },
    ],
    [
      "{webhook: {url: 'https://example.org/a', secret: {env: HOOK}, headers: {Authorization: {command: [pass, show, hook]}, X-Team: ops}}}",
      {
        webhook: {
          url: "https://example.org/a",
          secret: { env: "HOOK" },
          headers: { Authorization: { command: ["pass", "show", "hook"] }, "X-Team": "ops" },
        },
      },
    ],
    [
      "{pagerduty: {routing_key: {store: pager}, severity: {failed: critical}}}",
      { pagerduty: { routing_key: { store: "pager" }, severity: { failed: "critical" } } },
    ],
    [
      "{pagerduty: {routing_key: {store: pager}, severity: critical}}",
      { pagerduty: { routing_key: { store: "pager" }, severity: { all: "critical" } } },
    ],
    ["{command: [/usr/local/bin/page, --now]}", { command: ["/usr/local/bin/page", "--now"] }],
  ] as const) {
    test(text, () => expect(channelOf(text)).toEqual(settings as never));
  }

  test("has a pace of its kind, unless it says another", () => {
    const hourly = { messages: 30, per_ms: 3_600_000 };
    expect(paceOf({ mail: { to: ["a"], smtp: LOCAL } })).toEqual({ groupMs: 60_000, limit: hourly });
    expect(paceOf({ command: ["x"] })).toEqual({ groupMs: 0, limit: hourly });
    const own = { group_ms: 5, limit: { messages: 1, per_ms: 1000 } };
    expect(paceOf({ slack: { url: "https://x" }, ...own })).toEqual({ groupMs: 5, limit: own.limit });
  });

  test("of a kind that a newer cdktr has added has none that this one knows", () => {
    expect(kindOfChannel({ telegram: {} } as ChannelSettings)).toBeUndefined();
    expect(paceOf({ telegram: {} } as ChannelSettings).groupMs).toBe(0);
  });

  test("names the variables that hold its secrets", () => {
    const channel = channelOf(
      "{webhook: {url: {env: URL}, secret: {env: KEY}, headers: {A: {env: A}, B: text, C: {store: x}}}}",
    );
    expect(variablesOfChannel(channel ?? {})).toEqual(["URL", "KEY", "A"]);
  });

  for (const [smtp, connection] of [
    [{ host: "localhost" }, { host: "localhost", port: 25, tls: "none" }],
    [{ host: "::1" }, { host: "::1", port: 25, tls: "none" }],
    [{ host: "mail" }, { host: "mail", port: 587, tls: "starttls" }],
    [
      { host: "mail", port: 25 },
      { host: "mail", port: 25, tls: "starttls" },
    ],
    [
      { host: "mail", port: 465 },
      { host: "mail", port: 465, tls: "implicit" },
    ],
    [
      { host: "mail", tls: "implicit" },
      { host: "mail", port: 465, tls: "implicit" },
    ],
    [
      { host: "mail", tls: "none" },
      { host: "mail", port: 25, tls: "none" },
    ],
  ] as const) {
    test(`of mail connects: ${JSON.stringify(smtp)}`, () => expect(smtpOf(smtp)).toEqual(connection));
  }
});

const SOURCE = "write password: {file: /path}, or env, command or store instead of file";

describe("mistakes", () => {
  for (const [channels, ...problems] of [
    [
      "[ops]",
      'E012 "channels" must be a mapping, not a list → such as channels: {ops: {mail: ops@example.org}}',
    ],
    [
      "{c: ops@example.org}",
      'E012 "c" in channels must be a mapping, not "ops@example.org" → such as {mail: ops@example.org}',
    ],
    [
      "{a b: {command: [x]}}",
      'E115 "a b" is not a valid name for a channel → use letters, digits, _, - and ., at most 100',
    ],
    [
      "{c: {}}",
      'E115 channel "c" must say where it sends: one of mail, slack, webhook, pagerduty, command → such as {mail: ops@example.org}',
    ],
    [
      "{c: {group: 1m}}",
      'E115 channel "c" must say where it sends: one of mail, slack, webhook, pagerduty, command → such as {mail: ops@example.org}',
    ],
    [
      "{c: {mail: a@b.c, command: [x]}}",
      'E115 channel "c" is more than one thing: mail, command → make a channel of each: a workflow may name several',
    ],
    ["{c: {email: a@b.c}}", 'E010 unknown key "email" in c of channels → did you mean "mail"?'],
    [
      "{c: {mail: 'a@b.c, d@e.f'}}",
      'E115 "mail" in c of channels must be an address, not "a@b.c, d@e.f" → write a list: [a@b.c, d@e.f]',
    ],
    [
      "{c: {mail: {to: [ops@, b@c.d]}}}",
      'E115 entry 1 of "to" in mail of c of channels must be an address, not "ops@" → such as ops@example.org, or Operations <ops@example.org>',
    ],
    [
      '{c: {mail: "a@b.c\\nBcc: x@y.z"}}',
      'E115 "mail" in c of channels contains a control character or a line break',
    ],
    [
      "{c: {mail: {from: a@b.c}}}",
      'E011 "to" is missing in mail of c of channels → such as ops@example.org, or Operations <ops@example.org>',
    ],
    [
      "{c: {mail: {to: a@b.c, smtp: 'smtp.example.org:587'}}}",
      'E115 "smtp" in mail of c of channels must be a name of a host or an address → such as smtp.example.org; the port is a key of its own',
    ],
    [
      "{c: {mail: {to: a@b.c, smtp: {host: mail, tls: ssl}}}}",
      'E014 "tls" in smtp of mail of c of channels must be "starttls", "implicit" or "none", not "ssl"',
    ],
    [
      "{c: {mail: {to: a@b.c, smtp: {host: mail, user: u}}}}",
      'E115 "user" in smtp needs "password" beside it → say where the password is: password: {file: /run/secrets/smtp}',
    ],
    [
      "{c: {mail: {to: a@b.c, smtp: {host: mail, password: {env: P}}}}}",
      'E115 "password" in smtp needs "user" beside it → say who logs in',
    ],
    [
      "{c: {mail: {to: a@b.c, smtp: {host: mail, user: u, password: hunter2}}}}",
      `E080 do not put the secret itself into the file → ${SOURCE}`,
    ],
    [
      "{c: {mail: {to: a@b.c, smtp: {host: mail, user: u, password: {}}}}}",
      `E080 the secret "password" must say where it is: one of file, env, command, store → ${SOURCE}`,
    ],
    [
      "{c: {mail: {to: a@b.c, smtp: {host: mail, user: u, password: {env: A, file: b}}}}}",
      'E080 the secret "password" says more than once where it is: env, file → keep one of them',
    ],
    [
      "{c: {mail: {to: a@b.c, smtp: {host: mail, tls: none, user: u, password: {env: A}}}}}",
      'W014 the secret "password" is sent to mail without encryption → remove tls: none, if the server speaks TLS',
    ],
    ["{c: {mail: {to: a@b.c, smtp: {host: localhost, tls: none, user: u, password: {env: A}}}}}"],
    [
      "{c: {slack: hooks.example.org/x}}",
      'E014 "slack" in c of channels must start with "http://" or "https://" → write https://hooks.example.org/x',
    ],
    [
      "{c: {slack: {channel: '#ops'}}}",
      'E011 "url" is missing in slack of c of channels → such as https://api.example.com/orders',
    ],
    [
      "{c: {webhook: {url: 'https://x.y', secret: abc}}}",
      "E080 do not put the secret itself into the file → write secret: {file: /path}, or env, command or store instead of file",
    ],
    [
      "{c: {webhook: {url: 'https://x.y', headers: {Host: x}}}}",
      "E014 the header Host is set by cdktr itself → remove it",
    ],
    [
      "{c: {webhook: {url: 'https://x.y', headers: {A: [x]}}}}",
      "E080 do not put the secret itself into the file → write A: {file: /path}, or env, command or store instead of file",
    ],
    ["{c: {pagerduty: {}}}", 'E011 "routing_key" is missing in pagerduty of c of channels'],
    [
      "{c: {pagerduty: {routing_key: abc}}}",
      "E080 do not put the secret itself into the file → write routing_key: {file: /path}, or env, command or store instead of file",
    ],
    [
      "{c: {pagerduty: {routing_key: {env: K}, severity: {fail: critical}}}}",
      'E115 "fail" is not a kind of alert → did you mean "failed"?',
    ],
    [
      "{c: {pagerduty: {routing_key: {env: K}, severity: {failed: fatal}}}}",
      'E014 "failed" in severity of pagerduty of c of channels must be "critical", "error", "warning" or "info", not "fatal"',
    ],
    [
      "{c: {pagerduty: {routing_key: {env: CDKTR_PRINCIPAL_KEY}}}}",
      'E080 the secret "routing_key" cannot be CDKTR_PRINCIPAL_KEY, which is a setting of cdktr → name another variable of the agent',
    ],
    [
      "{c: {command: page now}}",
      'E012 "command" in c of channels must be a list, not "page now" → write a list: ["page now"]',
    ],
    [
      "{c: {command: []}}",
      'E014 "command" in c of channels is empty → write at least one entry, or remove it',
    ],
    [
      "{c: {command: [x], limit: many}}",
      'E115 "limit" in c of channels must be a number of messages in a time, not "many" → such as 30/h: letters for the time are s, m, h and d',
    ],
    [
      "{c: {command: [x], limit: 0/h}}",
      'E115 "limit" in c of channels must be a number of messages in a time, not "0/h" → such as 30/h: letters for the time are s, m, h and d',
    ],
    ["{c: {command: [x], group: 2d}}", 'E043 "group" in c of channels must not be longer than 1d'],
    [
      "{c: {command: ['${{ alert.kind }}']}}",
      "E064 expressions are not allowed in the settings of a directory → write the value itself",
    ],
    [
      `{${Array.from({ length: 101 }, (_, n) => `c${n}: {command: [x]}`).join(", ")}}`,
      "E115 there are 101 channels; at most 100 are allowed",
    ],
  ] as const) {
    test(channels.slice(0, 90), () => expect(problemsOf(channels)).toEqual([...problems] as never));
  }

  test("show no line that has a secret", () => {
    for (const channel of [
      "{mail: {to: a@b.c, smtp: {user: u, password: SECRET}}}",
      "{webhook: {url: 'https://x.y', secret: SECRET}}",
      "{pagerduty: {routing_key: SECRET}}",
      "{slack: 'https://x.y/SECRET', group: never}",
      "{slack: {url: 'https://x.y/SECRET', chanel: ops}}",
      "{slack: 'https://x.y/SECRET', mail: a@b.c}",
      "{webhook: 'x.y/%SECRET'}",
    ]) {
      const result = read(`{c: ${channel}}`);
      expect([channel, result.ok]).toEqual([channel, false]);
      if (!result.ok)
        expect(renderDiagnostics(result.diagnostics.map((each) => ({ ...each, help: null })))).not.toContain(
          "SECRET",
        );
    }
  });

  test("in a directory below, channels are told where they belong", () => {
    const result = parseSettings("channels: {c: {command: [x]}}\n", "sub/_cdktr.yml", false);
    expect(result.ok ? [] : result.diagnostics.map(({ message }) => message)).toEqual([
      '"channels" belongs in _cdktr.yml of the workflow directory itself',
    ]);
  });
});
