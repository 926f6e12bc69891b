/**
 * Where traces and logs are exported to: the variables of OpenTelemetry, which many programs share. They are read from the environment
 * and from `.env`. Nothing is exported unless an endpoint is set. A value that cannot be used is a problem to be told, and no reason not
 * to start.
 * https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
 */
import { hostname } from "node:os";
import { VERSION } from "../../build-facts.ts";
import {
  SIGNALS,
  type Signal,
  type TelemetrySettings,
  type TelemetryTarget,
} from "../../contract/telemetry.ts";
import type { Sampling } from "../../contract/trace-context.ts";

/** What is exported, and what of the variables cannot be used, as sentences. */
export interface ReadTelemetry {
  readonly settings: TelemetrySettings | null;
  readonly problems: readonly string[];
}

type Environment = Readonly<Record<string, string | undefined>>;

const DEFAULT_TIMEOUT_MS = 10_000;

/** Reads the variables. Empty ones count as unset. */
export function telemetrySettings(environment: Environment): ReadTelemetry {
  const problems: string[] = [];
  const read = (name: string): string | undefined => environment[name]?.trim() || undefined;
  if (read("OTEL_SDK_DISABLED")?.toLowerCase() === "true") return { settings: null, problems };
  const target = (signal: Signal) => targetOf(signal, read, (problem) => problems.push(problem));
  const targets = Object.fromEntries(SIGNALS.map((signal) => [signal, target(signal)])) as Record<
    Signal,
    TelemetryTarget | null
  >;
  if (targets.traces === null && targets.logs === null) return { settings: null, problems };
  const given = pairsOf("OTEL_RESOURCE_ATTRIBUTES", read, problems);
  const service = read("OTEL_SERVICE_NAME") ?? given["service.name"] ?? "cdktr";
  const resource = {
    "service.version": VERSION,
    "host.name": hostname(),
    ...given,
    "service.name": service,
  };
  return { settings: { resource, sampling: samplingOf(read, problems), ...targets }, problems };
}

type Read = (name: string) => string | undefined;

function targetOf(signal: Signal, read: Read, problem: (text: string) => void): TelemetryTarget | null {
  const name = signal.toUpperCase();
  /** The variable of this signal, else that of all. */
  const nameOf = (end: string) => {
    const own = `OTEL_EXPORTER_OTLP_${name}_${end}`;
    return read(own) === undefined ? `OTEL_EXPORTER_OTLP_${end}` : own;
  };
  const of = (end: string) => read(nameOf(end));
  if (of("ENDPOINT") === undefined) return null;
  const exporter = read(`OTEL_${name}_EXPORTER`) ?? "otlp";
  if (exporter !== "otlp") {
    if (exporter !== "none")
      problem(
        `OTEL_${name}_EXPORTER is "${exporter}", but cdktr knows "otlp" and "none" only: no ${signal} are exported.`,
      );
    return null;
  }
  const protocol = of("PROTOCOL") ?? "http/protobuf";
  if (protocol !== "http/protobuf" && protocol !== "http/json") {
    problem(
      `${nameOf("PROTOCOL")} is "${protocol}", but cdktr speaks "http/protobuf" and "http/json" only: no ${signal} are exported. Receivers have another port for these, mostly 4318.`,
    );
    return null;
  }
  const url = urlOf(signal, nameOf("ENDPOINT"), of("ENDPOINT") ?? "");
  if (url === undefined) {
    problem(`${nameOf("ENDPOINT")} is no http or https URL: no ${signal} are exported.`);
    return null;
  }
  const problems: string[] = [];
  const headers = pairsOf(nameOf("HEADERS"), read, problems);
  for (const text of problems) problem(text);
  const timeout = of("TIMEOUT");
  const isTimeoutKnown = timeout === undefined || /^[1-9]\d{0,8}$/.test(timeout);
  if (!isTimeoutKnown)
    problem(`${nameOf("TIMEOUT")} is no number of milliseconds: ${DEFAULT_TIMEOUT_MS} it is.`);
  const compression = of("COMPRESSION") ?? "none";
  if (compression !== "gzip" && compression !== "none")
    problem(
      `${nameOf("COMPRESSION")} is "${compression}", but cdktr knows "gzip" and "none" only: nothing is compressed.`,
    );
  return {
    url,
    headers,
    encoding: protocol === "http/json" ? "json" : "protobuf",
    isCompressed: compression === "gzip",
    timeoutMs: timeout !== undefined && isTimeoutKnown ? Number(timeout) : DEFAULT_TIMEOUT_MS,
    caFile: of("CERTIFICATE"),
    certificateFile: of("CLIENT_CERTIFICATE"),
    keyFile: of("CLIENT_KEY"),
  };
}

/** The variable of a signal is the whole address; that of all signals is the beginning of it. */
function urlOf(signal: Signal, name: string, value: string): string | undefined {
  if (!/^https?:\/\//i.test(value) || !URL.canParse(value)) return undefined;
  const url = new URL(value);
  if (name === "OTEL_EXPORTER_OTLP_ENDPOINT")
    url.pathname = `${url.pathname.replace(/\/+$/, "")}/v1/${signal}`;
  return url.href;
}

/** Pairs `a=b,c=d`; names and values may be percent-encoded. */
function pairsOf(name: string, read: Read, problems: string[]): Record<string, string> {
  const pairs: Record<string, string> = {};
  for (const pair of (read(name) ?? "").split(",")) {
    if (pair.trim() === "") continue;
    const end = pair.indexOf("=");
    const key = decoded(pair.slice(0, end).trim());
    const value = decoded(pair.slice(end + 1).trim());
    if (end > 0 && key !== undefined && value !== undefined && isClean(key) && isClean(value))
      pairs[key] = value;
    // What it holds may be secret.
    else problems.push(`${name} has something that is not NAME=VALUE: it is left out.`);
  }
  return pairs;
}

function isClean(text: string): boolean {
  return !/[\x00-\x1f\x7f]/.test(text);
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

function samplingOf(read: Read, problems: string[]): Sampling {
  const name = read("OTEL_TRACES_SAMPLER") ?? "parentbased_always_on";
  const found = /^(parentbased_)?(always_on|always_off|traceidratio)$/.exec(name);
  if (found === null) {
    problems.push(`OTEL_TRACES_SAMPLER is "${name}", which cdktr does not know: all traces are exported.`);
    return { isParentBased: true, ratio: 1 };
  }
  const isParentBased = found[1] !== undefined;
  if (found[2] !== "traceidratio") return { isParentBased, ratio: found[2] === "always_on" ? 1 : 0 };
  const text = read("OTEL_TRACES_SAMPLER_ARG") ?? "1";
  const ratio = Number(text);
  if (ratio >= 0 && ratio <= 1) return { isParentBased, ratio };
  problems.push(
    `OTEL_TRACES_SAMPLER_ARG is "${text}", but should be a number from 0 to 1: all traces are exported.`,
  );
  return { isParentBased, ratio: 1 };
}
