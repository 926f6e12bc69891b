/** The tables of keys that the manual has. */
import { expect, test } from "bun:test";
import { findPage } from "../../src/docs/index.ts";
import { keyTables } from "../../src/workflow/tables.ts";

const tables = keyTables();
const rowOf = (place: string, key: string) =>
  tables.find(({ places }) => places.includes(place))?.rows.find((row) => row.key === key);

test("they have keys of every depth, with values, defaults and whether there may be expressions", () => {
  expect(rowOf("tasks.ID.retry", "delay")).toEqual({
    key: "delay",
    value: "text",
    default: "1s",
    isRequired: false,
    hasExpressions: true,
    about: "Delay before the second attempt",
  });
  expect(rowOf("workflow", "catchup")).toMatchObject({
    value: "`none` or `latest` or `all`",
    default: "latest",
  });
  expect(rowOf("workflow", "tasks")).toMatchObject({ value: "mapping", isRequired: true });
  expect(rowOf("tasks.ID", "when")).toMatchObject({ value: "an expression" });
  expect(rowOf("tasks.ID", "env")).toMatchObject({ value: "mapping", default: null, hasExpressions: true });
  expect(rowOf("tasks.ID", "config")?.value).toContain("`!Shell`");
  expect(rowOf("tasks.ID.config: !Subprocess", "cmd")).toMatchObject({ isRequired: true });
  expect(rowOf("on.file", "events")?.value).toBe("list of `created` or `changed` or `deleted`");
});

test("equal ones are one, and every key says what it is for", () => {
  const retry = tables.find(({ places }) => places.includes("tasks.ID.retry"));
  expect(retry?.places).toEqual([
    "defaults.retry",
    "tasks.ID.retry",
    "hooks.ON.retry",
    "_cdktr.yml.defaults.retry",
  ]);
  const silent = tables.flatMap(({ places, rows }) =>
    rows.filter(({ about }) => about === "").map(({ key }) => `${places[0]}: ${key}`),
  );
  expect(silent).toEqual([]);
});

test("the manual's page has every table and key", () => {
  const page = findPage("keys")?.text ?? "";
  for (const { places, rows } of tables) {
    const [, section = ""] = page.split(`\n## ${places[0]}\n`);
    const keys = [...(section.split("\n## ")[0] ?? "").matchAll(/^\| `([^`]+)`\*? \|/gm)].map(
      ([, key]) => key,
    );
    expect(keys).toEqual(rows.map(({ key }) => key));
  }
});
