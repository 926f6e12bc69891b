import { expect, test } from "bun:test";
import { hostname } from "node:os";
import { VERSION } from "../../../src/build-facts.ts";
import { telemetrySettings } from "../../../src/principal/telemetry/settings.ts";

const ENDPOINT = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://collector:4318" };

test("nothing is exported without an endpoint, or when that is off", () => {
  const none = { settings: null, problems: [] };
  expect(telemetrySettings({})).toEqual(none);
  expect(telemetrySettings({ OTEL_EXPORTER_OTLP_ENDPOINT: " " })).toEqual(none);
  expect(telemetrySettings({ OTEL_SERVICE_NAME: "x", OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" })).toEqual(none);
  expect(telemetrySettings({ ...ENDPOINT, OTEL_SDK_DISABLED: "TRUE" })).toEqual(none);
  expect(
    telemetrySettings({ ...ENDPOINT, OTEL_TRACES_EXPORTER: "none", OTEL_LOGS_EXPORTER: "none" }),
  ).toEqual(none);
});

test("an endpoint is enough", () => {
  const target = { headers: {}, encoding: "protobuf", isCompressed: false, timeoutMs: 10_000 } as const;
  expect(telemetrySettings(ENDPOINT)).toEqual({
    problems: [],
    settings: {
      resource: { "service.name": "cdktr", "service.version": VERSION, "host.name": hostname() },
      sampling: { isParentBased: true, ratio: 1 },
      traces: { url: "http://collector:4318/v1/traces", ...target },
      logs: { url: "http://collector:4318/v1/logs", ...target },
    },
  });
});

test("each signal may have variables of its own, and an address of its own is used as it is", () => {
  const { settings, problems } = telemetrySettings({
    OTEL_EXPORTER_OTLP_ENDPOINT: "https://collector/base/",
    OTEL_EXPORTER_OTLP_HEADERS: "Authorization=Basic%20abc%3D,x-scope=eu",
    OTEL_EXPORTER_OTLP_TIMEOUT: "2500",
    OTEL_EXPORTER_OTLP_COMPRESSION: "gzip",
    OTEL_EXPORTER_OTLP_CERTIFICATE: "/etc/ca.pem",
    OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: "http://logs:4318",
    OTEL_EXPORTER_OTLP_LOGS_PROTOCOL: "http/json",
    OTEL_EXPORTER_OTLP_LOGS_HEADERS: "a=b=c",
    OTEL_SERVICE_NAME: "etl",
    OTEL_RESOURCE_ATTRIBUTES: "deployment.environment=prod,service.name=ignored,host.name=mine",
  });
  expect(problems).toEqual([]);
  expect(settings?.traces).toMatchObject({
    url: "https://collector/base/v1/traces",
    headers: { Authorization: "Basic abc=", "x-scope": "eu" },
    encoding: "protobuf",
    isCompressed: true,
    timeoutMs: 2500,
    caFile: "/etc/ca.pem",
  });
  expect(settings?.logs).toMatchObject({
    url: "http://logs:4318/",
    headers: { a: "b=c" },
    encoding: "json",
    isCompressed: true,
  });
  expect(settings?.resource).toEqual({
    "service.name": "etl",
    "service.version": VERSION,
    "host.name": "mine",
    "deployment.environment": "prod",
  });
  const one = telemetrySettings({ OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: "http://logs:4318/v1/logs" });
  expect(one.settings).toMatchObject({ traces: null, logs: { url: "http://logs:4318/v1/logs" } });
});

test.each([
  ["always_on", undefined, { isParentBased: false, ratio: 1 }],
  ["always_off", undefined, { isParentBased: false, ratio: 0 }],
  ["parentbased_always_off", undefined, { isParentBased: true, ratio: 0 }],
  ["traceidratio", "0.1", { isParentBased: false, ratio: 0.1 }],
  ["parentbased_traceidratio", "0.25", { isParentBased: true, ratio: 0.25 }],
] as const)("the sampler %s", (name, argument, sampling) => {
  const { settings, problems } = telemetrySettings({
    ...ENDPOINT,
    OTEL_TRACES_SAMPLER: name,
    OTEL_TRACES_SAMPLER_ARG: argument,
  });
  expect(settings?.sampling).toEqual(sampling);
  expect(problems).toEqual([]);
});

test.each([
  [
    { OTEL_EXPORTER_OTLP_PROTOCOL: "grpc", OTEL_LOGS_EXPORTER: "none" },
    'OTEL_EXPORTER_OTLP_PROTOCOL is "grpc", but cdktr speaks "http/protobuf" and "http/json" only: no traces are exported. Receivers have another port for these, mostly 4318.',
  ],
  [
    { OTEL_TRACES_EXPORTER: "zipkin" },
    'OTEL_TRACES_EXPORTER is "zipkin", but cdktr knows "otlp" and "none" only: no traces are exported.',
  ],
  [
    { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "collector:4318" },
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is no http or https URL: no traces are exported.",
  ],
  [
    { OTEL_EXPORTER_OTLP_TRACES_TIMEOUT: "10s" },
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT is no number of milliseconds: 10000 it is.",
  ],
  [
    { OTEL_EXPORTER_OTLP_TRACES_COMPRESSION: "zstd" },
    'OTEL_EXPORTER_OTLP_TRACES_COMPRESSION is "zstd", but cdktr knows "gzip" and "none" only: nothing is compressed.',
  ],
  [
    { OTEL_EXPORTER_OTLP_TRACES_HEADERS: "s3cret" },
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS has something that is not NAME=VALUE: it is left out.",
  ],
  [
    { OTEL_RESOURCE_ATTRIBUTES: "a=%zz" },
    "OTEL_RESOURCE_ATTRIBUTES has something that is not NAME=VALUE: it is left out.",
  ],
  [
    { OTEL_TRACES_SAMPLER: "jaeger_remote" },
    'OTEL_TRACES_SAMPLER is "jaeger_remote", which cdktr does not know: all traces are exported.',
  ],
  [
    { OTEL_TRACES_SAMPLER: "traceidratio", OTEL_TRACES_SAMPLER_ARG: "2" },
    'OTEL_TRACES_SAMPLER_ARG is "2", but should be a number from 0 to 1: all traces are exported.',
  ],
] as const)("%j is a problem, and nothing else suffers", (variables, problem) => {
  const { settings, problems } = telemetrySettings({ ...ENDPOINT, ...variables });
  expect(problems).toEqual([problem]);
  const isTracing = !problem.includes("no traces");
  const isLogging = !("OTEL_LOGS_EXPORTER" in variables);
  expect([settings?.traces != null, settings?.logs != null]).toEqual([isTracing, isLogging]);
});
