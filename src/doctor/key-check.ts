/** Checks key files: only their owner may read them; cdktr refuses files that are open to others. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { type Config, knownSetting } from "../config.ts";
import { CdktrError, errorMessage } from "../errors.ts";
import { checkPrivate } from "../host/private-files.ts";
import { keysDirectory } from "../protocol/key-file.ts";
import { type Finding, failure, ok } from "./finding.ts";

const WHY = "Anyone who can read a key can act as its owner. cdktr refuses to use it until it is private.";

/** Checks the directory of keys and the file named by CDKTR_KEY_FILE. */
export function checkKeyFiles(config: Config): Finding[] {
  const data = knownSetting(config, "CDKTR_APP_DATA_DIRECTORY");
  const directory = data === undefined ? undefined : keysDirectory(data);
  const places = directory === undefined ? [] : [directory, ...keysIn(directory)];
  if (config.CDKTR_KEY_FILE !== "") places.push(config.CDKTR_KEY_FILE);
  const present = places.filter((place) => existsSync(place));
  const findings = present.flatMap((place) => {
    try {
      checkPrivate(place);
      return [];
    } catch (error) {
      const remedy = (error instanceof CdktrError ? error.hint : undefined) ?? "See 'cdktr docs security'.";
      return [failure("keys", errorMessage(error), WHY, remedy)];
    }
  });
  if (findings.length > 0 || present.length === 0) return findings;
  return [ok("keys", `The keys in ${directory ?? config.CDKTR_KEY_FILE} are private`)];
}

/** Key files and, on the principal's host, the files that say who may connect: anyone who can write them controls access. */
function keysIn(directory: string): string[] {
  const inside = (name: string, ending: string) =>
    list(join(directory, name))
      .filter((file) => file.endsWith(ending))
      .map((file) => join(directory, name, file));
  return [
    ...inside("", ".key"),
    ...["clients", "tokens"].flatMap((name) => [join(directory, name), ...inside(name, ".json")]),
  ];
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
