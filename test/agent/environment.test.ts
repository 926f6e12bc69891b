import { expect, test } from "bun:test";
import { inheritedEnvironment } from "../../src/agent/environment.ts";

const OWN = {
  PATH: "/bin",
  AWS_KEY: "a",
  AWS_REGION: "b",
  VAULT_TOKEN: "c",
  VAULT_TOKENS: "d",
  CDKTR_KEY_FILE: "e",
  CDKTR_PRINCIPAL_HOST: "f",
  CDKTR_TASK_ID: "g",
  CREDENTIALS_DIRECTORY: "h",
  ABSENT: undefined,
};

test("tasks inherit everything but secrets of cdktr, what a service manager sets for the agent alone, and markers of tasks", () => {
  expect(Object.keys(inheritedEnvironment(OWN))).toEqual([
    "PATH",
    "AWS_KEY",
    "AWS_REGION",
    "VAULT_TOKEN",
    "VAULT_TOKENS",
    "CDKTR_PRINCIPAL_HOST",
  ]);
});

test("tasks do not inherit the headers of OpenTelemetry, which hold credentials, but its other variables", () => {
  const own = {
    OTEL_EXPORTER_OTLP_ENDPOINT: "https://otlp.example",
    OTEL_EXPORTER_OTLP_HEADERS: "authorization=Bearer%20s3cret",
    OTEL_EXPORTER_OTLP_TRACES_HEADERS: "a=b",
    OTEL_EXPORTER_OTLP_LOGS_HEADERS: "a=b",
    OTEL_EXPORTER_OTLP_METRICS_HEADERS: "a=b",
    OTEL_SERVICE_NAME: "etl",
  };
  expect(Object.keys(inheritedEnvironment(own))).toEqual([
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_SERVICE_NAME",
  ]);
});

test("tasks do not inherit the addresses of databases, which may hold passwords, nor where those are", () => {
  const own = {
    CDKTR_STORE_URL: "postgres://cdktr:s3cret@db/ops",
    CDKTR_HISTORY_URL: "ducklake:postgres://cdktr:s3cret@db/ops",
    CDKTR_HISTORY_PASSWORD_FILE: "/etc/cdktr/password",
    CDKTR_HISTORY_DATA: "/srv/cdktr",
    CDKTR_BLOB_URL: "s3://blobs",
  };
  expect(Object.keys(inheritedEnvironment(own))).toEqual(["CDKTR_HISTORY_DATA", "CDKTR_BLOB_URL"]);
});

test.each([
  ["AWS_*,VAULT_TOKEN", ["PATH", "VAULT_TOKENS", "CDKTR_PRINCIPAL_HOST"]],
  [" AWS_* , VAULT_TOKEN? ,", ["PATH", "VAULT_TOKEN", "CDKTR_PRINCIPAL_HOST"]],
  ["aws_*", ["PATH", "AWS_KEY", "AWS_REGION", "VAULT_TOKEN", "VAULT_TOKENS", "CDKTR_PRINCIPAL_HOST"]],
  ["*", []],
])("CDKTR_SECRET_VARIABLES=%s withholds what it names", (secret, left) => {
  expect(Object.keys(inheritedEnvironment(OWN, secret))).toEqual(left);
});
